"""What clients were told: every word of it must hold for ever."""

from collections.abc import Callable
from typing import Any, TypeAlias

from google.protobuf.message import Message

from tests.simulation.invariants import DEAD
from tests.simulation.network import ORDERS, PAYMENTS, TERMINAL
from tests.simulation.reading import Violation
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import deposit_pb2, payment_pb2, refund_pb2
from tillmesh.api.terminal.v1 import checkout_pb2, till_refund_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkouts_api
from tillmesh.lines import totals
from tillmesh.rpc.line_messages import from_line_item
from tillmesh.runtime.errors import Refusal

Sql = Callable[..., list[Any]]
Verdict: TypeAlias = "checkout_pb2.Verdict.ValueType"
ID_FIELDS = ("request_id", "refund_id", "deposit_id", "payment_id")
READS = ("Get", "List")
FINAL_VERDICTS = (checkout_pb2.VERDICT_HAND_OVER_GOODS, checkout_pb2.VERDICT_CLOSED)
DECIDED_BY = {"order": ORDERS, "payment": PAYMENTS}
"""Servers that decide on a request themselves, by the package of its type; the till passes some of them on."""
ACCEPTED = "accepted"


SOLD_AFTER_ALL = """
    SELECT 'sold' FROM checkouts c WHERE checkout_id = ? AND NOT EXISTS (
      SELECT 1 FROM checkout_history h WHERE h.checkout_id = c.checkout_id AND h.event IN ('VOID_ASKED', 'RESUMED'))
"""
"""A checkout that was written and never undone."""


