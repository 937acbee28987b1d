"""What the other servers answered: one transaction an answer, which also ends its journal row.

An answer that comes twice, or after another one decided, finds the row ended and changes nothing.
"""

from dataclasses import replace

from store_terminal import store
from store_terminal.errors import AWAITING_PAYER, Reason
from store_terminal.lifecycle import CheckoutEvent, CheckoutState
from store_terminal.model import (
    Asked,
    Attempt,
    Checkout,
    EntryState,
    JournalEntry,
    Kind,
    Line,
    OrderCopy,
    renumbered,
)
from store_terminal.operations import get_asked, get_refund, give_up_payment
from store_terminal.transitions import advance, begin
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.history import NO_HISTORY
from tillmesh.runtime.money import Money
from tillmesh.runtime.statements import Connection

E = CheckoutEvent


def order_done(connection: Connection, *, request_id: str, order: OrderCopy, now_ms: int) -> Asked:
    """The order service did what was asked of it."""
    asked = get_asked(connection, request_id)
    if not asked.pending:
        return asked
    checkout = asked.of_checkout()
    entry = store.end_entry(connection, asked.entry, EntryState.DONE)
    after = replace(checkout, unanswered="", order_version=order.version)
    if entry.kind is Kind.CREATE_ORDER:
        return Asked(entry, advance(connection, checkout, after, E.SUBMITTED, now_ms))
    if entry.kind is Kind.CANCEL_ORDER:
        return Asked(entry, advance(connection, checkout, after, E.CANCELED, now_ms))
    lines = tuple(Line(number, item) for number, item in zip(entry.line_numbers, order.items, strict=True))
    last_number = max(checkout.last_line_number, *entry.line_numbers)
    after = replace(after, lines=lines, amount=order.amount, last_line_number=last_number)
    return Asked(entry, advance(connection, checkout, after, E.CHANGED, now_ms))


def order_refused(
    connection: Connection, *, request_id: str, refusal: Refusal, order: OrderCopy | None, now_ms: int
) -> Asked:
    """The order service said no; `order` is how the order is now, if this till's copy is stale."""
    asked = get_asked(connection, request_id)
    if not asked.pending:
        return asked
    checkout = asked.of_checkout()
    entry = _end_refused(connection, asked.entry, refusal)
    after = replace(checkout, unanswered="")
    checkout = advance(connection, checkout, after, E.REFUSED, now_ms, reason=refusal.reason)
    return Asked(entry, refresh(connection, checkout, order, now_ms) if order else checkout)


def refresh(connection: Connection, checkout: Checkout, order: OrderCopy, now_ms: int) -> Checkout:
    """Takes over what became of an order elsewhere, unless this till knows better or has asked for something."""
    if checkout.state is not CheckoutState.PENDING or checkout.unanswered or order.version < checkout.order_version:
        return checkout
    after = checkout
    if order.version > checkout.order_version:
        lines = renumbered(checkout.lines, order.items, checkout.last_line_number)
        last_number = max(checkout.last_line_number, *(line.number for line in lines))
        after = replace(
            checkout, lines=lines, last_line_number=last_number, amount=order.amount, order_version=order.version
        )
    if order.paid_by:
        after = replace(after, paid_by=order.paid_by, paid_at_ms=now_ms)
        return advance(connection, checkout, after, E.PAID, now_ms, reference=order.paid_by)
    if order.canceled:
        return advance(connection, checkout, after, E.CANCELED, now_ms)
    return checkout if after is checkout else advance(connection, checkout, after, E.REFRESHED, now_ms)


