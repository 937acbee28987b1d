"""What a message and its texts may be."""

from collections.abc import Callable

import pytest
from grpc import StatusCode, aio

from tillmesh import payer
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_pb2 import Order
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.origin import NOWHERE, Origin
from tillmesh.rpc.fields import Fields, parser, shown
from tillmesh.rpc.messages import to_payer
from tillmesh.runtime.errors import Refusal

PARSE = parser(api.ListOrdersRequest.DESCRIPTOR)
CONTROLS = ["\0", "a\0", "\n", "\r\n", "\x1b[2J", "\x7f", "\x85", "\x9b", "\u2028", "\ud800"]


def refused(check: Callable[[Fields], object]) -> Refusal | None:
    fields = Fields()
    check(fields)
    try:
        fields.check()
    except Refusal as refused:
        return refused
    return None


def violations(check: Callable[[Fields], object]) -> list[tuple[str, str]]:
    """What is wrong, by field."""
    found = refused(check)
    return [(each.field, each.description) for each in found.violations] if found else []


def refusal(text: str, length_max: int = 10) -> Refusal | None:
    return refused(lambda fields: fields.text("title", text, length_max=length_max))


@pytest.mark.parametrize("text", CONTROLS, ids=ascii)
def test_a_text_has_no_control_characters(text: str) -> None:
    refused = refusal(text)
    assert refused is not None
    assert refused.text == "The request has an invalid field: title must have no control characters."


@pytest.mark.parametrize("text", ["", "Käse", "Brie", "お茶", "👨‍👩‍👧", "שלום", "10\u00a0kg", "a\u0301"])
def test_a_text_may_be_in_any_language(text: str) -> None:
    assert refusal(text) is None


@pytest.mark.parametrize("text", [text for text in CONTROLS if text != "\ud800"], ids=ascii)
def test_not_even_a_filter_or_a_key_has_control_characters(text: str) -> None:
    sent = api.ListOrdersRequest(store_id=text, payer=Payer(identity_id="ada"), page_token=text).SerializeToString()
    with pytest.raises(Refusal) as raised:
        PARSE(sent)
    assert [violation.field for violation in raised.value.violations] == ["store_id", "page_token"]


@pytest.mark.parametrize("sent", [b"\xff", b"\x0a\x05ab", b"\x0a\x01\xff", b"\x0a\x03\xed\xa0\x80", aio.EOF], ids=repr)
def test_what_is_no_message_is_refused(sent: object) -> None:
    with pytest.raises(Refusal) as raised:
        PARSE(sent)
    assert (raised.value.code, raised.value.reason) == (StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED")
    assert "tillmesh.api.order.v1.ListOrdersRequest" in raised.value.text


def test_a_message_is_read_as_it_was_sent() -> None:
    request = api.ListOrdersRequest(store_id="store-1", page_size=7, states=[Order.STATE_OPEN, Order.STATE_PAID])
    assert PARSE(request.SerializeToString()) == request


def test_what_is_shown_of_a_value_is_short_and_on_one_line() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("\U000e0001" * 10_000)) < 80
    assert shown("x" * 64) == repr("x" * 64)
    assert shown("x" * 65).endswith("…")


# Who is to pay

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
NOT_A_REFERENCE = [
    "",
    "ada",
    UUID.upper(),
    UUID.replace("-", ""),
    f"{{{UUID}}}",
    f"{UUID}\n",
    UUID[:-1],
    f"urn:uuid:{UUID}",
]


def test_an_identity_and_a_reference_are_two_payers_whatever_they_are_called() -> None:
    fields = Fields()
    read = [fields.payer("payer", message) for message in (Payer(identity_id="ada"), Payer(reference=UUID))]
    fields.check()
    assert read == [payer.identity("ada"), payer.reference(UUID)]
    assert [each.identity_id for each in read] == ["ada", None]
    assert payer.identity("x") != payer.reference("x")
    assert [to_payer(each) for each in read] == [Payer(identity_id="ada"), Payer(reference=UUID)]


@pytest.mark.parametrize("name", [UUID, UUID.upper(), UUID.capitalize()])
def test_no_identity_is_called_like_a_reference(name: str) -> None:
    """Or a till could take an identity's id for itself by naming it as a reference."""
    rule = f"must not have the form of a UUID, was {name!r}"
    assert violations(lambda fields: fields.identity("identity_id", name)) == [("identity_id", rule)]
    message = Payer(identity_id=name)
    assert violations(lambda fields: fields.payer("payer", message)) == [("payer.identity_id", rule)]


@pytest.mark.parametrize("name", NOT_A_REFERENCE, ids=ascii)
def test_a_reference_is_a_uuid_in_lower_case(name: str) -> None:
    found = violations(lambda fields: fields.payer("payer", Payer(reference=name)))
    assert found == [("payer.reference", f"must be a UUID in lower case, was {name!r}")]


@pytest.mark.parametrize("name", ["", "a" * 65, "a/b", "é", "a\0"], ids=ascii)
def test_an_identity_is_an_id_like_any_other(name: str) -> None:
    assert [field for field, _ in violations(lambda fields: fields.payer("payer", Payer(identity_id=name)))] == [
        "payer.identity_id"
    ]
    assert bool(violations(lambda fields: fields.identity("identity_id", name, optional=True))) is bool(name)


def test_somebody_has_to_pay() -> None:
    rule = "must have an identity_id or a reference"
    assert violations(lambda fields: fields.payer("payer", Payer())) == [("payer", rule)]


# What integrators attach, and where something is asked for


def test_labels_are_kept_by_their_keys() -> None:
    fields = Fields()
    kept = fields.labels("labels", {"till.id": "7", "Campaign": "spring 🌼", "empty": ""})
    fields.check()
    assert list(kept.items()) == [("Campaign", "spring 🌼"), ("empty", ""), ("till.id", "7")]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({str(number): "" for number in range(17)}, [("labels", "must be at most 16, were 17")]),
        ({"": "x"}, [("labels key", "must be 1 to 64 characters of A-Z a-z 0-9 . _ and -, was ''")]),
        ({"a b": "x"}, [("labels key", "must be 1 to 64 characters of A-Z a-z 0-9 . _ and -, was 'a b'")]),
        (
            {"k" * 65: ""},
            [("labels key", f"must be 1 to 64 characters of A-Z a-z 0-9 . _ and -, was {'k' * 65!r:.64}…")],
        ),
        ({"a": "x" * 257}, [("labels['a']", "must have 0 to 256 characters, had 257")]),
        ({"a": "x\0", "b": "y"}, [("labels['a']", "must have no control characters")]),
    ],
)
def test_labels_are_few_and_short(labels: dict[str, str], found: list[tuple[str, str]]) -> None:
    assert violations(lambda fields: fields.labels("labels", labels)) == found


def test_an_origin_may_be_empty_or_say_where_and_who() -> None:
    fields = Fields()
    assert fields.origin("", "", "") == NOWHERE == Origin()
    assert fields.origin("till-1", "lane-4", "Zoë K.") == Origin("till-1", "lane-4", "Zoë K.")
    fields.check()


@pytest.mark.parametrize(
    ("origin", "field"),
    [
        (("till 1", "", ""), "terminal_id"),
        (("", "lane/4", ""), "lane"),
        (("", "", "x" * 65), "cashier_id"),
        (("", "", "\x1b[2J"), "cashier_id"),
    ],
)
def test_an_origin_has_ids_and_a_short_text(origin: tuple[str, str, str], field: str) -> None:
    assert [name for name, _ in violations(lambda fields: fields.origin(*origin))] == [field]