class Answers:
    """Remembers what was acknowledged, and whether it is so."""

    def __init__(self, sql: Sql, *, calm: bool) -> None:
        self._sql = sql
        self.calm = calm
        """True while nothing goes wrong: no till may be at a loss then."""
        self._outcomes: dict[tuple[str, str], str] = {}
        self._told: dict[tuple[Any, ...], tuple[str, list[Any]]] = {}
        self._final_verdicts: dict[str, Verdict] = {}

    def known_of(self, request: Message) -> "Verdict | None":
        """The final verdict that somebody who asks now about a checkout was told before."""
        return self._final_verdicts.get(getattr(request, "checkout_id", ""))

    def note(self, request: Any, answer: Any, known: "Verdict | None" = None) -> bool:
        """Takes down an answer; one that is wrong already is a violation. True for the first one to a change."""
        match answer:
            case deposit_pb2.Deposit():
                query = "SELECT amount_minor FROM transfers WHERE purpose = 'DEPOSIT' AND reference = ?"
                self._expect("deposit", [(request.amount.minor_units,)], PAYMENTS, query, request.deposit_id)
            case refund_pb2.Refund():
                self._refund(answer.refund_id, answer.amount.minor_units)
            case till_refund_pb2.TillRefund():
                if answer.state != till_refund_pb2.TillRefund.STATE_DONE:
                    return False  # not answered yet, whatever comes of it
                self._refund(answer.refund_id, answer.amount.minor_units)
            case order_pb2.Order():
                self._order(request, answer)
            case order_payment_pb2.OrderPayment():
                self._final("order_payments", ORDERS, answer, order_payment_pb2.OrderPayment)
            case payment_pb2.Payment():
                self._final("payments", PAYMENTS, answer, payment_pb2.Payment)
            case checkout_pb2.Checkout():
                self._verdict(answer, known)
            case checkouts_api.VoidCheckoutResponse():
                self._verdict(answer.checkout, known)
                if answer.outcome == checkouts_api.VoidCheckoutResponse.OUTCOME_PENDING:
                    return False  # not answered yet, whatever comes of it
                self._undone(request, answer)
        before = len(self._outcomes)
        self._outcome(request, ACCEPTED)
        return len(self._outcomes) > before

    def note_refusal(self, request: Any, refusal: Refusal) -> None:
        """Takes down a no, which is one for ever: no copy that comes late may be done after all."""
        if request.DESCRIPTOR.name == "ClaimOrderRequest" and refusal.reason == "CLAIM_NOT_FOUND":
            return  # the claim was made, and has ended since
        if key := self._outcome(request, refusal.reason):
            package = request.DESCRIPTOR.file.package.split(".")[2]
            query = "SELECT 'done' FROM outbox WHERE request_id = ? AND state = 'DONE'"
            if package in DECIDED_BY:
                query = "SELECT 'done' FROM requests WHERE request_id = ? AND refusal IS NULL"
            self._expect("refusal of request", [], DECIDED_BY.get(package, TERMINAL), query, key[1])

        if request.DESCRIPTOR.name == "VoidCheckoutRequest" and refusal.reason == "ORDER_NOT_FOUND":
            self._expect("word that there is no such sale", [], TERMINAL, SOLD_AFTER_ALL, request.checkout_id)

    def check(self) -> None:
        """All that was acknowledged is there, exactly once."""
        for (server, query, *values), (what, expected) in self._told.items():
            found = self._sql(server, query, *values)
            if found != expected:
                raise Violation(f"invariant 7: acknowledged {what} {values[0]} was {expected}, is {found}")

    def _outcome(self, request: Message, outcome: str) -> tuple[str, str] | None:
        """One request id, one outcome (invariant 6); None for requests without an id."""
        fields = request.DESCRIPTOR.fields_by_name
        name, field = request.DESCRIPTOR.name, next((field for field in ID_FIELDS if field in fields), "")
        if not field or name.startswith(READS):
            return None
        key = name, getattr(request, field)
        first = self._outcomes.setdefault(key, outcome)
        if first != outcome:
            raise Violation(f"invariant 6: {name} {key[1]} was answered in two ways, {first} and {outcome}")
        return key

    def _expect(self, what: str, rows: list[Any], server: str, query: str, *values: Any) -> None:
        self._told[server, query, *values] = (what, rows)

    def _refund(self, refund_id: str, amount_minor: int) -> None:
        query = "SELECT amount_minor FROM refunds WHERE refund_id = ?"
        self._expect("refund", [(amount_minor,)], PAYMENTS, query, refund_id)

    def _order(self, request: Any, order: order_pb2.Order) -> None:
        if isinstance(request, orders_api.ReplaceOrderLinesRequest):
            lines = [from_line_item(line) for line in request.lines]
            amount = totals(lines, prices_include_tax=order.prices_include_tax).amount_minor
            query = "SELECT amount_minor FROM order_history WHERE order_id = ? AND version = ? AND event = ?"
            values = order.order_id, request.version + 1, "LINES_REPLACED"
            self._expect("lines of order", [(amount,)], ORDERS, query, *values)
        if isinstance(request, orders_api.CompleteFreeOrderRequest):
            query = "SELECT state, payment_id, version FROM orders WHERE order_id = ?"
            self._expect("free order", [("PAID", "", request.version)], ORDERS, query, order.order_id)

    def _undone(self, request: Any, answer: checkouts_api.VoidCheckoutResponse) -> None:
        """An order that was undone is canceled, or paid and given back whole."""
        order_id, paid_by = answer.checkout.checkout_id, answer.checkout.paid_by_payment_id
        if answer.HasField("refunded"):
            self._refund(request.refund_id, answer.refunded.minor_units)
        if paid_by:
            query = "SELECT amount_minor - refunded_minor FROM payments WHERE payment_id = ?"
            self._expect("void of payment", [(0,)], PAYMENTS, query, paid_by)
        elif answer.checkout.order_version:
            end = "CANCELED" if answer.outcome == checkouts_api.VoidCheckoutResponse.OUTCOME_CANCELED else "PAID"
            query = "SELECT state, payment_id FROM orders WHERE order_id = ?"
            self._expect("void of order", [(end, "")], ORDERS, query, order_id)

    def _final(self, table: str, server: str, answer: Any, message: Any) -> None:
        state = message.State.Name(answer.state).removeprefix("STATE_")
        if state in ("PAID", "RELEASED", "REFUSED", "CAPTURED", "VOIDED"):
            query = f"SELECT state FROM {table} WHERE payment_id = ?"
            self._expect(f"verdict in {table} on", [(state,)], server, query, answer.payment_id)

    def _verdict(self, checkout: checkout_pb2.Checkout, known: "Verdict | None") -> None:
        """Rule 11, at the moment when the operator reads it."""
        verdict, checkout_id = checkout.verdict, checkout.checkout_id
        name = checkout_pb2.Verdict.Name(verdict).removeprefix("VERDICT_")
        orders = self._sql(ORDERS, "SELECT state FROM orders WHERE order_id = ?", checkout_id)
        if verdict == checkout_pb2.VERDICT_UNSPECIFIED:
            raise Violation(f"rule 11: the till says nothing of checkout {checkout_id}")
        if verdict == checkout_pb2.VERDICT_HAND_OVER_GOODS and orders != [("PAID",)]:
            raise Violation(f"rule 11: {name} while order {checkout_id} is {orders}")
        if not checkout.order_version:  # an order of that number is somebody else's
            orders = []
        if verdict == checkout_pb2.VERDICT_CLOSED and orders not in ([], [("CANCELED",)]):
            raise Violation(f"rule 11: {name} while order {checkout_id} is {orders}")
        if verdict == checkout_pb2.VERDICT_SAFE_TO_RETRY:
            rows = self._sql(ORDERS, "SELECT state FROM order_payments WHERE payment_id = ?", checkout.payment_id)
            if not rows or rows[0][0] not in DEAD:
                raise Violation(f"rule 11: {name} while payment {checkout.payment_id} is {rows} at its order")
        if verdict == checkout_pb2.VERDICT_DO_NOT_RETRY and self.calm:
            raise Violation(f"rule 11: {name} of checkout {checkout_id}, though nothing went wrong")
        if known is not None and verdict != known:
            was = checkout_pb2.Verdict.Name(known).removeprefix("VERDICT_")
            raise Violation(f"rule 11: the till took back {was} of checkout {checkout_id}, and says {name}")
        if verdict in FINAL_VERDICTS:
            self._final_verdicts.setdefault(checkout_id, verdict)
