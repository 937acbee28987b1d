"""The operations of the till's own software: one function for each RPC, each one transaction.

What another server has to do is only written down here, in the outbox; the answers are
taken in by `outbox.replies`. The rules that are numbered are explained in docs/protocol.md.
"""

from collections.abc import Sequence
from dataclasses import replace

from store_terminal.catalogue.queries import on_sale
from store_terminal.checkouts import pricing
from store_terminal.checkouts.lifecycle import CheckoutEvent, CheckoutState
from store_terminal.checkouts.model import (
    Call,
    Checkout,
    Line,
    LineChange,
    NewCheckout,
    NewLine,
    NewPayment,
    items_of,
)
from store_terminal.checkouts.moves import advance, get_checkout, require_basket_version, require_legal, start_payment
from store_terminal.checkouts.queries import CHECKOUTS, HISTORY, lines_text
from store_terminal.errors import Reason
from store_terminal.outbox import requests
from store_terminal.outbox.model import Exchange, OutboxEntry
from store_terminal.outbox.pay_codes import PayCodes
from store_terminal.outbox.queries import ENTRIES
from store_terminal.refunds.queries import get_refund
from tillmesh.auth.callers import actor
from tillmesh.lines import Adjustment
from tillmesh.rpc.server import MESSAGE_BYTES_MAX
from tillmesh.runtime.money import Money
from tillmesh.storage.statements import Transaction

BASKET_BYTES_MAX = 2 * MESSAGE_BYTES_MAX
"""The most that the lines of a basket are as JSON, which is up to twice as long as the order's message."""


def create_checkout(transaction: Transaction, call: Call, new: NewCheckout) -> Checkout:
    """Opens a basket."""
    return HISTORY.begin(transaction, new_basket(transaction, call, new), "OPENED")


def new_basket(transaction: Transaction, call: Call, new: NewCheckout) -> Checkout:
    """A basket with its lines priced, which is not written yet."""
    if new.exchanged_refund_id:
        get_refund(transaction, new.exchanged_refund_id)
    known = on_sale(transaction, {line.sku for line in new.lines}, call.now_ms)
    lines = pricing.priced_lines(new.lines, known, currency=new.currency, actor=actor(), last_number=0)
    total = pricing.checked_totals(items_of(lines), prices_include_tax=new.prices_include_tax)
    _require_room(new.checkout_id, lines)
    return Checkout(
        checkout_id=new.checkout_id,
        store_id=new.store_id,
        origin=new.origin,
        payer=new.payer,
        lines=lines,
        last_line_number=len(lines),
        prices_include_tax=new.prices_include_tax,
        amount=Money(new.currency, total.amount_minor),
        labels=new.labels,
        exchanged_refund_id=new.exchanged_refund_id,
        created_at_ms=call.now_ms,
        updated_at_ms=call.now_ms,
    )


def add_lines(
    transaction: Transaction, call: Call, *, checkout_id: str, basket_version: int, lines: Sequence[NewLine]
) -> Checkout | Exchange:
    """Adds lines at the end."""
    checkout = get_basket(transaction, checkout_id, basket_version, CheckoutEvent.CHANGED)
    added = pricing.priced_lines(
        lines,
        on_sale(transaction, {line.sku for line in lines}, call.now_ms),
        currency=checkout.amount.currency,
        actor=actor(),
        last_number=checkout.last_line_number,
    )
    return change_lines(transaction, call, checkout, (*checkout.lines, *added))


def update_line(
    transaction: Transaction, call: Call, *, checkout_id: str, basket_version: int, change: LineChange
) -> Checkout | Exchange:
    """Changes quantity, price or note of a line; the quantity also of its deposit."""
    checkout = get_basket(transaction, checkout_id, basket_version, CheckoutEvent.CHANGED)
    item = pricing.line_of(checkout, change.line_number).item
    changed = pricing.changed_line(
        item,
        change,
        on_sale(transaction, [item.sku], call.now_ms),
        currency=checkout.amount.currency,
        actor=actor(),
    )
    lines = pricing.with_item(checkout.lines, change.line_number, changed)
    if change.quantity is not None:
        lines = pricing.with_quantity(lines, change.line_number, change.quantity)
    return change_lines(transaction, call, checkout, lines)


def remove_line(
    transaction: Transaction, call: Call, *, checkout_id: str, basket_version: int, line_number: int
) -> Checkout | Exchange:
    """Removes a line and its deposit; their numbers are not used again."""
    checkout = get_basket(transaction, checkout_id, basket_version, CheckoutEvent.CHANGED)
    return change_lines(transaction, call, checkout, pricing.without_line(checkout, line_number))


def adjust_checkout(
    transaction: Transaction,
    call: Call,
    *,
    checkout_id: str,
    basket_version: int,
    line_number: int,
    adjustment: Adjustment,
) -> Checkout | Exchange:
    """Adjusts one line, or spreads the adjustment over all goods."""
    checkout = get_basket(transaction, checkout_id, basket_version, CheckoutEvent.CHANGED)
    return change_lines(transaction, call, checkout, pricing.adjusted_lines(checkout, line_number, adjustment))