def resume_checkout(connection: Connection, *, order: OrderCopy, store_id: str, now_ms: int) -> Checkout:
    """Takes up an order of this store that was raised elsewhere; refreshes one that this till has."""
    if order.store_id != store_id:
        raise Reason.ORDER_NOT_FOUND(order_id=order.order_id)
    known = store.find_checkout(connection, order.order_id)
    if known:
        return refresh(connection, known, order, now_ms)
    state = CheckoutState.PAID if order.paid_by else CheckoutState.CANCELED if order.canceled else CheckoutState.PENDING
    lines = renumbered((), order.items, 0)
    checkout = Checkout(
        checkout_id=order.order_id,
        store_id=order.store_id,
        payer_id=order.payer_id,
        payer_display_name="",
        lines=lines,
        last_line_number=len(lines),
        amount=order.amount,
        state=state,
        order_version=order.version,
        unanswered="",
        attempt=None,
        paid_by=order.paid_by,
        paid_at_ms=now_ms if order.paid_by else 0,
        refunded_minor=0,
        event_count=1,
        history_hash=NO_HISTORY,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    return begin(connection, checkout, "RESUMED")


def awaiting_payer(
    connection: Connection, *, payment_id: str, payer_display_name: str, until_ms: int, now_ms: int
) -> Asked:
    """The payer has to confirm: the till is patient for as long as that may take."""
    asked = get_asked(connection, payment_id)
    if not asked.pending:
        return asked
    checkout = asked.of_checkout()
    attempt = _attempt(checkout)
    waiting = replace(attempt, reason=AWAITING_PAYER, deadline_at_ms=max(attempt.deadline_at_ms, until_ms))
    if attempt.canceling or waiting == attempt:
        return asked
    after = replace(checkout, attempt=waiting, payer_display_name=payer_display_name, updated_at_ms=now_ms)
    store.change_checkout(connection, checkout, after)
    return Asked(asked.entry, after)


def payment_paid(connection: Connection, *, payment_id: str, payer_display_name: str | None, now_ms: int) -> Asked:
    """The order is paid by this payment; who showed a pay code for it, the order service does not know."""
    asked = get_asked(connection, payment_id)
    if not asked.pending:
        return asked
    checkout = asked.of_checkout()
    entry = store.end_entry(connection, asked.entry, EntryState.DONE)
    attempt = replace(_attempt(checkout), reason="")
    name = checkout.payer_display_name if payer_display_name is None else payer_display_name
    after = replace(
        checkout, unanswered="", attempt=attempt, paid_by=payment_id, paid_at_ms=now_ms, payer_display_name=name
    )
    return Asked(entry, advance(connection, checkout, after, E.PAID, now_ms, reference=payment_id))


def payment_given_up(connection: Connection, *, payment_id: str, reason: str, now_ms: int) -> Asked:
    """The payment server refuses it or takes too long: the order is asked to end it."""
    asked = get_asked(connection, payment_id)
    if not asked.pending:
        return asked
    checkout_id = asked.entry.checkout_id
    return Asked(asked.entry, give_up_payment(connection, checkout_id=checkout_id, reason=reason, now_ms=now_ms))


def payment_ended(connection: Connection, *, payment_id: str, reason: str, order: OrderCopy, now_ms: int) -> Asked:
    """The attempt can no longer take money; `order` is how the order is since (rule 11)."""
    asked = get_asked(connection, payment_id)
    if not asked.pending:
        return asked
    checkout = asked.of_checkout()
    entry = store.end_entry(connection, asked.entry, EntryState.DONE, reason)
    attempt = replace(_attempt(checkout), reason=reason)
    after = replace(checkout, unanswered="", attempt=attempt, payer_display_name="")
    ended = advance(connection, checkout, after, E.PAYMENT_ENDED, now_ms, reference=payment_id, reason=reason)
    return Asked(entry, refresh(connection, ended, order, now_ms))


def refund_done(connection: Connection, *, refund_id: str, amount: Money, now_ms: int) -> Asked:
    """The shopper has the money."""
    asked = get_asked(connection, refund_id)
    if not asked.pending:
        return asked
    checkout = asked.checkout
    entry = store.end_entry(connection, asked.entry, EntryState.DONE)
    store.set_refund_amount(connection, refund_id, amount.minor)
    if checkout:
        after = replace(checkout, refunded_minor=checkout.refunded_minor + amount.minor)
        checkout = advance(connection, checkout, after, E.REFUNDED, now_ms, amount=amount, reference=refund_id)
    return Asked(entry, checkout)


def refund_refused(connection: Connection, *, refund_id: str, refusal: Refusal, now_ms: int) -> Asked:
    """The payment server said no."""
    asked = get_asked(connection, refund_id)
    if not asked.pending:
        return asked
    checkout = asked.checkout
    entry = _end_refused(connection, asked.entry, refusal)
    if checkout:
        wanted = Money(checkout.amount.currency, get_refund(connection, refund_id).amount_minor or 0)
        event, reason = E.REFUND_REFUSED, refusal.reason
        checkout = advance(
            connection, checkout, checkout, event, now_ms, amount=wanted, reference=refund_id, reason=reason
        )
    return Asked(entry, checkout)


def _end_refused(connection: Connection, entry: JournalEntry, refusal: Refusal) -> JournalEntry:
    status = refusal.to_status(refusal.domain).SerializeToString()
    return store.end_entry(connection, entry, EntryState.REFUSED, refusal.reason, status)


def _attempt(checkout: Checkout) -> Attempt:
    assert checkout.attempt is not None, "a checkout that is PAYING has an attempt"
    return checkout.attempt
