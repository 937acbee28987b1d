import random
import re
import uuid

import pytest

from tillmesh.rpc.fields import Fields
from tillmesh.runtime.ids import CROCKFORD, new_request_id, new_transaction_number
from tillmesh.runtime.telemetry import TRACEPARENT, adopt_trace, trace_id, traceparent

TRACE = "0123456789abcdef0123456789abcdef"


def test_a_request_id_is_a_random_uuid(rng: random.Random) -> None:
    ids = {new_request_id(rng) for _ in range(1000)}
    assert len(ids) == 1000
    assert {uuid.UUID(one).version for one in ids} == {4}


def test_a_transaction_number_can_be_read_aloud_and_is_a_valid_id(rng: random.Random) -> None:
    numbers = {new_transaction_number(rng) for _ in range(1000)}
    assert len(numbers) == 1000
    for number in numbers:
        assert re.fullmatch(rf"([{CROCKFORD}]{{4}}-){{2}}[{CROCKFORD}]{{4}}", number)
        fields = Fields()
        fields.identifier("order_id", number)
        fields.check()


def test_the_callers_trace_goes_on() -> None:
    adopt_trace([("user-agent", "till"), (TRACEPARENT, f"00-{TRACE}-0123456789abcdef-01")])
    assert trace_id.get() == TRACE
    assert traceparent().split("-")[1] == TRACE


@pytest.mark.parametrize("header", ["", "00-xyz-0123456789abcdef-01", f"00-{TRACE}-01", f"{TRACE}", b"\x00"])
def test_a_header_that_is_none_starts_a_trace_of_its_own(header: str | bytes) -> None:
    trace_id.set("")
    adopt_trace([(TRACEPARENT, header)])
    assert re.fullmatch(r"[0-9a-f]{32}", trace_id.get())
    assert trace_id.get() != TRACE
