"""Money given back: what is asked of the payment server, and what came of it, each one transaction."""

from collections.abc import Sequence
from dataclasses import replace

from store_terminal import journal_store, outward, pricing
from store_terminal.errors import Reason
from store_terminal.lifecycle import CheckoutEvent
from store_terminal.model import (
    Asked,
    Call,
    Checkout,
    EntryState,
    Kind,
    Refunded,
    ReturnedLine,
    TillRefund,
)
from store_terminal.operations import get_asked, get_checkout, write
from store_terminal.transitions import advance, require_legal
from tillmesh.auth.callers import actor
from tillmesh.lines import LineItem, Totals
from tillmesh.origin import Origin
from tillmesh.payer import Payer
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.money import Money
from tillmesh.storage.statements import Transaction


def refund_checkout(
    transaction: Transaction,
    call: Call,
    *,
    checkout_id: str,
    amount: Money | None,
    lines: Sequence[ReturnedLine],
    note: str,
    origin: Origin,
) -> TillRefund:
    """Starts to give money back for a paid checkout: an amount, lines, or without either all that is left."""
    checkout = get_checkout(transaction, checkout_id)
    require_legal(checkout, CheckoutEvent.REFUND_STARTED)
    currency = checkout.amount.currency
    if amount and amount.currency != currency:
        raise Reason.CURRENCY_MISMATCH(what="The refund", currency=amount.currency, wanted=currency)
    came_back = pricing.positions(checkout, lines)
    if not checkout.paid_by:
        raise Reason.NOTHING_WAS_PAID(checkout_id=checkout_id)
    refund = _asked_for(
        call, checkout_id=checkout_id, payer=checkout.payer, currency=currency, note=note, origin=origin
    )
    message = outward.refund_payment(refund, checkout.paid_by, amount, came_back)
    write(transaction, call, checkout_id, Kind.REFUND, message)
    journal_store.insert_refund(transaction, refund)
    event, known = CheckoutEvent.REFUND_STARTED, amount or Money(currency, 0)
    advance(transaction, checkout, checkout, event, call.now_ms, amount=known, reference=refund.refund_id)
    return refund


def return_goods(
    transaction: Transaction,
    call: Call,
    *,
    store_id: str,
    payer: Payer | None,
    currency: str,
    items: Sequence[LineItem],
    total: Totals,
    note: str,
    origin: Origin,
) -> TillRefund:
    """Starts to give money back for goods whose sale this till does not have; without a payer, by pay code."""
    refund = _asked_for(call, checkout_id="", payer=payer, currency=currency, note=note, origin=origin)
    refund = replace(refund, items=items, taxes=total.taxes)
    message = outward.create_unreferenced_refund(refund, store_id, Money(currency, total.amount_minor))
    write(transaction, call, "", Kind.UNREFERENCED_REFUND, message, pay_code_shown=payer is None)
    journal_store.insert_refund(transaction, refund)
    return refund


def get_refund(transaction: Transaction, refund_id: str) -> TillRefund:
    """The refund as it is now."""
    refund = journal_store.find_refund(transaction, refund_id)
    if refund is None:
        raise Reason.REFUND_NOT_FOUND(refund_id=refund_id)
    return refund


def refund_done(transaction: Transaction, *, refund_id: str, refunded: Refunded, now_ms: int) -> Asked:
    """The shopper has the money."""
    asked = get_asked(transaction, refund_id)
    if not asked.pending:
        return asked
    checkout, amount = asked.checkout, refunded.amount
    entry = journal_store.end_entry(transaction, asked.entry, EntryState.DONE)
    if checkout is None:
        refund = get_refund(transaction, refund_id)
        journal_store.fill_refund(transaction, refund_id, amount.minor, refund.items, refund.taxes)
        return Asked(entry, None)
    journal_store.fill_refund(transaction, refund_id, amount.minor, _items(checkout, refunded), refunded.taxes)
    after = replace(checkout, refunded_minor=checkout.refunded_minor + amount.minor)
    event = CheckoutEvent.REFUNDED
    return Asked(entry, advance(transaction, checkout, after, event, now_ms, amount=amount, reference=refund_id))


def refund_refused(transaction: Transaction, *, refund_id: str, refusal: Refusal, now_ms: int) -> Asked:
    """The payment server said no."""
    asked = get_asked(transaction, refund_id)
    if not asked.pending:
        return asked
    checkout = asked.checkout
    entry = journal_store.end_refused(transaction, asked.entry, refusal)
    if checkout:
        nothing, event, reason = Money(checkout.amount.currency, 0), CheckoutEvent.REFUND_REFUSED, refusal.reason
        checkout = advance(
            transaction, checkout, checkout, event, now_ms, amount=nothing, reference=refund_id, reason=reason
        )
    return Asked(entry, checkout)


def _asked_for(
    call: Call, *, checkout_id: str, payer: Payer | None, currency: str, note: str, origin: Origin
) -> TillRefund:
    """A refund that the payment server has not answered: nobody knows yet how much it is, and of which lines."""
    return TillRefund(
        refund_id=call.request_id,
        checkout_id=checkout_id,
        payer=payer,
        items=(),
        taxes=(),
        currency=currency,
        amount_minor=None,
        note=note,
        origin=origin,
        actor=actor(),
        state=EntryState.PENDING,
        reason="",
        created_at_ms=call.now_ms,
    )


def _items(checkout: Checkout, refunded: Refunded) -> tuple[LineItem, ...]:
    """The lines that came back, each with what it came to."""
    return tuple(
        pricing.came_back(checkout.lines[position - 1].item, quantity, amount_minor)
        for position, quantity, amount_minor in refunded.lines
    )
