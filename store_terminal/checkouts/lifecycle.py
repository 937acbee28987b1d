"""The states of a checkout and the events that change them. No I/O, no grpc, no SQLAlchemy."""

from enum import StrEnum

from tillmesh.runtime.lifecycle import Lifecycle, Transition


class CheckoutState(StrEnum):
    """Where a checkout stands."""

    BASKET = "BASKET"
    SUBMITTED = "SUBMITTED"
    PAYING = "PAYING"
    PAID = "PAID"
    CANCELED = "CANCELED"


class CheckoutEvent(StrEnum):
    """An event in the life of a checkout. OPENED and RESUMED create it, so they need no state before."""

    CHANGED = "CHANGED"
    SUBMITTED = "SUBMITTED"
    REFUSED = "REFUSED"
    REFRESHED = "REFRESHED"
    PAYMENT_STARTED = "PAYMENT_STARTED"
    PAYMENT_CANCEL_ASKED = "PAYMENT_CANCEL_ASKED"
    PAYMENT_ENDED = "PAYMENT_ENDED"
    PAID = "PAID"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    PARKED = "PARKED"
    RECALLED = "RECALLED"
    REFUND_STARTED = "REFUND_STARTED"
    REFUNDED = "REFUNDED"
    REFUND_REFUSED = "REFUND_REFUSED"
    VOID_ASKED = "VOID_ASKED"
    PAYER_ASKED = "PAYER_ASKED"
    PAYER_ACTED = "PAYER_ACTED"
    ORDER_LOCKED = "ORDER_LOCKED"
    ORDER_UNLOCKED = "ORDER_UNLOCKED"


S, E = CheckoutState, CheckoutEvent
_NOT_BUSY = "no other server owes an answer, and it is not being undone"
_FREE = "it is not parked (`CHECKOUT_PARKED`), " + _NOT_BUSY
_BUSY = "CHECKOUT_BUSY"

LEGAL = [
    Transition(S.BASKET, E.CHANGED, S.BASKET, "A basket is this till's own.", guard=_FREE, error=_BUSY),
    Transition(
        S.BASKET, E.SUBMITTED, S.SUBMITTED, "The order service has the order: a pending transaction.",
        guard=_FREE, error=_BUSY,
    ),
    Transition(
        S.BASKET, E.REFUSED, S.BASKET, "The order service wants no such order; the basket stays, and is not parked."
    ),
    Transition(S.BASKET, E.PARKED, S.BASKET, "Put aside, and submitted in the same step.", guard=_FREE, error=_BUSY),
    Transition(S.BASKET, E.RECALLED, S.BASKET, "Taken up again before the order service answered."),
    Transition(S.BASKET, E.CANCELED, S.CANCELED, "The shopper left; nobody else knew.", guard=_NOT_BUSY, error=_BUSY),
    Transition(S.BASKET, E.VOID_ASKED, S.BASKET, "It is to be undone: first it is seen whether there is an order."),
    Transition(
        S.BASKET, E.EXPIRED, S.CANCELED, "Nobody changed it for a long time: the shopper left.",
        guard="it is unchanged for longer than `--basket-days`, and " + _NOT_BUSY, error=_BUSY,
    ),
    Transition(
        S.SUBMITTED, E.CHANGED, S.SUBMITTED, "The order was changed in place; a new version needs a new consent.",
        guard=_FREE, error=_BUSY,
    ),
    Transition(S.SUBMITTED, E.REFUSED, S.SUBMITTED, "The order service said no; order and copy stay as they are."),
    Transition(S.SUBMITTED, E.REFRESHED, S.SUBMITTED, "Somebody else changed the order; this is how it is now."),
    Transition(S.SUBMITTED, E.ORDER_LOCKED, S.SUBMITTED, "Somebody else's payment of the order is under way."),
    Transition(S.SUBMITTED, E.ORDER_UNLOCKED, S.SUBMITTED, "That payment ended without paying."),
    Transition(S.SUBMITTED, E.PARKED, S.SUBMITTED, "Put aside; the order stays as it is.", guard=_FREE, error=_BUSY),
    Transition(S.SUBMITTED, E.RECALLED, S.SUBMITTED, "Taken up again.", guard=_NOT_BUSY, error=_BUSY),
    Transition(
        S.SUBMITTED, E.EXPIRED, S.SUBMITTED, "Nobody recalled it for a long time: the order is to be withdrawn.",
        guard="it is parked for longer than `--parked-hours`, and " + _NOT_BUSY, error=_BUSY,
    ),
    Transition(
        S.SUBMITTED, E.PAYMENT_STARTED, S.PAYING, "The shopper agreed to this version and amount; written before sent.",
        guard=_FREE, error=_BUSY,
    ),
    Transition(S.SUBMITTED, E.PAID, S.PAID, "It is paid, or there was nothing to pay: the order says so."),
    Transition(
        S.SUBMITTED, E.CANCELED, S.CANCELED, "The order service withdrew the order.", guard=_NOT_BUSY, error=_BUSY
    ),
    Transition(S.SUBMITTED, E.VOID_ASKED, S.SUBMITTED, "It is to be undone: the order is canceled, if it is not paid."),
    Transition(S.PAYING, E.PAYER_ASKED, S.PAYING, "The payment waits for its payer."),
    Transition(S.PAYING, E.PAYER_ACTED, S.PAYING, "It no longer does: the payer acted, or their time is over."),
    Transition(S.PAYING, E.ORDER_LOCKED, S.PAYING, "Somebody else's payment was first."),
    Transition(S.PAYING, E.ORDER_UNLOCKED, S.PAYING, "The order is free, or locked by the payment under way."),
    Transition(S.PAYING, E.PAYMENT_CANCEL_ASKED, S.PAYING, "Given up, but only the order says whether in time."),
    Transition(S.PAYING, E.PAID, S.PAID, "The order is paid, by whomever: hand over the goods."),
    Transition(S.PAYING, E.PAYMENT_ENDED, S.SUBMITTED, "The attempt can no longer take money: safe to retry."),
    Transition(S.PAYING, E.VOID_ASKED, S.PAYING, "It is to be undone: the payment is given up first."),
    Transition(S.PAID, E.VOID_ASKED, S.PAID, "It is to be undone: all that is left is given back."),
    Transition(S.PAID, E.REFUND_STARTED, S.PAID, "Money is to be given back; written before sent."),
    Transition(S.PAID, E.REFUNDED, S.PAID, "The shopper has it; the order stays paid."),
    Transition(S.PAID, E.REFUND_REFUSED, S.PAID, "The payment server said no; nothing moved."),
]  # fmt: skip

NOT_WHILE_PARKED = frozenset({E.CHANGED, E.SUBMITTED, E.PAYMENT_STARTED, E.PARKED})
"""Events that nobody at this terminal may cause while the checkout is parked."""

CHECKOUT = Lifecycle(
    S.BASKET,
    CheckoutEvent,
    LEGAL,
    refused={
        S.BASKET: "CHECKOUT_NOT_SUBMITTED",
        S.SUBMITTED: "CHECKOUT_SUBMITTED",
        S.PAYING: "PAYMENT_UNDER_WAY",
        S.PAID: "CHECKOUT_PAID",
        S.CANCELED: "CHECKOUT_CANCELED",
    },
    never={
        E.PAYMENT_CANCEL_ASKED: "NO_PAYMENT",
        E.REFUND_STARTED: "CHECKOUT_NOT_PAID",
        E.RECALLED: "CHECKOUT_NOT_PARKED",
    },
)
