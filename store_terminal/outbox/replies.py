"""Applies the answers of the other servers. One transaction for each, which also ends its outbox row.

An answer that comes twice, or after another one decided, finds the row ended and changes nothing.
"""

from collections.abc import Sequence
from dataclasses import replace

from store_terminal.checkouts import pricing
from store_terminal.checkouts.lifecycle import CheckoutEvent, CheckoutState
from store_terminal.checkouts.model import Attempt, Checkout, Line, renumbered
from store_terminal.checkouts.moves import advance, get_checkout, give_up_payment
from store_terminal.checkouts.queries import CHECKOUTS, HISTORY
from store_terminal.errors import NOTHING_LEFT, ORDER_ALREADY_PAID, ORDER_CANCELED, Reason
from store_terminal.outbox import sequels
from store_terminal.outbox.model import EntryState, Exchange, OrderCopy, Refunded, RequestKind
from store_terminal.outbox.queries import end_entry, end_refused, get_exchange
from store_terminal.refunds import queries as refund_queries
from store_terminal.refunds.queries import get_refund
from tillmesh.lines import LineItem
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.money import Money
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.statements import Transaction

E = CheckoutEvent
JITTER_MS = 1_000
"""Each answer repeats the time that is left for the payer. A smaller difference than this is not written."""


def order_done(transaction: Transaction, *, request_id: str, order: OrderCopy, wait_ms: int, now_ms: int) -> Exchange:
    """The order service did what was asked of it; a payment that waited for it is expected to end within `wait_ms`."""
    exchange = get_exchange(transaction, request_id)
    if not exchange.pending:
        return exchange
    checkout = exchange.of_checkout()
    entry = end_entry(transaction, exchange.entry, EntryState.DONE)
    after = replace(checkout, unanswered="", confirmed_at_ms=now_ms)
    match entry.kind:
        case RequestKind.CREATE_ORDER:
            raised = replace(after, order_version=1)
            event, after = E.SUBMITTED, _with_order(raised, raised, order)
        case RequestKind.CANCEL_ORDER:
            event, after = E.CANCELED, _with_order(checkout, after, order)
        case RequestKind.COMPLETE_FREE_ORDER:
            completed = _with_order(checkout, after, order)
            event, after = E.PAID, _paid(completed, order.paid_by, None, order.paid_at_ms, now_ms)
        case _:
            event, after = E.CHANGED, _with_replaced(after, entry.line_numbers, order)
    why = exchange.entry.reason
    done = advance(transaction, checkout, after, event, now_ms, reference=after.paid_by, reason=why)
    done = refresh(transaction, done, order, now_ms)  # somebody else may have been there since
    if not entry.next_id:
        return Exchange(entry, done)
    sent, done = sequels.order_created(transaction, entry.next_id, done, wait_ms=wait_ms, now_ms=now_ms)
    return Exchange(entry, done, beside=sent)


def order_was_there(
    transaction: Transaction, *, request_id: str, refusal: Refusal, order: OrderCopy, now_ms: int
) -> Exchange:
    """Another terminal made the same sale under this number: its order takes the basket's place, and nothing is paid.

    So what is undone, refunded or shown here afterwards is that order, and not a basket that hides it.
    """
    exchange = get_exchange(transaction, request_id)
    if not exchange.pending:
        return exchange
    checkout = exchange.of_checkout()
    entry = end_refused(transaction, exchange.entry, refusal)
    lines = renumbered(checkout.lines, order.items, checkout.last_line_number)
    after = replace(
        checkout,
        unanswered="",
        payer=order.payer,
        lines=lines,
        last_line_number=max(checkout.last_line_number, *(line.number for line in lines)),
        amount=order.amount,
        order_version=order.version,
        confirmed_at_ms=now_ms,
    )
    done = advance(transaction, checkout, after, E.SUBMITTED, now_ms, reason=refusal.reason)
    unsent = sequels.never_sent(transaction, entry.next_id, refusal) if entry.next_id else None
    return Exchange(entry, refresh(transaction, done, order, now_ms), beside=unsent)


def order_refused(
    transaction: Transaction, *, request_id: str, refusal: Refusal, order: OrderCopy | None, now_ms: int
) -> Exchange:
    """The order service said no; `order` is how the order is now, if this till's copy may be stale.

    An order that is locked or was changed elsewhere may still be needed, so a parked checkout stays parked for another
    time. After any other refusal it is no longer parked: it has no order, or one that cannot be withdrawn.
    """
    exchange = get_exchange(transaction, request_id)
    if not exchange.pending:
        return exchange
    checkout = exchange.of_checkout()
    entry = end_refused(transaction, exchange.entry, refusal)
    parking = checkout.parking.prolonged(now_ms) if checkout.parking and order else None
    after = replace(checkout, unanswered="", confirmed_at_ms=now_ms, parking=parking)
    checkout = advance(transaction, checkout, after, E.REFUSED, now_ms, reason=refusal.reason)
    unsent = sequels.never_sent(transaction, entry.next_id, refusal) if entry.next_id else None
    return Exchange(entry, refresh(transaction, checkout, order, now_ms) if order else checkout, beside=unsent)


