"""Who has claimed which order, and what phones were told of it."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.network import ORDERS, PAYMENTS
from tests.simulation.reading import Violation
from tillmesh.api.payment.v1 import order_claim_pb2

if TYPE_CHECKING:
    from tests.simulation.world import World

UNSURE_S = 10.0
"""After its clock has jumped, a server may still write what it decided by the time before."""
CLAIMED = """
    SELECT order_id, claimed_by, claimed_until_ms FROM order_presentations WHERE claimed_by IS NOT NULL
"""
ENDED = "SELECT count(*) FROM requests WHERE method IN ('PresentOrder', 'ReleaseOrderClaim') AND refusal IS NULL"
FINAL = "SELECT to_state FROM order_history WHERE order_id = ? AND row_id <= ? AND to_state IN ('PAID', 'CANCELED')"
PAYMENT = "SELECT payer_kind, payer_value, identity_id, state FROM payments WHERE payment_id = ?"


@dataclass(frozen=True)
class Sent:
    """The moment when a phone sent a request."""

    at_s: float
    newest_order_row: int
    """Of the orders' history, on disk."""


@dataclass(frozen=True)
class Paying:
    """A payment that a phone asked for because it had claimed the order."""

    identity_id: str
    order_id: str
    sent: Sent


class Claims:
    """Compares what is on disk after each commit with that before, and answers with what was on disk meanwhile."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._claimed: dict[str, tuple[str, int]] = {}
        """Identity and end of the claim of each order, on disk now."""
        self._until_s: dict[tuple[str, str], float] = {}
        """When a claim of an order by an identity was last on disk."""
        self._ended = 0
        """Requests that may end a claim, on disk now."""
        self._ended_at_s = 0.0
        self._jumped_at_s = -UNSURE_S
        self._paying: dict[str, Paying] = {}
        """By payment; without those that were looked at."""
        self._paid: dict[str, Paying] = {}

    def sent(self) -> Sent:
        """What a phone takes down before it asks."""
        return Sent(_now_s(), self._world.on_disk[ORDERS])

    def pays(self, payment_id: str, identity_id: str, order_id: str) -> None:
        """Takes down what a phone is about to pay."""
        self._paying[payment_id] = self._paid[payment_id] = Paying(identity_id, order_id, self.sent())

    def clock_jumped(self) -> None:
        """Takes down that the payment server's clock was set forward or back."""
        self._jumped_at_s = _now_s()

    def told(self, identity_id: str, claim: order_claim_pb2.OrderClaim, sent: Sent) -> None:
        """Takes down that a phone was told that its payer has an order."""
        order_id = claim.order.order_id
        self._world.network.counts["claims told"] += 1
        if final := self._world.sql(ORDERS, FINAL, order_id, sent.newest_order_row):
            raise Violation(f"{identity_id} was told of a claim of order {order_id}, which was {final[0][0]} before")
        if not self._had(order_id, identity_id, sent):
            raise Violation(f"{identity_id} was told of a claim of order {order_id}, which it did not have")

    def after_commit(self) -> None:
        """A claim passes on only when it is over, given up, or the order is presented anew."""
        claimed = {row[0]: row[1:] for row in self._world.sql(PAYMENTS, CLAIMED)}
        ended, now_s = self._world.sql(PAYMENTS, ENDED)[0][0], _now_s()
        may_pass_on = ended > self._ended or now_s - self._jumped_at_s < UNSURE_S
        for order_id, (identity_id, until_ms) in self._claimed.items():
            self._until_s[order_id, identity_id] = now_s
            other = claimed.get(order_id, (identity_id,))[0]
            is_over = self._world.nodes[PAYMENTS].now_ms() >= until_ms
            if other != identity_id and not is_over and not may_pass_on:
                raise Violation(f"order {order_id} is claimed by {identity_id} and by {other} at a time")
        if ended > self._ended:
            self._ended_at_s = now_s
        self._claimed, self._ended = claimed, ended
        self._check_payments()

    def check(self) -> None:
        """Whoever paid an order that they had claimed paid it themselves, under its reference."""
        for payment_id, paying in self._paid.items():
            self._check_payment(payment_id, paying)

    def _check_payments(self) -> None:
        for payment_id, paying in list(self._paying.items()):
            if self._check_payment(payment_id, paying) == "REFERENCE":
                if not self._had(paying.order_id, paying.identity_id, paying.sent):
                    raise Violation(f"payment {payment_id} is under a claim that {paying.identity_id} did not have")
                self._world.network.counts["payments under a claim"] += 1
                del self._paying[payment_id]

    def _check_payment(self, payment_id: str, paying: Paying) -> str:
        """The kind of its payer; empty if it is not there."""
        for kind, value, identity_id, state in self._world.sql(PAYMENTS, PAYMENT, payment_id):
            order = "SELECT payer_kind, payer_value FROM orders WHERE order_id = ?"
            is_under_order = (kind, value) in self._world.sql(ORDERS, order, paying.order_id)
            if identity_id != paying.identity_id:
                raise Violation(f"payment {payment_id} by {paying.identity_id} is deducted from {identity_id}")
            if not is_under_order and (kind == "REFERENCE" or state in ("AUTHORIZED", "CAPTURED")):
                raise Violation(f"payment {payment_id} of order {paying.order_id} is {state}, under {kind} {value}")
            return str(kind)
        return ""

    def _had(self, order_id: str, identity_id: str, since: Sent) -> bool:
        """True if the claim was on disk since then, or may have come and gone within one transaction."""
        now = self._claimed.get(order_id, ("", 0))[0]
        was_s = self._until_s.get((order_id, identity_id), -1.0)
        return identity_id == now or was_s >= since.at_s or self._ended_at_s >= since.at_s


def _now_s() -> float:
    return asyncio.get_running_loop().time()
