"""What a terminal says of a sale, and what may be done next."""

from dataclasses import dataclass
from enum import StrEnum

from tillmesh.api.terminal.v1 import checkout_pb2, till_refund_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.type.v1 import money_pb2
from tillmesh.runtime.money import Money

_UNDONE = ("VOID_ASKED", "REFUNDED")


class Verdict(StrEnum):
    """What a till tells its operator. HAND_OVER_GOODS and CLOSED are final; every other one can change."""

    NOT_TRIED = "NOT_TRIED"
    """Nobody has tried to pay. Show the amount; `Sale.pay` is next."""
    WAIT = "WAIT"
    """It is not known yet. Show "please wait"."""
    ASK_PAYER = "ASK_PAYER"
    """The shopper says yes on the phone, or keys in the PIN (`Sale.enter_pin`)."""
    HAND_OVER_GOODS = "HAND_OVER_GOODS"
    """The order is paid, whoever paid it: hand the goods over where `Said.hands_over` is true."""
    SAFE_TO_RETRY = "SAFE_TO_RETRY"
    """This attempt takes no money. Pay again, or cancel; take money another way only after CLOSED."""
    DO_NOT_RETRY = "DO_NOT_RETRY"
    """Nobody knows. Start no other payment and hand nothing over; call for help."""
    CLOSED = "CLOSED"
    """The order can no longer be paid."""


@dataclass(frozen=True, slots=True)
class Said:
    """A sale as the terminal last told of it."""

    checkout: checkout_pb2.Checkout
    """All that it told."""

    @property
    def verdict(self) -> Verdict:
        """What to tell the operator. A verdict that this version does not know is WAIT."""
        known = checkout_pb2.Verdict.values()
        number = self.checkout.verdict
        name = checkout_pb2.Verdict.Name(number).removeprefix("VERDICT_") if number in known else ""
        return Verdict(name) if name in Verdict.__members__ else Verdict.WAIT

    @property
    def reason(self) -> str:
        """Why, such as DECLINED or PAY_CODE_USED; empty where there is nothing to say."""
        return self.checkout.verdict_reason

    @property
    def amount(self) -> Money:
        """What is due."""
        return money(self.checkout.amount)

    @property
    def is_final(self) -> bool:
        """True if nothing can change any more."""
        return self.verdict in (Verdict.HAND_OVER_GOODS, Verdict.CLOSED)

    @property
    def hands_over(self) -> bool:
        """True if the goods are to be handed over: the order is paid, and nobody undoes the sale."""
        return self.verdict is Verdict.HAND_OVER_GOODS and self.reason not in _UNDONE

    @property
    def may_pay(self) -> bool:
        """True if a payment may be started."""
        return self.verdict in (Verdict.NOT_TRIED, Verdict.SAFE_TO_RETRY)

    @property
    def remaining_s(self) -> float | None:
        """Within what time another verdict is expected; None where nobody knows."""
        checkout = self.checkout
        known = checkout.HasField("verdict_remaining")
        return checkout.verdict_remaining.ToMilliseconds() / 1000 if known else None

    def shows_the_same_as(self, other: "Said") -> bool:
        """True if nobody who looks at the till would see a difference."""
        return _shown(self.checkout) == _shown(other.checkout)


class Outcome(StrEnum):
    """How far an undoing is."""

    PENDING = "PENDING"
    """Not known yet; the terminal goes on by itself."""
    CANCELED = "CANCELED"
    """The order can no longer be paid."""
    REFUNDED = "REFUNDED"
    """It was paid, and all of it is given back."""


@dataclass(frozen=True, slots=True)
class Undone:
    """What came of undoing a sale."""

    answer: api.VoidCheckoutResponse
    """All that the terminal told."""

    @property
    def outcome(self) -> Outcome:
        """How far it is."""
        return Outcome(api.VoidCheckoutResponse.Outcome.Name(self.answer.outcome).removeprefix("OUTCOME_"))

    @property
    def refunded(self) -> Money | None:
        """What this gave back; None where it gave nothing back."""
        return money(self.answer.refunded) if self.answer.HasField("refunded") else None


@dataclass(frozen=True, slots=True)
class Repaid:
    """A refund as the terminal last told of it."""

    refund: till_refund_pb2.TillRefund
    """All that it told."""

    @property
    def is_done(self) -> bool:
        """True if the shopper has the money."""
        return self.refund.state == till_refund_pb2.TillRefund.STATE_DONE

    @property
    def is_refused(self) -> bool:
        """True if the payment server said no; `reason` says why."""
        return self.refund.state == till_refund_pb2.TillRefund.STATE_REFUSED

    @property
    def reason(self) -> str:
        """Why it is refused."""
        return self.refund.reason


def money(told: money_pb2.Money) -> Money:
    """An amount from the wire."""
    return Money(told.currency_code, told.minor_units)


def _shown(checkout: checkout_pb2.Checkout) -> tuple[object, ...]:
    return (
        checkout.verdict,
        checkout.verdict_reason,
        checkout.state,
        checkout.basket_version,
        checkout.order_version,
        checkout.payment_id,
        checkout.payer_display_name,
        checkout.refunded.minor_units,
    )
