"""A try of a PIN comes to its outcome whatever becomes of caller and payment, and counts once."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import ManualClock
from tests.databases import NewDatabase
from tests.payments.phones import TILL, Phone, acting, pay_at_till, payer
from tests.payments.side import Side, payment_side, refused, state_and_reason, until
from tests.payments.test_pins import at_the_pad, keyed_in, outcome, waiting
from tests.processes import DEADLINE_S, Server
from tests.trust.secrets import NEW_PIN, PIN, WRONG_PIN
from thirdparty_server.errors import Reason
from thirdparty_server.payers import operations as payer_operations
from thirdparty_server.payers import pin_counting, queries, vault
from thirdparty_server.payers.pin_tries import UNDER_WAY_MAX
from thirdparty_server.tables import METADATA
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.secret import Secret
from tillmesh.storage.requests import IdempotencyKey


class Gate:
    """Lets the hashing of PINs wait, and counts it."""

    def __init__(self, hashing: Callable[[str, bytes], bool]) -> None:
        self.open = threading.Event()
        self.begun = 0
        self._hashing = hashing

    def __call__(self, pin_hash: str, peppered: bytes) -> bool:
        self.begun += 1
        assert self.open.wait(DEADLINE_S)
        return self._hashing(pin_hash, peppered)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate(vault._is_right)
    monkeypatch.setattr(vault, "_is_right", gate)
    return gate


async def failures(side: Side, *identity_ids: str) -> int:
    """How many tries count as wrong."""

    def read(identity_id: str) -> Any:
        return side.database.run(lambda transaction: queries.find_pin(transaction, identity_id)[1])

    return sum([await read(identity_id) for identity_id in identity_ids])


async def is_counted(side: Side, *identity_ids: str, count: int = 1) -> None:
    async def counted() -> bool:
        return await failures(side, *identity_ids) == count

    await until(counted)


async def abandoned(side: Side, identity_id: str, gate: Gate, call: Coroutine[Any, Any, Any]) -> None:
    """Leaves a call while its PIN is hashed."""
    before, hashed = await failures(side, identity_id), gate.begun
    gate.open.clear()
    task = asyncio.create_task(call)
    await is_counted(side, identity_id, count=before + 1)

    async def hashing() -> bool:
        return gate.begun > hashed

    await until(hashing)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open.set()
    await side.payments.pin_tries.drain()


async def test_calls_with_the_right_pin_that_are_abandoned_do_not_lock_it(side: Side, gate: Gate) -> None:
    phone = await payer(side)
    for _ in range(6):
        await abandoned(side, phone.identity_id, gate, phone.sign_in())
    assert await failures(side, phone.identity_id) == 0
    assert await outcome(phone, PIN) == "signed in"


async def test_the_right_pin_at_a_till_that_leaves_counts_as_none_and_pays_when_it_comes_again(
    side: Side, gate: Gate
) -> None:
    phone, _, payment = await waiting(side)
    requests = [keyed_in(payment, PIN) for _ in range(6)]
    for request in requests:
        await abandoned(side, phone.identity_id, gate, at_the_pad(side, request))
    assert await failures(side, phone.identity_id) == 0
    assert await side.state(payment.payment_id) == ("AWAITING_PAYER", "")
    paid = await at_the_pad(side, requests[0])
    assert (state_and_reason(paid), gate.begun) == (("CAPTURED", ""), 6)


async def test_wrong_pins_that_are_abandoned_count_and_lock(side: Side, gate: Gate) -> None:
    phone, _, payment = await waiting(side)
    for _ in range(3):
        await abandoned(side, phone.identity_id, gate, phone.sign_in(WRONG_PIN))
    request = keyed_in(payment, WRONG_PIN)
    await abandoned(side, phone.identity_id, gate, at_the_pad(side, request))
    with refused(Reason.PIN_WRONG):  # what it came to is kept, and another PIN is another request
        await at_the_pad(side, keyed_in(payment, PIN, request.request_id))
    await abandoned(side, phone.identity_id, gate, phone.sign_in(WRONG_PIN))
    assert await outcome(phone, PIN) == "PIN_LOCKED"


async def test_a_payment_that_ends_while_the_right_pin_is_hashed_is_no_wrong_pin(side: Side, gate: Gate) -> None:
    phone, _, payment = await waiting(side)
    confirming = asyncio.create_task(at_the_pad(side, request := keyed_in(payment, PIN)))
    await is_counted(side, phone.identity_id)
    await side.payments.CancelPayment(
        payments_api.CancelPaymentRequest(request_id=request.request_id + "-no", payment_id=payment.payment_id)
    )
    gate.open.set()
    with refused(Reason.PAYMENT_NOT_WAITING):
        await confirming
    assert await failures(side, phone.identity_id) == 0


async def test_a_pin_that_is_changed_before_the_payment_is_confirmed_confirms_nothing(side: Side, gate: Gate) -> None:
    phone, _, payment = await waiting(side)
    request = keyed_in(payment, PIN)
    await abandoned(side, phone.identity_id, gate, at_the_pad(side, request))
    new_hash = await side.settings.vault().hash_pin(phone.identity_id, Secret(NEW_PIN.encode()))
    await side.database.run(payer_operations.set_pin, phone.identity_id, new_hash)
    with refused(Reason.PIN_WRONG):
        await at_the_pad(side, request)
    assert await side.state(payment.payment_id) == ("AWAITING_PAYER", "")


@pytest.mark.parametrize(("pin", "counted"), [(PIN, 0), (WRONG_PIN, 1)])
async def test_copies_of_a_request_at_once_are_one_try(side: Side, gate: Gate, pin: str, counted: int) -> None:
    phone, _, payment = await waiting(side)
    request = keyed_in(payment, pin)
    copies = [asyncio.create_task(at_the_pad(side, request)) for _ in range(8)]
    await is_counted(side, phone.identity_id)
    gate.open.set()
    heard = await asyncio.gather(*copies, return_exceptions=True)
    assert len({_said(answer) for answer in heard}) == 1
    assert (gate.begun, await failures(side, phone.identity_id)) == (1, counted)


def _said(answer: payment_pb2.Payment | BaseException) -> str:
    if isinstance(answer, Refusal):
        return f"{answer.reason} {answer.metadata}"
    assert isinstance(answer, payment_pb2.Payment)
    return str(state_and_reason(answer))


async def test_of_those_who_come_and_leave_at_once_few_are_tried_and_the_rest_are_not_counted(
    side: Side, gate: Gate
) -> None:
    phones = [await payer(side) for _ in range(UNDER_WAY_MAX + 3)]
    tries = [asyncio.create_task(phone.sign_in(WRONG_PIN)) for phone in phones]
    await is_counted(side, *(phone.identity_id for phone in phones), count=UNDER_WAY_MAX)
    for left in tries:
        left.cancel()
    await asyncio.gather(*tries, return_exceptions=True)
    gate.open.set()
    await side.payments.pin_tries.drain()
    assert await failures(side, *(phone.identity_id for phone in phones)) == UNDER_WAY_MAX
    assert await outcome(phones[-1], PIN) == "signed in"


# Several processes


@pytest.fixture
async def sides(
    new_database: NewDatabase, tmp_path: Path, order_service: Server, clock: ManualClock
) -> AsyncIterator[tuple[Side, Side]]:
    """Two servers on one database: replicas on PostgreSQL, one after the other on SQLite."""
    url = new_database(METADATA)
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(payment_side(url, tmp_path, order_service.address, clock)) for _ in range(2)
        ]
        yield first, second


def key_of(request: payments_api.ConfirmPaymentRequest, side: Side) -> IdempotencyKey:
    return IdempotencyKey.of(request, request.request_id, side.clock.now_ms())


async def began_and_died(side: Side, phone: Phone, key: IdempotencyKey) -> None:
    """A process counts a try and is gone before it knows the outcome."""
    replica, now_ms = side.database.replica, side.clock.now_ms()
    await side.database.run(pin_counting.begin_once, key, phone.identity_id, replica, now_ms)


async def test_what_a_server_began_before_it_died_is_tried_by_the_next_and_counts_once(
    sides: tuple[Side, Side], clock: ManualClock
) -> None:
    first, second = sides
    phone = await payer(first)
    payment = await pay_at_till(first, await first.order(phone.identity_id))
    request = keyed_in(payment, PIN)
    with acting(TILL):
        key = key_of(request, first)
        await began_and_died(first, phone, key)
    if first.database.replica:
        with refused(Reason.PIN_TRY_NOT_SETTLED):
            await at_the_pad(second, request)
        clock.advance(pin_counting.CHECK_MS_MAX)
    with acting(TILL):
        for _ in range(4):
            await first.database.run(pin_counting.begin_pin_try, phone.identity_id)
    paid = await at_the_pad(second, request)
    assert state_and_reason(paid) == ("CAPTURED", "")
    assert await failures(second, phone.identity_id) == 0


async def test_who_was_taken_for_dead_settles_nothing(sides: tuple[Side, Side], clock: ManualClock) -> None:
    first, second = sides
    phone = await payer(first)
    payment = await pay_at_till(first, await first.order(phone.identity_id))
    key = key_of(keyed_in(payment, PIN), first)
    begun = await first.database.run(
        pin_counting.begin_once, key, phone.identity_id, first.database.replica, clock.now_ms()
    )
    assert begun is not None
    clock.advance(pin_counting.CHECK_MS_MAX)
    await began_and_died(second, phone, key)
    checked = await first.settings.vault().checked(begun, Secret(PIN.encode()))
    with refused(Reason.PIN_TRY_NOT_SETTLED):
        await first.database.run(pin_counting.settle_once, key, checked)
    assert await failures(first, phone.identity_id) == 1