def order_read(transaction: Transaction, *, checkout_id: str, order: OrderCopy, now_ms: int) -> Checkout:
    """The order as it was read: a pending transaction is brought up to date, and a payment may turn out decided."""
    checkout = get_checkout(transaction, checkout_id)
    if checkout.state is not CheckoutState.PAYING:
        return refresh(transaction, checkout, order, now_ms)
    payment_id = checkout.unanswered
    if not order.paid and not order.canceled:
        return _with_lock(transaction, checkout, order, now_ms)
    trace_id.set(get_exchange(transaction, payment_id).entry.trace_id)  # it is the payment's, whoever looked
    if order.paid and order.paid_by == payment_id:
        exchange = payment_paid(
            transaction,
            payment_id=payment_id,
            payer_display_name=order.payer_display_name,
            sold_at_ms=order.paid_at_ms,
            now_ms=now_ms,
        )
        return exchange.of_checkout()
    # It is so for good: this till's attempt can never pay it.
    reason = ORDER_ALREADY_PAID if order.paid else ORDER_CANCELED
    exchange = payment_ended(transaction, payment_id=payment_id, reason=reason, order=order, now_ms=now_ms)
    return exchange.of_checkout()


def refresh(transaction: Transaction, checkout: Checkout, order: OrderCopy, now_ms: int) -> Checkout:
    """Takes over what became of an order elsewhere, unless this till knows better or has asked for something."""
    if checkout.state is not CheckoutState.SUBMITTED or checkout.unanswered or order.version < checkout.order_version:
        return checkout
    after = _with_order(checkout, replace(checkout, confirmed_at_ms=now_ms), order)
    if order.paid:
        paid = _paid(after, order.paid_by, order.payer_display_name, order.paid_at_ms, now_ms)
        return advance(transaction, checkout, paid, E.PAID, now_ms, reference=order.paid_by)
    if order.canceled:
        return advance(transaction, checkout, after, E.CANCELED, now_ms)
    if order.version > checkout.order_version:
        checkout = advance(transaction, checkout, after, E.REFRESHED, now_ms)
    return _with_lock(transaction, checkout, order, now_ms)


