"""Moves a checkout along its transition table; every move leaves a history row, in one transaction."""

from dataclasses import replace

from store_terminal.checkouts.lifecycle import CHECKOUT, NOT_WHILE_PARKED, CheckoutEvent, CheckoutState
from store_terminal.checkouts.model import Attempt, Checkout, CheckoutChange
from store_terminal.checkouts.queries import CHECKOUTS, HISTORY, idle_baskets, was_pruned
from store_terminal.errors import Reason
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.money import Money
from tillmesh.storage.lists import After
from tillmesh.storage.statements import Transaction


def get_checkout(transaction: Transaction, checkout_id: str) -> Checkout:
    """The checkout as it is now."""
    checkout = CHECKOUTS.find(transaction, checkout_id)
    if checkout is None:
        reason = Reason.CHECKOUT_PRUNED if was_pruned(transaction, checkout_id) else Reason.CHECKOUT_NOT_FOUND
        raise reason(checkout_id=checkout_id)
    return checkout


def list_events(transaction: Transaction, checkout_id: str, after: After, at_most: int) -> list[CheckoutChange]:
    """The checkout's history, oldest first."""
    get_checkout(transaction, checkout_id)
    return HISTORY.list(transaction, checkout_id, after, at_most)


def start_payment(
    transaction: Transaction, checkout: Checkout, payment_id: str, *, wait_ms: int, now_ms: int
) -> Checkout:
    """Starts a payment, whose request is there to be sent (rule 3); an outcome is expected within `wait_ms`."""
    attempt = Attempt(payment_id, "", now_ms + wait_ms, 0, canceling=False, cancel_unanswered=False)
    after = replace(checkout, unanswered=payment_id, attempt=attempt, payer_display_name="")
    return advance(transaction, checkout, after, CheckoutEvent.PAYMENT_STARTED, now_ms, reference=payment_id)


def give_up_payment(transaction: Transaction, *, checkout_id: str, reason: str, now_ms: int) -> Checkout:
    """Gives the payment under way up; one that has ended already is told as it ended."""
    checkout = get_checkout(transaction, checkout_id)
    if checkout.attempt is None:
        if checkout.state is CheckoutState.BASKET and checkout.unanswered:  # a payment may wait for its order
            raise Reason.CHECKOUT_BUSY(checkout_id=checkout_id, request_id=checkout.unanswered)
        raise refusal(checkout, CheckoutEvent.PAYMENT_CANCEL_ASKED)
    if checkout.state is not CheckoutState.PAYING or checkout.attempt.canceling:
        return checkout
    after = replace(checkout, attempt=replace(checkout.attempt, reason=reason, canceling=True))
    payment_id = checkout.attempt.payment_id
    event = CheckoutEvent.PAYMENT_CANCEL_ASKED
    return advance(transaction, checkout, after, event, now_ms, reference=payment_id, reason=reason)


def expire_baskets(transaction: Transaction, *, until_ms: int, now_ms: int, at_most: int) -> list[Checkout]:
    """Cancels baskets that nobody changed since then; nobody else knows of them."""
    return [
        advance(transaction, basket, basket, CheckoutEvent.EXPIRED, now_ms)
        for basket in idle_baskets(transaction, until_ms, at_most)
    ]


def require_legal(checkout: Checkout, event: CheckoutEvent) -> None:
    """Refuses what the table refuses, and what waits for another server's answer."""
    if not CHECKOUT.is_legal(checkout.state, event):
        raise refusal(checkout, event)
    if checkout.parking and event in NOT_WHILE_PARKED:
        raise Reason.CHECKOUT_PARKED(checkout_id=checkout.checkout_id)
    if CHECKOUT.rows[checkout.state, event].error == Reason.CHECKOUT_BUSY.name and checkout.busy_with:
        raise Reason.CHECKOUT_BUSY(checkout_id=checkout.checkout_id, request_id=checkout.busy_with)


def require_basket_version(checkout: Checkout, basket_version: int) -> None:
    """Refuses a caller that has read another basket."""
    if checkout.basket_version != basket_version:
        raise Reason.BASKET_VERSION_MISMATCH(
            checkout_id=checkout.checkout_id, version=checkout.basket_version, wanted=basket_version
        )


def refusal(checkout: Checkout, event: CheckoutEvent) -> Refusal:
    """The refusal of an event that cannot happen to a checkout in its state."""
    reason = Reason[CHECKOUT.reason(checkout.state, event)]
    attempted = checkout.attempt.payment_id if checkout.attempt else ""
    return reason(checkout_id=checkout.checkout_id, payment_id=checkout.paid_by or attempted)


def advance(
    transaction: Transaction, before: Checkout, after: Checkout, event: CheckoutEvent, now_ms: int, **facts: str | Money
) -> Checkout:
    """Replaces `before` by `after` in the state that the table says, with a row of its history.

    What is paid or canceled is neither parked nor locked any more.
    """
    if not CHECKOUT.is_legal(before.state, event):
        raise refusal(before, event)
    target = CHECKOUT.target(before.state, event)
    moved = replace(after, state=target)
    if CHECKOUT.is_final(target):
        moved = replace(moved, parking=None, locked_by="", locked_until_ms=0)
    return HISTORY.advance(transaction, before, moved, event, now_ms, **facts)
