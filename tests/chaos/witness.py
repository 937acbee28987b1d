"""What somebody outside was told, kept to be held against the servers at the end."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from google.protobuf.message import Message

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as till_refunds_api

Payment = payments_api.Payment
Checkout = checkout_pb2.Checkout
TillRefund = till_refunds_api.TillRefund
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
    dead_payments: set[str] = field(default_factory=set)
    """Those after which a till said that it is safe to retry."""
    payments: dict[str, Payment] = field(default_factory=dict)
    """Final ones, as the payment server told of them."""
    refunds: dict[str, int] = field(default_factory=dict)
    till_refunds: dict[str, TillRefund] = field(default_factory=dict)
    deposits: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """Amount by request id, by identity."""
    asking: int = 0
    """Requests without an answer yet."""
    answers: Counter[str] = field(default_factory=Counter)
    """How many there were, by method."""
    wrong: list[str] = field(default_factory=list)
    """Answers that take back what an earlier one said, or that no shopper should get."""

    def note(self, request: Message, answer: Message) -> None:
        """Keeps what this answer promised."""
        self.answers[type(request).__name__.removesuffix("Request")] += 1
        match answer:
            case Checkout():
                self._note_checkout(answer)
            case order_pb2.Order():
                self.versions[answer.order_id].setdefault(answer.version, answer.amount.minor_units)
            case payments_api.Payment():
                if answer.state in FINAL:
                    self._note_payment(answer)
            case refunds_api.Refund():
                self.refunds[answer.refund_id] = answer.amount.minor_units
            case TillRefund():
                if answer.state != TillRefund.STATE_PENDING:
                    self.till_refunds[answer.refund_id] = answer
        if isinstance(request, accounts_api.CreateDepositRequest):
            self.deposits[request.identity_id][request.request_id] = request.amount.minor_units

    def _note_checkout(self, checkout: Checkout) -> None:
        order_id, now_ms = checkout.checkout_id, time.time_ns() // 1_000_000
        self.checkouts[order_id] = checkout
        if checkout.order_version:
            amount = self.versions[order_id].setdefault(checkout.order_version, checkout.amount.minor_units)
            if amount != checkout.amount.minor_units:
                self.wrong.append(f"order {order_id} version {checkout.order_version} came to two amounts")
        if checkout.verdict == checkout_pb2.VERDICT_HAND_OVER_GOODS:
            self.goods_handed_over_ms.setdefault(order_id, now_ms)
        elif order_id in self.goods_handed_over_ms:
            self.wrong.append(f"till took back that the goods of {order_id} may be handed over")
        if checkout.verdict == checkout_pb2.VERDICT_SAFE_TO_RETRY:
            self.dead_payments.add(checkout.payment_id)

    def _note_payment(self, payment: Payment) -> None:
        first = self.payments.setdefault(payment.payment_id, payment)
        if first.state != payment.state:
            self.wrong.append(f"payment {payment.payment_id} was final in two states")
