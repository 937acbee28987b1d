"""What a message and its texts may be."""

import pytest
from grpc import StatusCode, aio

from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_pb2 import Order
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.fields import Fields, parser, shown

PARSE = parser(api.ListOrdersRequest.DESCRIPTOR)
CONTROLS = ["\0", "a\0", "\n", "\r\n", "\x1b[2J", "\x7f", "\x85", "\x9b", "\u2028", "\ud800"]


def refusal(text: str, length_max: int = 10) -> Refusal | None:
    fields = Fields()
    fields.text("title", text, length_max=length_max)
    try:
        fields.check()
    except Refusal as refused:
        return refused
    return None


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
    sent = api.ListOrdersRequest(store_id=text, payer_id="ada", page_token=text).SerializeToString()
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
