"""The states of a checkout and the events that change them. No I/O, no grpc, no SQLAlchemy."""

from collections.abc import Iterable
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
    REFUND_STARTED = "REFUND_STARTED"
    REFUNDED = "REFUNDED"
    REFUND_REFUSED = "REFUND_REFUSED"


S, E = CheckoutState, CheckoutEvent
_NOT_BUSY = "no other server owes an answer"
_BUSY = "CHECKOUT_BUSY"

_LEGAL = [
    Transition(S.BASKET, E.CHANGED, S.BASKET, "A basket is this till's own.", guard=_NOT_BUSY, error=_BUSY),
    Transition(
        S.BASKET, E.SUBMITTED, S.SUBMITTED, "The order service has the order: a pending transaction.",
        guard=_NOT_BUSY, error=_BUSY,
    ),
    Transition(S.BASKET, E.REFUSED, S.BASKET, "The order service wants no such order; the basket stays."),
    Transition(S.BASKET, E.CANCELED, S.CANCELED, "The shopper left; nobody else knew.", guard=_NOT_BUSY, error=_BUSY),
    Transition(
        S.SUBMITTED, E.CHANGED, S.SUBMITTED, "The order was changed in place; a new version needs a new consent.",
        guard=_NOT_BUSY, error=_BUSY,
    ),
    Transition(S.SUBMITTED, E.REFUSED, S.SUBMITTED, "The order service said no; order and copy stay as they are."),
    Transition(S.SUBMITTED, E.REFRESHED, S.SUBMITTED, "Somebody else changed the order; this is how it is now."),
    Transition(
        S.SUBMITTED, E.PAYMENT_STARTED, S.PAYING, "The shopper agreed to this version and amount; written before sent.",
        guard=_NOT_BUSY, error=_BUSY,
    ),
    Transition(S.SUBMITTED, E.PAID, S.PAID, "It is paid, or there was nothing to pay: the order says so."),
    Transition(
        S.SUBMITTED, E.CANCELED, S.CANCELED, "The order service withdrew the order.", guard=_NOT_BUSY, error=_BUSY
    ),
    Transition(S.PAYING, E.PAYMENT_CANCEL_ASKED, S.PAYING, "Given up, but only the order says whether in time."),
    Transition(S.PAYING, E.PAID, S.PAID, "The order is paid, by whomever: hand over the goods."),
    Transition(S.PAYING, E.PAYMENT_ENDED, S.SUBMITTED, "The attempt can no longer take money: safe to retry."),
    Transition(S.PAID, E.REFUND_STARTED, S.PAID, "Money is to be given back; written before sent."),
    Transition(S.PAID, E.REFUNDED, S.PAID, "The shopper has it; the order stays paid."),
    Transition(S.PAID, E.REFUND_REFUSED, S.PAID, "The payment server said no; nothing moved."),
]  # fmt: skip


def _refused(
    state: CheckoutState, events: Iterable[CheckoutEvent], why: str, error: str
) -> list[Transition[CheckoutState, CheckoutEvent]]:
    return [Transition(state, event, None, why, error=error) for event in events]


_REFUNDS = (E.REFUND_STARTED, E.REFUNDED, E.REFUND_REFUSED)
_PAYMENT_END = (E.PAYMENT_CANCEL_ASKED, E.PAYMENT_ENDED)

_REFUSED = [
    *_refused(S.BASKET, (E.REFRESHED, E.PAYMENT_STARTED, E.PAID), "There is no order yet.", "CHECKOUT_NOT_SUBMITTED"),
    *_refused(S.SUBMITTED, (E.SUBMITTED,), "There is an order already.", "CHECKOUT_SUBMITTED"),
    *_refused(
        S.PAYING,
        (E.CHANGED, E.SUBMITTED, E.REFUSED, E.REFRESHED, E.PAYMENT_STARTED, E.CANCELED),
        "Nothing changes while money may move.",
        "PAYMENT_UNDER_WAY",
    ),
    *_refused(
        S.PAID,
        (E.CHANGED, E.SUBMITTED, E.REFUSED, E.REFRESHED, E.PAYMENT_STARTED, E.PAID, E.CANCELED),
        "Paid is paid, for good.",
        "CHECKOUT_PAID",
    ),
    *_refused(
        S.CANCELED,
        (E.CHANGED, E.SUBMITTED, E.REFUSED, E.REFRESHED, E.PAYMENT_STARTED, E.PAID, E.CANCELED),
        "Abandoned, for good.",
        "CHECKOUT_CANCELED",
    ),
    *(
        row
        for state in S
        if state is not S.PAYING
        for row in _refused(state, _PAYMENT_END, "No payment is under way.", "NO_PAYMENT")
    ),
    *(
        row
        for state in S
        if state is not S.PAID
        for row in _refused(state, _REFUNDS, "There is nothing to give back.", "CHECKOUT_NOT_PAID")
    ),
]

CHECKOUT = Lifecycle(S.BASKET, CheckoutEvent, [*_LEGAL, *_REFUSED])
