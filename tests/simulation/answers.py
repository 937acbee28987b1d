"""What clients were told: every word of it must hold for ever."""

from collections.abc import Callable
from typing import Any

from tests.simulation.invariants import DEAD, Violation
from tests.simulation.network import ORDERS, PAYMENTS
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as till_refunds_api
from tillmesh.runtime.errors import Refusal

Sql = Callable[..., list[Any]]
FIRST_ANSWER_FOR_EVER = (
    orders_api.UpdateOrderRequest, accounts_api.CreateDepositRequest, refunds_api.CreateRefundRequest,
)  # fmt: skip


class Answers:
    """Remembers what was acknowledged, and whether it is so."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self._first: dict[str, bytes] = {}
        self._told: dict[tuple[Any, ...], tuple[str, list[Any]]] = {}

    def note(self, request: Any, answer: Any) -> None:
        """Takes down an answer; one that is wrong already is a violation."""
        if isinstance(request, FIRST_ANSWER_FOR_EVER):
            first = self._first.setdefault(request.request_id, answer.SerializeToString())
            if first != answer.SerializeToString():
                raise Violation(f"invariant 6: request {request.request_id} was answered in two ways")
        match answer:
            case accounts_api.Account():
                query = "SELECT amount_minor FROM transfers WHERE purpose = 'DEPOSIT' AND reference = ?"
                self._expect("deposit", [(request.amount.minor_units,)], PAYMENTS, query, request.request_id)
            case refunds_api.Refund():
                self._refund(answer.refund_id, answer.amount.minor_units)
            case till_refunds_api.TillRefund(state=till_refunds_api.TillRefund.STATE_DONE):
                self._refund(answer.refund_id, answer.amount.minor_units)
            case order_pb2.Order():
                query = "SELECT event, amount_minor FROM order_history WHERE order_id = ? AND version = ? AND event = ?"
                values = answer.order_id, request.version + 1, "UPDATED"
                self._expect("update", [("UPDATED", answer.amount.minor_units)], ORDERS, query, *values)
            case order_pb2.OrderPayment():
                self._final("order_payments", ORDERS, answer, order_pb2.OrderPayment, order_pb2.OrderPayment.STATE_HELD)
            case payments_api.Payment(state=payments_api.Payment.STATE_CAPTURED | payments_api.Payment.STATE_VOIDED):
                self._final("payments", PAYMENTS, answer, payments_api.Payment, 0)
            case checkout_pb2.Checkout():
                self._verdict(answer)

    def note_refusal(self, request: Any, refusal: Refusal) -> None:
        """Takes down a no, which is one for ever: no copy that comes late may be done after all."""
        if isinstance(request, FIRST_ANSWER_FOR_EVER):
            first = self._first.setdefault(request.request_id, refusal.reason.encode())
            if first != refusal.reason.encode():
                raise Violation(f"invariant 6: request {request.request_id} was answered in two ways")
            server = ORDERS if isinstance(request, orders_api.UpdateOrderRequest) else PAYMENTS
            query = "SELECT 'done' FROM requests WHERE request_id = ? AND NOT refused"
            self._expect("refusal of request", [], server, query, request.request_id)

    def check(self) -> None:
        """All that was acknowledged is there, exactly once."""
        for (server, query, *values), (what, expected) in self._told.items():
            found = self._sql(server, query, *values)
            if found != expected:
                raise Violation(f"invariant 7: acknowledged {what} {values[0]} was {expected}, is {found}")

    def _expect(self, what: str, rows: list[Any], server: str, query: str, *values: Any) -> None:
        self._told[server, query, *values] = (what, rows)

    def _refund(self, refund_id: str, amount_minor: int) -> None:
        query = "SELECT amount_minor FROM refunds WHERE refund_id = ?"
        self._expect("refund", [(amount_minor,)], PAYMENTS, query, refund_id)

    def _final(self, table: str, server: str, answer: Any, message: Any, undecided: int) -> None:
        if answer.state != undecided:
            state = message.State.Name(answer.state).removeprefix("STATE_")
            query = f"SELECT state FROM {table} WHERE payment_id = ?"
            self._expect(f"verdict in {table} on", [(state,)], server, query, answer.payment_id)

    def _verdict(self, checkout: checkout_pb2.Checkout) -> None:
        """Rule 11, at the moment when the operator reads it."""
        if checkout.verdict == checkout_pb2.VERDICT_HAND_OVER_GOODS:
            rows = self._sql(ORDERS, "SELECT state FROM orders WHERE order_id = ?", checkout.checkout_id)
            if rows != [("PAID",)]:
                raise Violation(f"rule 11: HAND_OVER_GOODS while order {checkout.checkout_id} is {rows}")
        if checkout.verdict == checkout_pb2.VERDICT_SAFE_TO_RETRY:
            rows = self._sql(ORDERS, "SELECT state FROM order_payments WHERE payment_id = ?", checkout.payment_id)
            if not rows or rows[0][0] not in DEAD:
                raise Violation(f"rule 11: SAFE_TO_RETRY while payment {checkout.payment_id} is {rows} at its order")
