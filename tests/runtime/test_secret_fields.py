"""Every secret of the contracts is marked as one, and what is marked is part of no hash."""

import importlib
from collections.abc import Iterator

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.sources import ROOT
from tillmesh.api.type.v1 import annotations_pb2
from tillmesh.storage.requests import content_hash, secret_fields

SECRETS = {"pin", "pay_code", "access_token", "token", "secret"}
PACKAGE = "tillmesh.api."
EXPECTED = {
    "payment.v1.ClaimOrderRequest.code",
    "payment.v1.ConfirmPaymentRequest.pin",
    "payment.v1.CreatePaymentRequest.pay_code",
    "payment.v1.CreateUnreferencedRefundRequest.pay_code",
    "payment.v1.PayCodeKey.key",
    "payment.v1.Session.access_token",
    "payment.v1.SetPinRequest.pin",
    "payment.v1.SignInRequest.pin",
    "sandbox.v1.ShowPayCodeResponse.pay_code",
    "sandbox.v1.SimulatedPayer.pin",
    "terminal.v1.EnterPinRequest.pin",
    "terminal.v1.LaneSticker.code",
    "terminal.v1.PayCheckoutRequest.pay_code",
    "terminal.v1.Presentation.code",
    "terminal.v1.ReturnGoodsRequest.pay_code",
    "terminal.v1.ScanItemRequest.scanned",
    "terminal.v1.SellRequest.pay_code",
}


def messages() -> Iterator[Descriptor]:
    """Every message of the contracts, nested ones too."""

    def within(descriptor: Descriptor) -> Iterator[Descriptor]:
        yield descriptor
        for nested in descriptor.nested_types:
            yield from within(nested)

    for path in sorted((ROOT / "protos").rglob("*.proto")):
        module = ".".join(path.relative_to(ROOT / "protos").with_suffix("").parts)
        for descriptor in importlib.import_module(f"{module}_pb2").DESCRIPTOR.message_types_by_name.values():
            yield from within(descriptor)


FIELDS = [field for descriptor in messages() for field in descriptor.fields]


def name_of(field: FieldDescriptor) -> str:
    return field.full_name.removeprefix(PACKAGE)


def is_marked(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().Extensions[annotations_pb2.secret])


def sounds_secret(field: FieldDescriptor) -> bool:
    """By its name; page tokens are sealed, and the keys of maps are texts."""
    if field.type == FieldDescriptor.TYPE_BYTES and field.name.endswith("key"):
        return True
    is_text = field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
    named = any(field.name == word or field.name.endswith(f"_{word}") for word in SECRETS)
    return is_text and named and field.name not in ("page_token", "next_page_token")


def test_what_sounds_like_a_secret_is_marked_as_one() -> None:
    assert [name_of(field) for field in FIELDS if sounds_secret(field) and not is_marked(field)] == []


def test_exactly_these_fields_are_secret() -> None:
    assert {name_of(field) for field in FIELDS if is_marked(field)} == EXPECTED


def test_bytes_are_nothing_but_keys_hashes_and_what_is_printed() -> None:
    """What is bytes cannot be looked through for secrets by its name."""
    found = [name_of(field) for field in FIELDS if field.type == FieldDescriptor.TYPE_BYTES]
    assert found == [
        "payment.v1.PresentOrderRequest.code_hash",
        "payment.v1.PresentOrderRequest.sticker_hash",
        "payment.v1.PayCodeKey.key",
        "terminal.v1.Receipt.printer_bytes",
    ]


def test_no_request_has_a_secret_within_another_message() -> None:
    """Hashes leave out the secrets of the request itself."""

    def has_secret(descriptor: Descriptor, seen: frozenset[str] = frozenset()) -> bool:
        if descriptor.full_name in seen:
            return False
        parts = [field.message_type for field in descriptor.fields if field.message_type]
        return bool(secret_fields(descriptor)) or any(has_secret(part, seen | {descriptor.full_name}) for part in parts)

    requests = [descriptor for descriptor in messages() if descriptor.name.endswith("Request")]
    nested = [
        f"{descriptor.full_name}.{field.name}"
        for descriptor in requests
        for field in descriptor.fields
        if field.message_type and has_secret(field.message_type)
    ]
    assert len(requests) > 40
    assert nested == []


SECRET_REQUESTS = sorted(name for name in EXPECTED if "Request." in name)


@pytest.mark.parametrize("name", SECRET_REQUESTS)
def test_a_secret_is_no_part_of_what_makes_two_requests_the_same(name: str) -> None:
    """A hash of a PIN is as good as the PIN: there are only so many."""
    message_name, _, secret = name.rpartition(".")
    (descriptor,) = (each for each in messages() if each.full_name == PACKAGE + message_name)
    make = message_factory.GetMessageClass(descriptor)
    first, second, other = make(), make(**{secret: "123456"}), make(**{secret: "654321"})
    assert content_hash(first) == content_hash(second) == content_hash(other)
    assert getattr(second, secret) == "123456", "the request itself stays as it is"
    texts = [field.name for field in descriptor.fields if field.type == FieldDescriptor.TYPE_STRING]
    for text in set(texts) - {secret}:
        assert content_hash(make(**{secret: "1", text: "x"})) != content_hash(first), text
