"""Ways in which the payment server and the till could go wrong; see `mutants`."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from thirdparty_server.errors import PAYER_MISMATCH, SUPERSEDED
from thirdparty_server.payers.operations import get_identity
from thirdparty_server.payments import operations, orders, payer_search, resolver
from thirdparty_server.payments import queries as payment_queries
from thirdparty_server.payments.lifecycle import PaymentEvent, PaymentState
from thirdparty_server.payments.model import FoundPayer, Payment
from thirdparty_server.payments.refunds import operations as refund_operations
from thirdparty_server.payments.refunds import queries as refund_queries
from thirdparty_server.payments.refunds.servicer import RefundServicer
from thirdparty_server.payments.servicer import PaymentServicer
from tillmesh.api.order.v1.order_payment_pb2 import OrderPayment
from tillmesh.runtime.errors import Refusal, Unanswered

Patch = tuple[Any, str, Any]
RELEASED = OrderPayment(state=OrderPayment.STATE_RELEASED, reason="ASSUMED")
HOLD_LASTS_MS = 8_000


def taken_as_a_no(is_no: Callable[[Exception], bool]) -> Callable[[], list[Patch]]:
    def patches() -> list[Patch]:
        real = orders.Orders.complete

        async def complete(self: Any, payment: Payment) -> Any:
            try:
                return await real(self, payment)
            except (Refusal, Unanswered) as error:
                if not is_no(error):
                    raise
                return RELEASED

        return [(orders.Orders, "complete", complete)]

    return patches


def hold_times_out() -> list[Patch]:
    real = resolver.PaymentResolver._complete

    async def complete(self: Any, payment: Payment) -> Any:
        if self._clock.now_ms() - payment.updated_at_ms > HOLD_LASTS_MS:
            return await self._end(payment, RELEASED)
        return await real(self, payment)

    return [(resolver.PaymentResolver, "_complete", complete)]


def gives_up_without_the_order() -> list[Patch]:
    async def void(self: Any, payment: Payment) -> Any:
        return await self._end(payment, RELEASED)

    return [(resolver.PaymentResolver, "_void", void)]


def smaller_epochs_live_on() -> list[Patch]:
    return [(operations, "_supersede", lambda *_: None)]


def voids_attempts_without_epoch() -> list[Patch]:
    real = operations.record_lock

    def record(transaction: Any, payment_id: str, lock: Any, now_ms: int) -> Any:
        for other in payment_queries.take_unfinished(transaction, payment_id):
            if other.payment_id != payment_id and other.state is PaymentState.PENDING:
                operations.give_up(transaction, other.payment_id, PaymentEvent.EXPIRED, SUPERSEDED, now_ms)
                operations.release(transaction, other.payment_id, SUPERSEDED, now_ms)
        return real(transaction, payment_id, lock, now_ms)

    return [(operations, "record_lock", record)]


def posts_before_the_order_answers() -> list[Patch]:
    real = operations._hold_funds

    def hold(transaction: Any, before: Payment, after: Payment, now_ms: int) -> Payment:
        held = real(transaction, before, after, now_ms)
        if held.state is PaymentState.AUTHORIZED:
            return operations.capture(transaction, held.payment_id, now_ms)
        return held

    return [(operations, "_hold_funds", hold)]


def refund_limit_is_checked_outside() -> list[Patch]:
    """What is left is read first, and the refund is made a moment later; the table's own CHECK is off as well."""
    real = RefundServicer.RefundPayment
    read: dict[str, Payment | None] = {}

    async def refund(self: Any, request: Any) -> Any:
        read[request.refund_id] = await self.database.run(payment_queries.PAYMENTS.find, request.payment_id)
        await asyncio.sleep(1)
        return await real(self, request)

    def refund_payment(transaction: Any, new: Any, *others: Any) -> Any:
        seen = read[new.refund_id]

        def take(transaction: Any, payment_id: str) -> Payment:
            now = operations.get_payment(transaction, payment_id)
            return replace(now, refunded_minor=seen.refunded_minor) if seen else now

        transaction.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        try:
            with patch.object(operations, "take_payment", take):
                return real_refund(transaction, new, *others)
        finally:
            transaction.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")

    real_refund = refund_operations.refund_payment
    return [(RefundServicer, "RefundPayment", refund), (refund_operations, "refund_payment", refund_payment)]


def lines_come_back_without_the_lock() -> list[Patch]:
    """What came back before is read first, and the refund of lines is made a moment later."""
    real, real_refund = RefundServicer.RefundPayment, refund_operations.refund_payment
    read: dict[str, Any] = {}

    async def refund(self: Any, request: Any) -> Any:
        read[request.refund_id] = await self.database.run(refund_queries.given_back, request.payment_id)
        await asyncio.sleep(1)
        return await real(self, request)

    def refund_payment(transaction: Any, new: Any, *others: Any) -> Any:
        with patch.object(refund_queries, "given_back", lambda _connection, _payment_id: read[new.refund_id]):
            return real_refund(transaction, new, *others)

    return [(RefundServicer, "RefundPayment", refund), (refund_operations, "refund_payment", refund_payment)]


def _first_to_show_a_code(transaction: Any, payer: Any) -> Any:
    query = "SELECT identity_id FROM payments WHERE payer_value = ? AND by_code ORDER BY rowid"
    return transaction.exec_driver_sql(query, (payer.value,)).first()


def first_payer_is_charged() -> list[Patch]:
    """Whoever shows the first code under a reference pays for all others, too."""
    real = payer_search.find_payer

    def find(transaction: Any, asked: Payment, shown: Any) -> FoundPayer:
        found = real(transaction, asked, shown)
        first = _first_to_show_a_code(transaction, asked.payer)
        return (
            replace(found, identity=get_identity(transaction, first["identity_id"]))
            if first and found.by_code
            else found
        )

    return [(payer_search, "find_payer", find)]


def first_payer_alone_may_pay() -> list[Patch]:
    """Under a reference, nobody's code counts but that of whoever showed the first one."""
    real = payer_search.find_payer

    def find(transaction: Any, asked: Payment, shown: Any) -> FoundPayer:
        found = real(transaction, asked, shown)
        first = _first_to_show_a_code(transaction, asked.payer)
        other = first and found.by_code and found.identity and found.identity.identity_id != first["identity_id"]
        return FoundPayer(None, reason=PAYER_MISMATCH) if other else found

    return [(payer_search, "find_payer", find)]


def smaller_epoch_that_comes_late_holds() -> list[Patch]:
    """A larger epoch ends smaller ones, but a smaller one that comes after it goes on."""
    return [(payment_queries, "has_larger_epoch", lambda _connection, _order_id, _granted: False)]


def ends_by_hand_what_the_order_knows() -> list[Patch]:
    """The operator's word is enough."""

    async def disowns(_self: Any, _payment: Payment) -> bool:
        return True

    return [(orders.Orders, "disowns", disowns)]


def completes_what_holds_no_money() -> list[Patch]:
    """Before a payment is ended by hand its order is asked, also where the payer has not yet said yes."""
    real = PaymentServicer.VoidPayment

    async def void(self: Any, request: Any) -> Any:
        payment = await self.database.run(operations.get_payment, request.payment_id)
        if payment.state is PaymentState.AWAITING_PAYER:
            await self.orders.disowns(payment)
        return await real(self, request)

    return [(PaymentServicer, "VoidPayment", void)]


def is_silence(error: Exception) -> bool:
    return isinstance(error, Unanswered) and "DEADLINE" in str(error)


def is_error_reply(error: Exception) -> bool:
    return not is_silence(error)
