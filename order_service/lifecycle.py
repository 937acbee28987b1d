"""The states of an order and the events that change them. No I/O, no grpc, no SQLAlchemy."""

from enum import StrEnum

from tillmesh.runtime.lifecycle import Lifecycle, Transition


class OrderState(StrEnum):
    """Where an order stands."""

    OPEN = "OPEN"
    LOCKED = "LOCKED"
    PAID = "PAID"
    CANCELED = "CANCELED"


class OrderEvent(StrEnum):
    """An event in the life of an order."""

    LINES_REPLACED = "LINES_REPLACED"
    LOCKED = "LOCKED"
    PAID = "PAID"
    COMPLETED_FREE = "COMPLETED_FREE"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    PAYMENT_CANCELED = "PAYMENT_CANCELED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"


class PaymentState(StrEnum):
    """The verdict on one payment attempt; all but GRANTED are final."""

    GRANTED = "GRANTED"
    PAID = "PAID"
    RELEASED = "RELEASED"
    REFUSED = "REFUSED"


S, E = OrderState, OrderEvent

LEGAL = [
    Transition(
        S.OPEN, E.LINES_REPLACED, S.OPEN, "An unlocked order is changed in place; the new version needs a new consent.",
        guard="version is the caller's", error="VERSION_MISMATCH",
    ),
    Transition(
        S.OPEN, E.LOCKED, S.LOCKED, "A payment request locks what its payer consented to; epoch + 1.",
        guard="payment id is new; payer, version and amount are the order's",
    ),
    Transition(
        S.OPEN, E.COMPLETED_FREE, S.PAID, "An order that comes to 0 needs no payment: nobody locks it.",
        guard="version is the caller's, else `VERSION_MISMATCH`; the amount is 0", error="ORDER_NOT_FREE",
    ),
    Transition(
        S.OPEN, E.CANCELED, S.CANCELED, "An order that nobody pays is withdrawn.",
        guard="version is the caller's", error="VERSION_MISMATCH",
    ),
    Transition(
        S.OPEN, E.EXPIRED, S.CANCELED, "Nobody paid or changed it for a long time: nobody waits for it any more.",
        guard="it is unchanged for longer than `--open-order-days`",
    ),
    Transition(
        S.LOCKED, E.PAID, S.PAID, "The commit point: exactly one of this and a release wins.",
        guard="payment and epoch hold the lock", error="EPOCH_MISMATCH",
    ),
    Transition(
        S.LOCKED, E.LEASE_EXPIRED, S.OPEN, "The payment time reached its limit: no order is ever stuck.",
        guard="the lease is over by this server's clock",
    ),
    Transition(
        S.LOCKED, E.PAYMENT_CANCELED, S.OPEN, "Payer, till or payment server gave the attempt up.",
        guard="the payment holds the lock",
    ),
]  # fmt: skip

ORDER = Lifecycle(
    S.OPEN,
    OrderEvent,
    LEGAL,
    refused={S.LOCKED: "ORDER_LOCKED", S.PAID: "ORDER_ALREADY_PAID", S.CANCELED: "ORDER_CANCELED"},
)
