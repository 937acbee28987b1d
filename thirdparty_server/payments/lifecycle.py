"""The states of a payment and the events that change them. No I/O, no grpc, no SQLAlchemy."""

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
    VOIDED_BY_OPERATOR = "VOIDED_BY_OPERATOR"
    PIN_REJECTED = "PIN_REJECTED"


S, E = PaymentState, PaymentEvent

LEGAL = [
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
        S.AWAITING_PAYER, E.PIN_REJECTED, S.AWAITING_PAYER, "A PIN keyed in for it was wrong; it goes on waiting.",
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
        S.AUTHORIZED, E.VOIDED_BY_OPERATOR, S.VOIDED, "A person ended it: nobody else can, and the hold is given back.",
        guard="the order service said just now that it does not know the payment, and never will",
        error="PAYMENT_NOT_VOIDABLE",
    ),
    Transition(
        S.CAPTURED, E.REFUNDED, S.CAPTURED, "Money is given back; the order stays paid.",
        guard="all refunds stay within the amount", error="REFUND_EXCEEDS_PAYMENT",
    ),
]  # fmt: skip

PAYMENT = Lifecycle(
    S.PENDING,
    PaymentEvent,
    LEGAL,
    refused=dict.fromkeys(S, "PAYMENT_NOT_WAITING") | {S.AWAITING_PAYER: "PAYMENT_NOT_CAPTURED"},
)
FINAL = frozenset(state for state in PaymentState if PAYMENT.is_final(state))
