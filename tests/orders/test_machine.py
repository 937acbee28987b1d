"""Any sequence of calls, in any order, doubled or late, with a clock that jumps: the invariants hold."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from order_service.audit import version_findings
from tests.clocks import ManualClock
from tests.orders.shop import OPEN_MAX_MS, Shop, event_name, state
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.database import open_engine, parse_url

Answer = TypeVar("Answer")
FIRST_PRICES = {"o-1": 100, "o-2": 100, "o-3": 0}
ORDERS = tuple(FIRST_PRICES)
PAYMENTS = {f"p-{number}": ORDERS[number % 3] for number in range(15)}
DEFINITE = {
    "VERSION_MISMATCH",
    "ORDER_LOCKED",
    "ORDER_ALREADY_PAID",
    "ORDER_CANCELED",
    "ORDER_NOT_FREE",
    "PAYMENT_NOT_FOUND",
    "EPOCH_MISMATCH",
    "REQUEST_ID_REUSED",
}

orders = st.sampled_from(ORDERS)
payments = st.sampled_from(sorted(PAYMENTS))
prices = st.sampled_from([100, 100, 100, 250, 250, 0])  # often the same total for other lines, at times nothing
rarely = st.sampled_from([False, False, False, True])
off_by = st.sampled_from([0, 0, 0, 0, -1, 1])  # mostly what the order says


class OrderMachine(RuleBasedStateMachine):
    """Three orders of which one comes to nothing at first, fifteen payments, one clock."""

    @initialize()
    def open_shop(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.url = f"sqlite:///{self.folder.name}/orders.db"
        self.clock = ManualClock()
        self.shop = self.runner.run(self.start())
        self.sku = 0
        self.verdicts: dict[str, order_payment_pb2.OrderPayment] = {}
        self.seen = {
            name: self.runner.run(self.shop.create(name, self.lines(price))) for name, price in FIRST_PRICES.items()
        }

    async def start(self) -> Shop:
        return Shop(self.url, self.clock)

    def teardown(self) -> None:
        for order in self.seen.values():
            self.history_is_whole(order)
        self.runner.run(self.shop.database.close())
        with open_engine(parse_url(self.url)).connect() as connection:
            assert list(version_findings(connection)) == []
        self.runner.close()
        self.folder.cleanup()

    def call(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer | None:
        """The answer, or None where the call was refused for a reason there is."""
        try:
            return self.runner.run(coroutine)
        except Refusal as refusal:
            if refusal.reason not in DEFINITE:
                raise
            return None

    def lines(self, price: int) -> list[LineItem]:
        self.sku += 1
        return [LineItem(sku=f"sku-{self.sku}", quantity=1, unit_price_minor=price)]

    @rule(order_id=orders, price=prices, off=off_by)
    def replace_lines(self, order_id: str, price: int, off: int) -> None:
        before = self.seen[order_id]
        after = self.call(self.shop.replace_lines(max(1, before.version + off), self.lines(price), order_id))
        if after:
            assert state(before) == "OPEN"
            assert after.version == before.version + 1

    @rule(order_id=orders, off=off_by, sure=rarely)
    def cancel(self, order_id: str, off: int, sure: bool) -> None:
        if sure:
            self.call(self.shop.cancel(max(1, self.seen[order_id].version + off), order_id))

    @rule(order_id=orders, off=off_by)
    def complete_free(self, order_id: str, off: int) -> None:
        before = self.seen[order_id]
        after = self.call(self.shop.complete_free(max(1, before.version + off), order_id))
        if after:
            assert (state(before), before.amount.minor_units) == ("OPEN", 0)
            assert (state(after), after.epoch, after.version) == ("PAID", before.epoch, max(1, before.version + off))

    @rule(order_id=orders)
    def complete_holder(self, order_id: str) -> None:
        if holder := self.seen[order_id].payment_id:
            self.complete(holder, 0)

    @rule(payment_id=payments)
    def lock_as_shown(self, payment_id: str) -> None:
        self.lock(payment_id, 0, 0)

    @rule(payment_id=payments, off=off_by, minor_off=off_by)
    def lock(self, payment_id: str, off: int, minor_off: int) -> None:
        order = self.seen[PAYMENTS[payment_id]]
        self.told(
            self.shop.lock(
                payment_id,
                order_id=order.order_id,
                version=max(1, order.version + off),
                minor=max(1, order.amount.minor_units + minor_off),
                lease_ms=1_000,
            )
        )

    @rule(payment_id=payments, off=off_by)
    def complete(self, payment_id: str, off: int) -> None:
        epoch = self.verdicts[payment_id].epoch if payment_id in self.verdicts else 0
        self.told(self.shop.complete(payment_id, max(1, epoch + off), PAYMENTS[payment_id]))

    @rule(payment_id=payments, sure=rarely)
    def cancel_payment(self, payment_id: str, sure: bool) -> None:
        if sure:
            self.told(self.shop.cancel_payment(payment_id, PAYMENTS[payment_id]))

    @rule(order_id=orders, events=st.permutations(["complete", "cancel", "replace", "free", "sweep"]))
    def race(self, order_id: str, events: list[str]) -> None:
        """Two things happen to a holder of the lock in one batch; the next look finds out who won."""
        order = self.seen[order_id]
        holder = order.payment_id or "p-0"
        calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "complete": lambda: self.shop.complete(holder, max(1, order.epoch), PAYMENTS[holder]),
            "cancel": lambda: self.shop.cancel_payment(holder, PAYMENTS[holder]),
            "replace": lambda: self.shop.replace_lines(order.version, self.lines(100), order_id),
            "free": lambda: self.shop.complete_free(order.version, order_id),
            "sweep": self.shop.sweep,
        }

        async def together() -> list[object]:
            return await asyncio.gather(*(calls[event]() for event in events[:2]), return_exceptions=True)

        for outcome in self.runner.run(together()):
            if isinstance(outcome, order_payment_pb2.OrderPayment):
                self.note_verdict(outcome)
            elif isinstance(outcome, BaseException):
                assert isinstance(outcome, Refusal)
                assert outcome.reason in DEFINITE

    @rule(span_ms=st.sampled_from([1, 999, 1_000, 5_000, -1, -3_000]))
    def clock_moves(self, span_ms: int) -> None:
        self.clock.advance(span_ms)

    @rule(sure=rarely)
    def a_month_passes(self, sure: bool) -> None:
        """Who still wants to pay comes too late, if nothing happened to the order since."""
        if not sure:
            return
        self.clock.advance(2 * OPEN_MAX_MS)  # it may have stepped back before
        self.call(self.shop.expire())
        for order_id, before in self.seen.items():
            if state(before) == "OPEN":
                assert state(self.runner.run(self.shop.order(order_id))) == "CANCELED"

    @rule()
    def sweep(self) -> None:
        self.call(self.shop.sweep())

    @rule(sure=rarely)
    def restart(self, sure: bool) -> None:
        """Nothing lives in the process alone."""
        if not sure:
            return
        self.runner.run(self.shop.database.close())
        self.shop = self.runner.run(self.start())

    def told(self, call: Coroutine[Any, Any, order_payment_pb2.OrderPayment]) -> None:
        payment = self.call(call)
        if payment is not None:
            self.note_verdict(payment)

    def note_verdict(self, payment: order_payment_pb2.OrderPayment) -> None:
        """Checks a verdict against what was told before: GRANTED may end, all others stand."""
        before = self.verdicts.setdefault(payment.payment_id, payment)
        if state(before) == "GRANTED":
            assert state(payment) != "REFUSED"
        else:
            assert (state(payment), payment.reason) == (state(before), before.reason)
        if before.epoch:
            assert payment.epoch == before.epoch
        self.verdicts[payment.payment_id] = payment

    @invariant()
    def orders_are_sound(self) -> None:
        for order in self.runner.run(self.look()):
            self.grows(self.seen[order.order_id], order)
            self.is_paid_by_one_payment_or_none(order)
            self.seen[order.order_id] = order

    async def look(self) -> list[order_pb2.Order]:
        return await asyncio.gather(*(self.shop.order(order_id) for order_id in ORDERS))

    def grows(self, before: order_pb2.Order, after: order_pb2.Order) -> None:
        assert after.version >= before.version
        assert after.epoch >= before.epoch
        if state(before) in ("PAID", "CANCELED"):
            assert after == before
        if after.version == before.version:
            assert list(after.lines) == list(before.lines)

    def is_paid_by_one_payment_or_none(self, order: order_pb2.Order) -> None:
        mine = {name: payment for name, payment in self.verdicts.items() if payment.order_id == order.order_id}
        for payment in mine.values():
            if state(payment) == "PAID":
                assert (state(order), order.payment_id, order.epoch) == ("PAID", payment.payment_id, payment.epoch)
        free = state(order) == "PAID" and order.amount.minor_units == 0
        assert bool(order.payment_id) == (state(order) in ("LOCKED", "PAID") and not free)
        if order.payment_id in mine:
            holder = mine[order.payment_id]
            assert state(holder) in ("GRANTED", "PAID")
            assert (holder.order_version, holder.amount) == (order.version, order.amount)

    def history_is_whole(self, order: order_pb2.Order) -> None:
        history = self.runner.run(self.shop.history(order.order_id))
        assert [entry.number for entry in history] == list(range(1, len(history) + 1))
        for one, next_one in pairwise(history):
            assert next_one.from_state == one.to_state
            event = event_name(next_one)
            assert next_one.version - one.version == (event == "LINES_REPLACED")
            assert next_one.epoch - one.epoch == (event == "LOCKED")
            assert event == "LINES_REPLACED" or next_one.amount == one.amount
            assert event != "COMPLETED_FREE" or (next_one.amount.minor_units, next_one.payment_id) == (0, "")
        for entry in history:
            version = self.runner.run(self.shop.version(entry.version, order.order_id))
            assert version.amount == entry.amount
        last = history[-1]
        assert (last.to_state, last.version, last.epoch) == (order.state, order.version, order.epoch)
        assert last.amount == order.amount


@pytest.mark.timeout(3600)  # a failure takes minutes to become a small example
@pytest.mark.parametrize("examples", [15, pytest.param(150, marks=pytest.mark.chaos)])
def test_the_invariants_hold_whatever_is_called(examples: int) -> None:
    run_state_machine_as_test(OrderMachine, settings=settings(max_examples=examples, stateful_step_count=40))
