"""The operations of the till's own software: one function for each RPC, each one transaction.

What another server has to do is only written down here, in the journal; the answers are
taken in by `outcomes`. The rules that are numbered are explained in docs/protocol.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from google.protobuf.message import Message

from store_terminal import journal_store, outward, pricing, store
from store_terminal.errors import Reason
from store_terminal.lifecycle import CHECKOUT, CheckoutEvent, CheckoutState
from store_terminal.model import (
    Asked,
    Attempt,
    Call,
    Checkout,
    EntryState,
    JournalEntry,
    Kind,
    Line,
    NewLine,
    items_of,
)
from store_terminal.tables import REQUESTS
from store_terminal.transitions import advance, begin, refusal, require_legal
from tillmesh.auth.callers import actor
from tillmesh.lines import Adjustment
from tillmesh.origin import Origin
from tillmesh.payer import Payer
from tillmesh.rpc.server import MESSAGE_BYTES_MAX
from tillmesh.runtime.money import Money
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.claims import CLAIM_MS
from tillmesh.storage.history import NO_HISTORY
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Transaction


def create_checkout(
    transaction: Transaction,
    call: Call,
    *,
    checkout_id: str,
    store_id: str,
    origin: Origin,
    payer: Payer,
    currency: str,
    lines: Sequence[NewLine],
    prices_include_tax: bool,
    labels: Mapping[str, str],
) -> Checkout:
    """Opens a basket."""
    find = partial(store.find_item, transaction)
    numbered = pricing.priced_lines(lines, find, currency=currency, actor=actor(), last_number=0)
    total = pricing.checked_totals(items_of(numbered), prices_include_tax=prices_include_tax)
    checkout = Checkout(
        checkout_id=checkout_id,
        store_id=store_id,
        origin=origin,
        payer=payer,
        payer_display_name="",
        lines=numbered,
        last_line_number=len(numbered),
        prices_include_tax=prices_include_tax,
        amount=Money(currency, total.amount_minor),
        labels=labels,
        basket_version=1,
        state=CHECKOUT.initial,
        order_version=0,
        unanswered="",
        attempt=None,
        paid_by="",
        paid_at_ms=0,
        refunded_minor=0,
        confirmed_at_ms=0,
        event_count=1,
        history_hash=NO_HISTORY,
        created_at_ms=call.now_ms,
        updated_at_ms=call.now_ms,
    )
    return begin(transaction, checkout, "OPENED")


def get_checkout(transaction: Transaction, checkout_id: str) -> Checkout:
    """The checkout as it is now."""
    checkout = store.find_checkout(transaction, checkout_id)
    if checkout is None:
        raise Reason.CHECKOUT_NOT_FOUND(checkout_id=checkout_id)
    return checkout


def find_asked(transaction: Transaction, request_id: str) -> Asked | None:
    """The request to another server under that id, if there is one."""
    entry = journal_store.find_entry(transaction, request_id)
    if entry is None:
        return None
    return Asked(entry, store.find_checkout(transaction, entry.checkout_id) if entry.checkout_id else None)


def find_resumed(transaction: Transaction, key: IdempotencyKey) -> Checkout | None:
    """The checkout of an order that was taken up under that request id; raises what the request was refused with."""
    checkout_id = REQUESTS.resource(transaction, key)
    return None if checkout_id is None else get_checkout(transaction, checkout_id)


def get_asked(transaction: Transaction, request_id: str) -> Asked:
    """The same of an id under which something was asked."""
    asked = find_asked(transaction, request_id)
    assert asked is not None, "nobody waits for what was not asked"
    return asked


def add_lines(
    transaction: Transaction, call: Call, *, checkout_id: str, basket_version: int, lines: Sequence[NewLine]
) -> Checkout | Asked:
    """Adds lines at the end."""
    checkout = _basket(transaction, checkout_id, basket_version, CheckoutEvent.CHANGED)
    added = pricing.priced_lines(
        lines,
        partial(store.find_item, transaction),
        currency=checkout.amount.currency,
        actor=actor(),
        last_number=checkout.last_line_number,
    )
    return _change_lines(transaction, call, checkout, (*checkout.lines, *added))


def update_line(
    transaction: Transaction,
    call: Call,
    *,
    checkout_id: str,
    basket_version: int,
    line_number: int,
    quantity: int | None,
    unit_price_minor: int | None,
    override_reason: str,
) -> Checkout | Asked:
    """Changes quantity or price of a line."""
    checkout = _basket(transaction, checkout_id, basket_version, CheckoutEvent.CHANGED)
    changed = pricing.changed_line(
        pricing.line_of(checkout, line_number).item,
        partial(store.find_item, transaction),
        currency=checkout.amount.currency,
        actor=actor(),
        quantity=quantity,
        price=unit_price_minor,
        reason=override_reason,
    )
    return _change_lines(transaction, call, checkout, pricing.with_item(checkout.lines, line_number, changed))


def remove_line(
    transaction: Transaction, call: Call, *, checkout_id: str, basket_version: int, line_number: int
) -> Checkout | Asked:
    """Removes a line; its number is not used again."""
    checkout = _basket(transaction, checkout_id, basket_version, CheckoutEvent.CHANGED)
    removed = pricing.line_of(checkout, line_number)
    lines = tuple(line for line in checkout.lines if line is not removed)
    return _change_lines(transaction, call, checkout, lines)


def adjust_checkout(
    transaction: Transaction,
    call: Call,
    *,
    checkout_id: str,
    basket_version: int,
    line_number: int,
    adjustment: Adjustment,
) -> Checkout | Asked:
    """Adjusts one line, or spreads the adjustment over all goods."""
    checkout = _basket(transaction, checkout_id, basket_version, CheckoutEvent.CHANGED)
    return _change_lines(transaction, call, checkout, pricing.adjusted_lines(checkout, line_number, adjustment))


def submit_checkout(transaction: Transaction, call: Call, *, checkout_id: str, basket_version: int) -> Asked:
    """Asks for the order."""
    checkout = _basket(transaction, checkout_id, basket_version, CheckoutEvent.SUBMITTED)
    _require_lines(checkout, checkout.lines)
    return _ask(transaction, call, checkout, Kind.CREATE_ORDER, outward.create_order(call.request_id, checkout))


def cancel_checkout(transaction: Transaction, call: Call, *, checkout_id: str) -> Checkout | Asked:
    """Abandons a basket, or asks for the order's withdrawal."""
    checkout = get_checkout(transaction, checkout_id)
    require_legal(checkout, CheckoutEvent.CANCELED)
    if checkout.state is CheckoutState.BASKET:
        return advance(transaction, checkout, checkout, CheckoutEvent.CANCELED, call.now_ms)
    return _ask(transaction, call, checkout, Kind.CANCEL_ORDER, outward.cancel_order(call.request_id, checkout))