def resume_checkout(transaction: Transaction, *, order: OrderCopy, store_id: str, now_ms: int) -> Checkout:
    """Takes up an order of this store that was raised elsewhere; refreshes one that this till has."""
    if order.store_id != store_id:
        raise Reason.ORDER_NOT_FOUND(order_id=order.order_id)
    if CHECKOUTS.find(transaction, order.order_id):
        return order_read(transaction, checkout_id=order.order_id, order=order, now_ms=now_ms)
    state = CheckoutState.PAID if order.paid else CheckoutState.CANCELED if order.canceled else CheckoutState.SUBMITTED
    lines = renumbered((), order.items, 0)
    checkout = Checkout(
        checkout_id=order.order_id,
        store_id=order.store_id,
        origin=order.origin,
        payer=order.payer,
        payer_display_name=order.payer_display_name or "",
        lines=lines,
        last_line_number=len(lines),
        prices_include_tax=order.prices_include_tax,
        amount=order.amount,
        labels=order.labels,
        state=state,
        order_version=order.version,
        paid_by=order.paid_by,
        paid_at_ms=now_ms if order.paid else 0,
        sold_at_ms=order.paid_at_ms,
        order_epoch=order.epoch,
        locked_by=order.locked_by,
        locked_until_ms=_locked_until_ms(order, now_ms),
        confirmed_at_ms=now_ms,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    return HISTORY.begin(transaction, checkout, "RESUMED", reference=checkout.paid_by)


def awaiting_payer(
    transaction: Transaction,
    *,
    payment_id: str,
    payer_display_name: str,
    remaining_ms: int,
    patience_ms: int,
    now_ms: int,
) -> Exchange:
    """The payer has to act: the till is patient for as long as that may take, and `patience_ms` more."""
    exchange = get_exchange(transaction, payment_id)
    if not exchange.pending:
        return exchange
    checkout = exchange.of_checkout()
    attempt, until_ms = _attempt(checkout), now_ms + remaining_ms
    if attempt.canceling or abs(until_ms - attempt.payer_until_ms) < JITTER_MS:
        return exchange
    waiting = replace(attempt, payer_until_ms=until_ms, deadline_at_ms=until_ms + patience_ms)
    # It has the order's lock, or nobody would be asked.
    after = replace(checkout, attempt=waiting, payer_display_name=payer_display_name, locked_by="", locked_until_ms=0)
    if attempt.payer_until_ms:
        return Exchange(exchange.entry, _without_event(transaction, checkout, after, now_ms))
    return Exchange(exchange.entry, advance(transaction, checkout, after, E.PAYER_ASKED, now_ms, reference=payment_id))


def payer_acted(transaction: Transaction, *, payment_id: str, wait_ms: int, now_ms: int) -> Exchange:
    """The payment no longer waits for its payer: from here on it is expected to end as soon as any other."""
    exchange = get_exchange(transaction, payment_id)
    if not exchange.pending or _attempt(exchange.of_checkout()).payer_until_ms == 0:
        return exchange
    checkout = exchange.of_checkout()
    attempt = _attempt(checkout)
    deadline_at_ms = min(attempt.deadline_at_ms, now_ms + wait_ms)
    after = replace(checkout, attempt=replace(attempt, payer_until_ms=0, deadline_at_ms=deadline_at_ms))
    return Exchange(exchange.entry, advance(transaction, checkout, after, E.PAYER_ACTED, now_ms, reference=payment_id))


def cancellation_unanswered(transaction: Transaction, *, payment_id: str, now_ms: int) -> Exchange:
    """The order did not answer: once the deadline is over, nobody can say what became of the payment."""
    exchange = get_exchange(transaction, payment_id)
    if not exchange.pending or _attempt(exchange.of_checkout()).cancel_unanswered:
        return exchange
    checkout = exchange.of_checkout()
    after = replace(checkout, attempt=replace(_attempt(checkout), cancel_unanswered=True))
    return Exchange(exchange.entry, _without_event(transaction, checkout, after, now_ms))


def payment_paid(
    transaction: Transaction, *, payment_id: str, payer_display_name: str | None, sold_at_ms: int, now_ms: int
) -> Exchange:
    """The order is paid by this payment; without a name it keeps the one that the till knows already.

    `sold_at_ms` is when, and 0 where nobody said that: then it is now.
    """
    exchange = get_exchange(transaction, payment_id)
    if not exchange.pending:
        return exchange
    checkout = exchange.of_checkout()
    entry = end_entry(transaction, exchange.entry, EntryState.DONE)
    attempt = replace(_attempt(checkout), reason="", payer_until_ms=0)
    after = _paid(replace(checkout, attempt=attempt), payment_id, payer_display_name, sold_at_ms, now_ms)
    return Exchange(entry, advance(transaction, checkout, after, E.PAID, now_ms, reference=payment_id))


def payment_given_up(transaction: Transaction, *, payment_id: str, reason: str, now_ms: int) -> Exchange:
    """The payment server refuses it or takes too long: the order is asked to end it."""
    exchange = get_exchange(transaction, payment_id)
    if not exchange.pending:
        return exchange
    checkout_id = exchange.entry.checkout_id
    return Exchange(exchange.entry, give_up_payment(transaction, checkout_id=checkout_id, reason=reason, now_ms=now_ms))


def payment_ended(transaction: Transaction, *, payment_id: str, reason: str, order: OrderCopy, now_ms: int) -> Exchange:
    """The attempt can no longer take money; `order` is how the order is since (rule 11)."""
    exchange = get_exchange(transaction, payment_id)
    if not exchange.pending:
        return exchange
    checkout = exchange.of_checkout()
    entry = end_entry(transaction, exchange.entry, EntryState.DONE, reason)
    attempt = replace(_attempt(checkout), reason=reason, payer_until_ms=0)
    after = replace(checkout, unanswered="", attempt=attempt, payer_display_name="", confirmed_at_ms=now_ms)
    ended = advance(transaction, checkout, after, E.PAYMENT_ENDED, now_ms, reference=payment_id, reason=reason)
    return Exchange(entry, refresh(transaction, ended, order, now_ms))


def _with_order(checkout: Checkout, after: Checkout, order: OrderCopy) -> Checkout:
    """`after` with the order's lines, if somebody else changed them since."""
    if order.version <= checkout.order_version:
        return after
    lines = renumbered(checkout.lines, order.items, checkout.last_line_number)
    return replace(
        after,
        lines=lines,
        last_line_number=max(checkout.last_line_number, *(line.number for line in lines)),
        amount=order.amount,
        basket_version=checkout.basket_version + 1,
        order_version=order.version,
    )


def _with_replaced(checkout: Checkout, numbers: Sequence[tuple[int, int]], order: OrderCopy) -> Checkout:
    """The checkout with the lines that it gave the order, or with newer ones that somebody else gave it since."""
    if order.version != checkout.order_version + 1:
        return _with_order(checkout, checkout, order)
    return replace(
        checkout,
        lines=tuple(
            Line(number, item, deposit_of) for (number, deposit_of), item in zip(numbers, order.items, strict=True)
        ),
        last_line_number=max(checkout.last_line_number, *(number for number, _ in numbers)),
        amount=order.amount,
        basket_version=checkout.basket_version + 1,
        order_version=order.version,
    )


def _with_lock(transaction: Transaction, checkout: Checkout, order: OrderCopy, now_ms: int) -> Checkout:
    """Takes over whether somebody else's payment has the order's lock.

    Answers may overtake each other: one that is older than what is known changes nothing. Of one epoch the order is
    first locked and then free.
    """
    known, read = (checkout.order_epoch, not checkout.locked_by), (order.epoch, not order.locked_by)
    if read <= known or order.version < checkout.order_version:
        return checkout
    own = checkout.attempt.payment_id if checkout.attempt else ""
    locked_by = "" if order.locked_by == own else order.locked_by
    until_ms = _locked_until_ms(order, now_ms) if locked_by else 0
    after = replace(checkout, order_epoch=order.epoch, locked_by=locked_by, locked_until_ms=until_ms)
    if locked_by == checkout.locked_by:
        return _without_event(transaction, checkout, after, now_ms)
    after = replace(after, confirmed_at_ms=now_ms)
    event, reference = (E.ORDER_LOCKED, locked_by) if locked_by else (E.ORDER_UNLOCKED, checkout.locked_by)
    return advance(transaction, checkout, after, event, now_ms, reference=reference)


def _locked_until_ms(order: OrderCopy, now_ms: int) -> int:
    """When the order's lock ends at the latest; 0 where nobody has it."""
    return now_ms + order.lease_remaining_ms if order.locked_by else 0


def _without_event(transaction: Transaction, before: Checkout, after: Checkout, now_ms: int) -> Checkout:
    """Changes what the till knows, where that is no event."""
    after = replace(after, updated_at_ms=now_ms)
    CHECKOUTS.change(transaction, before, after)
    return after


def _paid(checkout: Checkout, paid_by: str, payer_display_name: str | None, sold_at_ms: int, now_ms: int) -> Checkout:
    return replace(
        checkout,
        unanswered="",
        paid_by=paid_by,
        paid_at_ms=now_ms,
        sold_at_ms=sold_at_ms or now_ms,
        confirmed_at_ms=now_ms,
        payer_display_name=checkout.payer_display_name if payer_display_name is None else payer_display_name,
    )


def _attempt(checkout: Checkout) -> Attempt:
    assert checkout.attempt is not None, "a checkout that is PAYING has an attempt"
    return checkout.attempt


def refund_done(transaction: Transaction, *, refund_id: str, refunded: Refunded, now_ms: int) -> Exchange:
    """The shopper has the money."""
    exchange = get_exchange(transaction, refund_id)
    if not exchange.pending:
        return exchange
    checkout, amount = exchange.checkout, refunded.amount
    entry = end_entry(transaction, exchange.entry, EntryState.DONE)
    if checkout is None:
        refund = get_refund(transaction, refund_id)
        refund_queries.fill_refund(transaction, refund_id, amount.minor, refund.items, refund.taxes)
        return Exchange(entry, None)
    refund_queries.fill_refund(transaction, refund_id, amount.minor, _items(checkout, refunded), refunded.taxes)
    after = replace(checkout, refunded_minor=checkout.refunded_minor + amount.minor)
    event = CheckoutEvent.REFUNDED
    return Exchange(entry, advance(transaction, checkout, after, event, now_ms, amount=amount, reference=refund_id))


def refund_refused(transaction: Transaction, *, refund_id: str, refusal: Refusal, now_ms: int) -> Exchange:
    """The payment server said no."""
    exchange = get_exchange(transaction, refund_id)
    if not exchange.pending:
        return exchange
    checkout = exchange.checkout
    entry = end_refused(transaction, exchange.entry, refusal)
    if checkout:
        nothing, event, reason = Money(checkout.amount.currency, 0), CheckoutEvent.REFUND_REFUSED, refusal.reason
        after = checkout if reason in NOTHING_LEFT else checkout.without_void(refund_id)
        checkout = advance(
            transaction, checkout, after, event, now_ms, amount=nothing, reference=refund_id, reason=reason
        )
    return Exchange(entry, checkout)


def _items(checkout: Checkout, refunded: Refunded) -> tuple[LineItem, ...]:
    """The lines that came back, each with what it came to."""
    return tuple(
        pricing.came_back(checkout.lines[position - 1].item, quantity, amount_minor)
        for position, quantity, amount_minor in refunded.lines
    )