def submit_checkout(transaction: Transaction, call: Call, *, checkout_id: str, basket_version: int) -> Exchange:
    """Asks for the order."""
    checkout = get_basket(transaction, checkout_id, basket_version, CheckoutEvent.SUBMITTED)
    _require_lines(checkout, checkout.lines)
    return _ask(transaction, checkout, requests.create_order(call, checkout))


def cancel_checkout(transaction: Transaction, call: Call, *, checkout_id: str) -> Checkout | Exchange:
    """Abandons a basket, or asks for the order's withdrawal."""
    checkout = get_checkout(transaction, checkout_id)
    require_legal(checkout, CheckoutEvent.CANCELED)
    if checkout.state is CheckoutState.BASKET:
        return advance(transaction, checkout, checkout, CheckoutEvent.CANCELED, call.now_ms)
    return _ask(transaction, checkout, requests.cancel_order(call, checkout))


def pay_checkout(transaction: Transaction, call: Call, new: NewPayment, pay_codes: PayCodes) -> Exchange:
    """Starts a payment of what the shopper was shown (rules 3 and 4); where that is 0, completes the order."""
    checkout, checkout_id, payment_id = get_checkout(transaction, new.checkout_id), new.checkout_id, call.request_id
    require_legal(checkout, CheckoutEvent.PAYMENT_STARTED)
    if checkout.order_version != new.order_version:
        version, wanted = checkout.order_version, new.order_version
        raise Reason.VERSION_MISMATCH(checkout_id=checkout_id, version=version, wanted=wanted)
    if checkout.amount != new.amount:
        raise Reason.AMOUNT_MISMATCH(checkout_id=checkout_id, amount=checkout.amount, wanted=new.amount)
    if new.amount.minor == 0:
        return _ask(transaction, checkout, requests.complete_free_order(call, checkout))
    if new.pay_code:  # before the entry is there to be taken up
        pay_codes.keep(payment_id, new.pay_code)
    entry = requests.create_payment(call, checkout, new)
    ENTRIES.insert(transaction, entry)
    return Exchange(entry, start_payment(transaction, checkout, payment_id, wait_ms=new.wait_ms, now_ms=call.now_ms))


def get_basket(transaction: Transaction, checkout_id: str, basket_version: int, event: CheckoutEvent) -> Checkout:
    """The checkout, if the event may happen to it and its basket is as the caller read it."""
    checkout = get_checkout(transaction, checkout_id)
    require_legal(checkout, event)
    require_basket_version(checkout, basket_version)
    return checkout


def change_lines(
    transaction: Transaction, call: Call, checkout: Checkout, lines: Sequence[Line], reason: str = ""
) -> Checkout | Exchange:
    """A basket changes here and now; a pending transaction only when the order service says so.

    The history says the reason with the change.
    """
    total = pricing.checked_totals(items_of(lines), prices_include_tax=checkout.prices_include_tax)
    _require_room(checkout.checkout_id, lines)
    if checkout.state is CheckoutState.BASKET:
        after = replace(
            checkout,
            lines=lines,
            amount=Money(checkout.amount.currency, total.amount_minor),
            last_line_number=max(checkout.last_line_number, *(line.number for line in lines), 0),
            basket_version=checkout.basket_version + 1,
        )
        return advance(transaction, checkout, after, CheckoutEvent.CHANGED, call.now_ms, reason=reason)
    _require_lines(checkout, lines)
    return _ask(transaction, checkout, requests.replace_order_lines(call, checkout, lines, reason))


def _require_room(checkout_id: str, lines: Sequence[Line]) -> None:
    """Refuses a basket that no order could take, and that every change of it would have to read and write."""
    size = len(lines_text(lines).encode())
    if size > BASKET_BYTES_MAX:
        raise Reason.CHECKOUT_TOO_LARGE(checkout_id=checkout_id, bytes=size, bytes_max=BASKET_BYTES_MAX)


def _require_lines(checkout: Checkout, lines: Sequence[Line]) -> None:
    """Refuses what the order service would refuse."""
    if not lines:
        raise Reason.CHECKOUT_EMPTY(checkout_id=checkout.checkout_id)


def require_sendable(entry: OutboxEntry) -> None:
    """Refuses what would never be answered: it is too large for a message."""
    size = len(entry.request)
    if size > MESSAGE_BYTES_MAX:
        raise Reason.CHECKOUT_TOO_LARGE(checkout_id=entry.checkout_id, bytes=size, bytes_max=MESSAGE_BYTES_MAX)


def _ask(transaction: Transaction, checkout: Checkout, entry: OutboxEntry) -> Exchange:
    """Writes down what the order service is to do; the checkout is busy until it has answered."""
    require_sendable(entry)
    ENTRIES.insert(transaction, entry)
    busy = replace(checkout, unanswered=entry.request_id, updated_at_ms=entry.created_at_ms)
    CHECKOUTS.change(transaction, checkout, busy)
    return Exchange(entry, busy)
