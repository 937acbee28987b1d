"""The states of a payment and the events that change them. No I/O, no grpc, no SQLAlchemy."""

from collections.abc import Iterable
from enum import StrEnum

from tillmesh.runtime.lifecycle import Lifecycle, Transition


class PaymentState(StrEnum):
    """Where a payment stands."""

    PENDING = "PENDING"
    AWAITING_PAYER = "AWAITING_PAYER"
    AUTHORIZED = "AUTHORIZED"
    VOIDING = "VOIDING"
    CAPTURED = "CAPTURED"
    VOIDED = "VOIDED"


class PaymentEvent(StrEnum):
    """An event in the life of a payment."""

    LOCKED_FOR_PAYER = "LOCKED_FOR_PAYER"
    FUNDS_HELD = "FUNDS_HELD"
    DECLINED = "DECLINED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    ORDER_PAID = "ORDER_PAID"
    ORDER_RELEASED = "ORDER_RELEASED"
    SUPERSEDED = "SUPERSEDED"
    REFUNDED = "REFUNDED"


S, E = PaymentState, PaymentEvent

_LEGAL = [
    Transition(
        S.PENDING, E.FUNDS_HELD, S.AUTHORIZED, "The order is locked and no confirmation is needed.",
        guard="the order granted an epoch; the account has the money", error="INSUFFICIENT_FUNDS",
    ),
    Transition(
        S.PENDING, E.LOCKED_FOR_PAYER, S.AWAITING_PAYER, "The order is locked; the amount needs the payer's yes.",
        guard="the order granted an epoch",
    ),
    Transition(S.PENDING, E.ORDER_RELEASED, S.VOIDED, "The order refused the lock, for good: nothing was held."),
    Transition(
        S.AWAITING_PAYER, E.FUNDS_HELD, S.AUTHORIZED, "The payer said yes to this shop and amount.",
        guard="the account has the money", error="INSUFFICIENT_FUNDS",
    ),
    Transition(
        S.AUTHORIZED, E.ORDER_PAID, S.CAPTURED, "The order said yes: the hold is posted.",
    ),
    Transition(
        S.AUTHORIZED, E.ORDER_RELEASED, S.VOIDED, "The order said no: the hold is given back.",
    ),
    *(
        Transition(state, event, S.VOIDING, "Given up, but final only when the order has acknowledged it.")
        for state in (S.PENDING, S.AWAITING_PAYER)
        for event in (E.DECLINED, E.CANCELED, E.EXPIRED)
    ),
    Transition(S.VOIDING, E.ORDER_RELEASED, S.VOIDED, "The order acknowledged: this attempt cannot pay."),
    *(
        Transition(
            state, E.SUPERSEDED, S.VOIDED, "The order locked again, so the lock of this attempt is over.",
            guard="a larger epoch was granted for the order",
        )
        for state in (S.AWAITING_PAYER, S.AUTHORIZED, S.VOIDING)
    ),
    Transition(
        S.PENDING, E.SUPERSEDED, S.VOIDED,
        "The answer with its epoch came late: the order locked again meanwhile, so that lock is over.",
        guard="its own epoch is known, and a larger one was granted for the order",
    ),
    Transition(
        S.CAPTURED, E.REFUNDED, S.CAPTURED, "Money is given back; the order stays paid.",
        guard="all refunds stay within the amount", error="REFUND_EXCEEDS_PAYMENT",
    ),
]  # fmt: skip


def _refused(
    states: Iterable[PaymentState], events: Iterable[PaymentEvent], why: str, error: str
) -> list[Transition[PaymentState, PaymentEvent]]:
    events = list(events)
    return [Transition(state, event, None, why, error=error) for state in states for event in events]


_UNPAID = [state for state in S if state is not S.CAPTURED]
_GIVE_UP = (E.DECLINED, E.CANCELED, E.EXPIRED)
_FORWARD = (E.LOCKED_FOR_PAYER, E.FUNDS_HELD)

_REFUSED = [
    *_refused([S.PENDING, S.AWAITING_PAYER, S.VOIDING], [E.ORDER_PAID], "It never asked for that.", "NOT_ASKED"),
    *_refused([S.AWAITING_PAYER], [E.ORDER_RELEASED], "It has not asked the order anything.", "NOT_ASKED"),
    *_refused([S.AWAITING_PAYER], [E.LOCKED_FOR_PAYER], "It is locked already.", "PAYMENT_NOT_WAITING"),
    *_refused([S.AUTHORIZED], _GIVE_UP, "Sent means sent: only the order's verdict ends the hold.", "ORDER_DECIDES"),
    *_refused([S.AUTHORIZED], _FORWARD, "The money is held already.", "PAYMENT_NOT_WAITING"),
    *_refused([S.VOIDING], (*_GIVE_UP, *_FORWARD), "It is given up already.", "PAYMENT_NOT_WAITING"),
    *_refused(
        [S.CAPTURED], [event for event in E if event is not E.REFUNDED], "Captured, for good.", "PAYMENT_NOT_WAITING"
    ),
    *_refused(
        [S.VOIDED],
        [event for event in E if event is not E.REFUNDED],
        "It took no money and never will.",
        "PAYMENT_NOT_WAITING",
    ),
    *_refused(_UNPAID, [E.REFUNDED], "There is nothing to give back.", "PAYMENT_NOT_CAPTURED"),
]

PAYMENT = Lifecycle(S.PENDING, PaymentEvent, [*_LEGAL, *_REFUSED])
FINAL = frozenset(state for state in PaymentState if PAYMENT.is_final(state))
