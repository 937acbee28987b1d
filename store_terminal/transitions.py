"""Moves a checkout along its transition table; every move leaves a history row, in one transaction."""

from dataclasses import replace

from store_terminal import store
from store_terminal.errors import Reason
from store_terminal.lifecycle import CHECKOUT, CheckoutEvent
from store_terminal.model import Checkout, HistoryEntry
from tillmesh.auth.callers import actor
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.money import Money
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.statements import Transaction


def require_legal(checkout: Checkout, event: CheckoutEvent) -> None:
    """Refuses what the table refuses, and what waits for another server's answer."""
    row = CHECKOUT[checkout.state, event]
    if row.target is None:
        raise refusal(checkout, event)
    if row.error == Reason.CHECKOUT_BUSY.name and checkout.unanswered:
        raise Reason.CHECKOUT_BUSY(checkout_id=checkout.checkout_id, request_id=checkout.unanswered)


def refusal(checkout: Checkout, event: CheckoutEvent) -> Refusal:
    """The refusal of an event that cannot happen to a checkout in its state."""
    reason = Reason[CHECKOUT[checkout.state, event].error]
    attempted = checkout.attempt.payment_id if checkout.attempt else ""
    return reason(checkout_id=checkout.checkout_id, payment_id=checkout.paid_by or attempted)


def begin(transaction: Transaction, checkout: Checkout, event: str) -> Checkout:
    """Adds a new checkout."""
    return _record(transaction, None, checkout, event, checkout.amount, checkout.paid_by, "")


def advance(
    transaction: Transaction,
    before: Checkout,
    after: Checkout,
    event: CheckoutEvent,
    now_ms: int,
    *,
    amount: Money | None = None,
    reference: str = "",
    reason: str = "",
) -> Checkout:
    """Replaces `before` by `after` in the state that the table says."""
    target = CHECKOUT[before.state, event].target
    if target is None:
        raise refusal(before, event)
    moved = replace(after, state=target, event_count=before.event_count + 1, updated_at_ms=now_ms)
    return _record(transaction, before, moved, event, amount or moved.amount, reference, reason)


def _record(
    transaction: Transaction,
    before: Checkout | None,
    after: Checkout,
    event: str,
    amount: Money,
    reference: str,
    reason: str,
) -> Checkout:
    """Writes the checkout and the history row that says why, chained to the row before."""
    entry = HistoryEntry(
        checkout_id=after.checkout_id,
        number=after.event_count,
        event=event,
        from_state=before.state if before else None,
        to_state=after.state,
        order_version=after.order_version,
        amount=amount,
        reference=reference,
        reason=reason,
        actor=actor(),
        trace_id=trace_id.get(),
        at_ms=after.updated_at_ms,
    )
    history_hash, row = store.next_history_row(before or after, entry)
    recorded = replace(after, history_hash=history_hash)
    if before:
        store.change_checkout(transaction, before, recorded)
    else:
        store.insert_checkout(transaction, recorded)
    store.insert_history(transaction, row)
    return recorded
