"""What somebody outside was told, kept to be held against the servers at the end."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TypeAlias

from google.protobuf.message import Message

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import deposit_pb2, payment_pb2, refund_pb2
from tillmesh.api.terminal.v1 import checkout_pb2, till_refund_pb2

Payment = payment_pb2.Payment
Checkout = checkout_pb2.Checkout
TillRefund = till_refund_pb2.TillRefund
Verdict: TypeAlias = "checkout_pb2.Verdict.ValueType"
FINAL = (Payment.STATE_CAPTURED, Payment.STATE_VOIDED)


@dataclass
class Witness:
    """Acknowledgements, by what they acknowledged."""

    checkouts: dict[str, Checkout] = field(default_factory=dict)
    """The last that was said of each."""
    versions: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    """Amount by version, by order."""
    goods_handed_over_ms: dict[str, int] = field(default_factory=dict)
    """When a till said so, by order."""
    closed: set[str] = field(default_factory=set)
    """Checkouts that a till called CLOSED."""
    dead_payments: set[str] = field(default_factory=set)
    """Those after which a till said that it is safe to retry."""
    payments: dict[str, Payment] = field(default_factory=dict)
    """Final ones, as the payment server told of them."""
    refunds: dict[str, int] = field(default_factory=dict)
    till_refunds: dict[str, TillRefund] = field(default_factory=dict)
    deposits: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """Amount by deposit id, by identity."""
    asking: int = 0
    """Requests without an answer yet."""
    answers: Counter[str] = field(default_factory=Counter)
    """How many there were, by method."""
    wrong: list[str] = field(default_factory=list)
    """Answers that take back what an earlier one said, or that no shopper should get."""

    def known_of(self, request: Message) -> "Verdict | None":
        """The final verdict that somebody who asks now about a checkout was told before."""
        checkout_id = getattr(request, "checkout_id", "")
        if checkout_id in self.goods_handed_over_ms:
            return checkout_pb2.VERDICT_HAND_OVER_GOODS
        return checkout_pb2.VERDICT_CLOSED if checkout_id in self.closed else None

    def note(self, request: Message, answer: Message, known: "Verdict | None" = None) -> None:
        """Keeps what this answer promised; `known` is the final verdict that was told before it was asked for."""
        self.answers[type(request).__name__.removesuffix("Request")] += 1
        match answer:
            case Checkout():
                self._note_checkout(answer, known)
            case order_pb2.Order():
                self.versions[answer.order_id].setdefault(answer.version, answer.amount.minor_units)
            case Payment():
                if answer.state in FINAL:
                    self._note_payment(answer)
            case refund_pb2.Refund():
                self.refunds[answer.refund_id] = answer.amount.minor_units
            case deposit_pb2.Deposit():
                self.deposits[answer.identity_id][answer.deposit_id] = answer.amount.minor_units
            case TillRefund():
                if answer.state != TillRefund.STATE_PENDING:
                    self.till_refunds[answer.refund_id] = answer

    def _note_checkout(self, checkout: Checkout, known: "Verdict | None") -> None:
        order_id, now_ms = checkout.checkout_id, time.time_ns() // 1_000_000
        last = self.checkouts.setdefault(order_id, checkout)
        if last.update_time.ToMilliseconds() <= checkout.update_time.ToMilliseconds():
            self.checkouts[order_id] = checkout
        if checkout.order_version:
            amount = self.versions[order_id].setdefault(checkout.order_version, checkout.amount.minor_units)
            if amount != checkout.amount.minor_units:
                self.wrong.append(f"order {order_id} version {checkout.order_version} came to two amounts")
        if checkout.verdict == checkout_pb2.VERDICT_HAND_OVER_GOODS:
            self.goods_handed_over_ms.setdefault(order_id, now_ms)
        if checkout.verdict == checkout_pb2.VERDICT_UNSPECIFIED:
            self.wrong.append(f"till said nothing of {order_id}")
        if checkout.verdict == checkout_pb2.VERDICT_CLOSED:
            self.closed.add(order_id)
        if known is not None and checkout.verdict != known:
            said, was = (checkout_pb2.Verdict.Name(verdict) for verdict in (checkout.verdict, known))
            self.wrong.append(f"till took back {was} of {order_id} and says {said}")
        if checkout.verdict == checkout_pb2.VERDICT_SAFE_TO_RETRY:
            self.dead_payments.add(checkout.payment_id)

    def _note_payment(self, payment: Payment) -> None:
        first = self.payments.setdefault(payment.payment_id, payment)
        if first.state != payment.state:
            self.wrong.append(f"payment {payment.payment_id} was final in two states")