def pay_checkout(
    transaction: Transaction,
    call: Call,
    *,
    checkout_id: str,
    order_version: int,
    amount: Money,
    origin: Origin,
    pay_code_shown: bool,
    wait_ms: int,
) -> Asked:
    """Starts a payment of what the shopper was shown (rules 3 and 4); where that is 0, completes the order."""
    checkout = get_checkout(transaction, checkout_id)
    require_legal(checkout, CheckoutEvent.PAYMENT_STARTED)
    if checkout.order_version != order_version:
        raise Reason.VERSION_MISMATCH(checkout_id=checkout_id, version=checkout.order_version, wanted=order_version)
    if checkout.amount != amount:
        raise Reason.AMOUNT_MISMATCH(checkout_id=checkout_id, amount=checkout.amount, wanted=amount)
    payment_id = call.request_id
    if amount.minor == 0:
        free = outward.complete_free_order(payment_id, checkout)
        return _ask(transaction, call, checkout, Kind.COMPLETE_FREE_ORDER, free)
    message = outward.create_payment(payment_id, checkout, _filled(origin, checkout.origin))
    entry = write(transaction, call, checkout_id, Kind.PAY, message, pay_code_shown=pay_code_shown)
    attempt = Attempt(payment_id, "", call.now_ms + wait_ms, 0, canceling=False, cancel_unanswered=False)
    after = replace(checkout, unanswered=payment_id, attempt=attempt, payer_display_name="")
    event = CheckoutEvent.PAYMENT_STARTED
    return Asked(entry, advance(transaction, checkout, after, event, call.now_ms, reference=payment_id))


def give_up_payment(transaction: Transaction, *, checkout_id: str, reason: str, now_ms: int) -> Checkout:
    """Gives the payment under way up; one that has ended already is told as it ended."""
    checkout = get_checkout(transaction, checkout_id)
    if checkout.attempt is None:
        raise refusal(checkout, CheckoutEvent.PAYMENT_CANCEL_ASKED)
    if checkout.state is not CheckoutState.PAYING or checkout.attempt.canceling:
        return checkout
    after = replace(checkout, attempt=replace(checkout.attempt, reason=reason, canceling=True))
    payment_id = checkout.attempt.payment_id
    event = CheckoutEvent.PAYMENT_CANCEL_ASKED
    return advance(transaction, checkout, after, event, now_ms, reference=payment_id, reason=reason)


def write(
    transaction: Transaction,
    call: Call,
    checkout_id: str,
    kind: Kind,
    message: Message,
    *,
    pay_code_shown: bool = False,
    line_numbers: Sequence[int] = (),
) -> JournalEntry:
    """Stores a request before it is sent (rule 3), claimed by this process: it alone may have a pay code for it."""
    entry = JournalEntry(
        request_id=call.request_id,
        checkout_id=checkout_id,
        kind=kind,
        request=message.SerializeToString(),
        pay_code_shown=pay_code_shown,
        line_numbers=line_numbers,
        state=EntryState.PENDING,
        reason="",
        refusal=b"",
        trace_id=trace_id.get(),
        claimed_by=call.replica,
        claimed_until_ms=call.now_ms + CLAIM_MS,
        created_at_ms=call.now_ms,
    )
    journal_store.insert_entry(transaction, entry)
    return entry


def _basket(transaction: Transaction, checkout_id: str, basket_version: int, event: CheckoutEvent) -> Checkout:
    """The checkout, if the event may happen to it and its basket is as the caller read it."""
    checkout = get_checkout(transaction, checkout_id)
    require_legal(checkout, event)
    if checkout.basket_version != basket_version:
        raise Reason.BASKET_VERSION_MISMATCH(
            checkout_id=checkout_id, version=checkout.basket_version, wanted=basket_version
        )
    return checkout


def _change_lines(transaction: Transaction, call: Call, checkout: Checkout, lines: Sequence[Line]) -> Checkout | Asked:
    """A basket changes here and now; a pending transaction only when the order service says so."""
    items = items_of(lines)
    total = pricing.checked_totals(items, prices_include_tax=checkout.prices_include_tax)
    if checkout.state is CheckoutState.BASKET:
        after = replace(
            checkout,
            lines=lines,
            amount=Money(checkout.amount.currency, total.amount_minor),
            last_line_number=max(checkout.last_line_number, *(line.number for line in lines), 0),
            basket_version=checkout.basket_version + 1,
        )
        return advance(transaction, checkout, after, CheckoutEvent.CHANGED, call.now_ms)
    _require_lines(checkout, lines)
    message = outward.replace_order_lines(call.request_id, checkout, items)
    numbers = [line.number for line in lines]
    return _ask(transaction, call, checkout, Kind.REPLACE_ORDER_LINES, message, line_numbers=numbers)


def _require_lines(checkout: Checkout, lines: Sequence[Line]) -> None:
    """Refuses what the order service would refuse."""
    if not lines:
        raise Reason.CHECKOUT_EMPTY(checkout_id=checkout.checkout_id)


def _ask(
    transaction: Transaction,
    call: Call,
    checkout: Checkout,
    kind: Kind,
    message: Message,
    line_numbers: Sequence[int] = (),
) -> Asked:
    """Writes down what the order service is to do; the checkout is busy until it has answered."""
    size = message.ByteSize()
    if size > MESSAGE_BYTES_MAX:  # it would never be answered
        raise Reason.CHECKOUT_TOO_LARGE(checkout_id=checkout.checkout_id, bytes=size, bytes_max=MESSAGE_BYTES_MAX)
    entry = write(transaction, call, checkout.checkout_id, kind, message, line_numbers=line_numbers)
    busy = replace(checkout, unanswered=call.request_id, updated_at_ms=call.now_ms)
    store.change_checkout(transaction, checkout, busy)
    return Asked(entry, busy)


def _filled(origin: Origin, usual: Origin) -> Origin:
    """An origin with what it lacks from another."""
    return Origin(origin.terminal_id, origin.lane or usual.lane, origin.cashier_id or usual.cashier_id)
