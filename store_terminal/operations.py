"""What the till's own software asks: one function for each RPC, each one transaction.

What another server has to do is only written down here, in the journal; the answers are
taken in by `outcomes`. The rules that are numbered are explained in docs/protocol.md.
"""

from collections.abc import Sequence
from dataclasses import replace

from google.protobuf.message import Message

from store_terminal import outward, store
from store_terminal.errors import Reason
from store_terminal.lifecycle import CHECKOUT, CheckoutEvent, CheckoutState
from store_terminal.model import (
    LINES_MAX,
    Asked,
    Attempt,
    Checkout,
    EntryState,
    JournalEntry,
    Kind,
    Line,
    LineItem,
    NewLine,
    TillRefund,
    items_of,
    total_minor,
)
from store_terminal.transitions import advance, begin, refusal, require_legal
from tillmesh.runtime.errors import FieldViolation, invalid
from tillmesh.runtime.history import NO_HISTORY
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money
from tillmesh.runtime.server import MESSAGE_BYTES_MAX
from tillmesh.runtime.statements import Connection
from tillmesh.runtime.telemetry import trace_id


def create_checkout(
    connection: Connection,
    *,
    checkout_id: str,
    store_id: str,
    payer_id: str,
    currency: str,
    lines: Sequence[NewLine],
    now_ms: int,
) -> Checkout:
    """Opens a basket."""
    numbered = _numbered(connection, lines, currency, last_number=0)
    checkout = Checkout(
        checkout_id=checkout_id,
        store_id=store_id,
        payer_id=payer_id,
        payer_display_name="",
        lines=numbered,
        last_line_number=len(numbered),
        amount=_amount(numbered, currency),
        state=CHECKOUT.initial,
        order_version=0,
        unanswered="",
        attempt=None,
        paid_by="",
        paid_at_ms=0,
        refunded_minor=0,
        event_count=1,
        history_hash=NO_HISTORY,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    return begin(connection, checkout, "OPENED")


def get_checkout(connection: Connection, checkout_id: str) -> Checkout:
    """The checkout as it is now."""
    checkout = store.find_checkout(connection, checkout_id)
    if checkout is None:
        raise Reason.CHECKOUT_NOT_FOUND(checkout_id=checkout_id)
    return checkout


def find_asked(connection: Connection, request_id: str) -> Asked | None:
    """What another server was asked under that id, if it was asked something."""
    entry = store.find_entry(connection, request_id)
    if entry is None:
        return None
    return Asked(entry, store.find_checkout(connection, entry.checkout_id) if entry.checkout_id else None)


def get_asked(connection: Connection, request_id: str) -> Asked:
    """The same of an id under which something was asked."""
    asked = find_asked(connection, request_id)
    assert asked is not None, "nobody waits for what was not asked"
    return asked


def add_lines(
    connection: Connection, *, request_id: str, checkout_id: str, lines: Sequence[NewLine], now_ms: int
) -> Checkout | Asked:
    """Adds lines at the end."""
    checkout = get_checkout(connection, checkout_id)
    require_legal(checkout, CheckoutEvent.CHANGED)
    added = _numbered(connection, lines, checkout.amount.currency, checkout.last_line_number)
    return _change_lines(connection, request_id, checkout, (*checkout.lines, *added), now_ms)


def update_line(
    connection: Connection,
    *,
    request_id: str,
    checkout_id: str,
    line_number: int,
    quantity: int | None,
    unit_price_minor: int | None,
    now_ms: int,
) -> Checkout | Asked:
    """Changes quantity or price of a line."""
    checkout = get_checkout(connection, checkout_id)
    require_legal(checkout, CheckoutEvent.CHANGED)
    item = _line(checkout, line_number).item
    changed = replace(
        item,
        quantity=item.quantity if quantity is None else quantity,
        unit_price_minor=item.unit_price_minor if unit_price_minor is None else unit_price_minor,
    )
    lines = tuple(replace(line, item=changed) if line.number == line_number else line for line in checkout.lines)
    return _change_lines(connection, request_id, checkout, lines, now_ms)


def remove_line(
    connection: Connection, *, request_id: str, checkout_id: str, line_number: int, now_ms: int
) -> Checkout | Asked:
    """Removes a line; its number is not used again."""
    checkout = get_checkout(connection, checkout_id)
    require_legal(checkout, CheckoutEvent.CHANGED)
    removed = _line(checkout, line_number)
    lines = tuple(line for line in checkout.lines if line is not removed)
    return _change_lines(connection, request_id, checkout, lines, now_ms)


def submit_checkout(connection: Connection, *, request_id: str, checkout_id: str, now_ms: int) -> Asked:
    """Asks for the order."""
    checkout = get_checkout(connection, checkout_id)
    require_legal(checkout, CheckoutEvent.SUBMITTED)
    _require_order(checkout, checkout.lines)
    message = outward.create_order(request_id, checkout)
    return _ask(connection, checkout, Kind.CREATE_ORDER, request_id, message, now_ms)


def cancel_checkout(connection: Connection, *, request_id: str, checkout_id: str, now_ms: int) -> Checkout | Asked:
    """Abandons a basket, or asks for the order's withdrawal."""
    checkout = get_checkout(connection, checkout_id)
    require_legal(checkout, CheckoutEvent.CANCELED)
    if checkout.state is CheckoutState.BASKET:
        return advance(connection, checkout, checkout, CheckoutEvent.CANCELED, now_ms)
    message = outward.cancel_order(request_id, checkout)
    return _ask(connection, checkout, Kind.CANCEL_ORDER, request_id, message, now_ms)


def pay_checkout(
    connection: Connection,
    *,
    payment_id: str,
    checkout_id: str,
    order_version: int,
    amount: Money,
    wait_ms: int,
    now_ms: int,
) -> Asked:
    """Starts a payment of what the shopper was shown (rules 3 and 4)."""
    checkout = get_checkout(connection, checkout_id)
    require_legal(checkout, CheckoutEvent.PAYMENT_STARTED)
    if checkout.order_version != order_version:
        raise Reason.VERSION_MISMATCH(checkout_id=checkout_id, version=checkout.order_version, wanted=order_version)
    if checkout.amount != amount:
        raise Reason.AMOUNT_MISMATCH(checkout_id=checkout_id, amount=checkout.amount, wanted=amount)
    message = outward.create_payment(payment_id, checkout)
    entry = _write(connection, checkout_id, Kind.PAY, payment_id, message, now_ms)
    attempt = Attempt(payment_id, "", now_ms + wait_ms, canceling=False)
    after = replace(checkout, unanswered=payment_id, attempt=attempt, payer_display_name="")
    return Asked(
        entry, advance(connection, checkout, after, CheckoutEvent.PAYMENT_STARTED, now_ms, reference=payment_id)
    )


def give_up_payment(connection: Connection, *, checkout_id: str, reason: str, now_ms: int) -> Checkout:
    """Gives the payment under way up; one that has ended already is told as it ended."""
    checkout = get_checkout(connection, checkout_id)
    if checkout.attempt is None:
        raise refusal(checkout, CheckoutEvent.PAYMENT_CANCEL_ASKED)
    if checkout.state is not CheckoutState.PAYING or checkout.attempt.canceling:
        return checkout
    after = replace(checkout, attempt=replace(checkout.attempt, reason=reason, canceling=True))
    payment_id = checkout.attempt.payment_id
    event = CheckoutEvent.PAYMENT_CANCEL_ASKED
    return advance(connection, checkout, after, event, now_ms, reference=payment_id, reason=reason)


def refund_checkout(
    connection: Connection,
    *,
    refund_id: str,
    checkout_id: str,
    amount: Money | None,
    items: Sequence[LineItem],
    note: str,
    now_ms: int,
) -> TillRefund:
    """Starts to give money back for a paid checkout; without an amount, all that is left."""
    checkout = get_checkout(connection, checkout_id)
    require_legal(checkout, CheckoutEvent.REFUND_STARTED)
    currency = checkout.amount.currency
    if amount and amount.currency != currency:
        raise Reason.CURRENCY_MISMATCH(what="The refund", currency=amount.currency, wanted=currency)
    refund = TillRefund(
        refund_id=refund_id,
        checkout_id=checkout_id,
        payer_id=checkout.payer_id,
        items=items,
        currency=currency,
        amount_minor=amount.minor if amount else None,
        note=note,
        state=EntryState.PENDING,
        reason="",
        created_at_ms=now_ms,
    )
    _start_refund(connection, refund, checkout.store_id, payment_id=checkout.paid_by)
    event, known = CheckoutEvent.REFUND_STARTED, amount or Money(currency, 0)
    advance(connection, checkout, checkout, event, now_ms, amount=known, reference=refund_id, reason=note)
    return refund


def return_goods(
    connection: Connection,
    *,
    refund_id: str,
    store_id: str,
    payer_id: str,
    amount: Money,
    items: Sequence[LineItem],
    note: str,
    now_ms: int,
) -> TillRefund:
    """Starts to give money back for goods whose sale this till does not have."""
    refund = TillRefund(
        refund_id=refund_id,
        checkout_id="",
        payer_id=payer_id,
        items=items,
        currency=amount.currency,
        amount_minor=amount.minor,
        note=note,
        state=EntryState.PENDING,
        reason="",
        created_at_ms=now_ms,
    )
    _start_refund(connection, refund, store_id, payment_id="")
    return refund


def get_refund(connection: Connection, refund_id: str) -> TillRefund:
    """The refund as it is now."""
    refund = store.find_refund(connection, refund_id)
    if refund is None:
        raise Reason.REFUND_NOT_FOUND(refund_id=refund_id)
    return refund


def _start_refund(connection: Connection, refund: TillRefund, store_id: str, payment_id: str) -> None:
    message = outward.create_refund(
        refund.refund_id,
        payment_id=payment_id,
        store_id=store_id,
        payer_id=refund.payer_id,
        amount=None if refund.amount_minor is None else Money(refund.currency, refund.amount_minor),
        note=refund.note,
    )
    _write(connection, refund.checkout_id, Kind.REFUND, refund.refund_id, message, refund.created_at_ms)
    store.insert_refund(connection, refund)


def _numbered(connection: Connection, lines: Sequence[NewLine], currency: str, last_number: int) -> tuple[Line, ...]:
    """New lines with their numbers, and with title and price from the catalogue where they lack them."""
    return tuple(
        Line(last_number + position, _priced(connection, line, currency)) for position, line in enumerate(lines, 1)
    )


def _priced(connection: Connection, line: NewLine, currency: str) -> LineItem:
    if line.unit_price_minor is not None and line.title is not None:
        return LineItem(line.sku, line.title, line.quantity, line.unit_price_minor)
    known = store.find_item(connection, line.sku)
    title = line.title if line.title is not None else known.title if known else ""
    if line.unit_price_minor is not None:
        return LineItem(line.sku, title, line.quantity, line.unit_price_minor)
    if known is None:
        raise Reason.ITEM_NOT_FOUND(sku=line.sku)
    price = known.unit_price
    if price.currency != currency:
        raise Reason.CURRENCY_MISMATCH(
            what=f"The catalogue's price of {line.sku}", currency=price.currency, wanted=currency
        )
    return LineItem(line.sku, title, line.quantity, price.minor)


def _line(checkout: Checkout, number: int) -> Line:
    for line in checkout.lines:
        if line.number == number:
            return line
    raise Reason.LINE_NOT_FOUND(checkout_id=checkout.checkout_id, line_number=number)


def _amount(lines: Sequence[Line], currency: str) -> Money:
    """What lines come to; refuses more than a basket may hold."""
    total = total_minor(items_of(lines))
    violations = []
    if len(lines) > LINES_MAX:
        violations.append(FieldViolation("lines", f"must be at most {LINES_MAX} in a checkout, would be {len(lines)}"))
    if abs(total) > MINOR_UNITS_MAX:
        violations.append(FieldViolation("lines", f"must sum to ±{MINOR_UNITS_MAX} at most, would sum to {total}"))
    if violations:
        raise invalid(violations)
    return Money(currency, total)


def _change_lines(
    connection: Connection, request_id: str, checkout: Checkout, lines: Sequence[Line], now_ms: int
) -> Checkout | Asked:
    """A basket changes here and now; a pending transaction only when the order service says so."""
    amount = _amount(lines, checkout.amount.currency)
    if checkout.state is CheckoutState.BASKET:
        last_number = max(checkout.last_line_number, *(line.number for line in lines), 0)
        after = replace(checkout, lines=lines, amount=amount, last_line_number=last_number)
        return advance(connection, checkout, after, CheckoutEvent.CHANGED, now_ms)
    _require_order(checkout, lines)
    message = outward.update_order(request_id, checkout, items_of(lines))
    numbers = [line.number for line in lines]
    return _ask(connection, checkout, Kind.UPDATE_ORDER, request_id, message, now_ms, line_numbers=numbers)


def _require_order(checkout: Checkout, lines: Sequence[Line]) -> None:
    """Refuses lines that the order service would refuse."""
    amount = Money(checkout.amount.currency, total_minor(items_of(lines)))
    if not lines:
        raise Reason.CHECKOUT_EMPTY(checkout_id=checkout.checkout_id)
    if amount.minor < 0:
        raise Reason.TOTAL_NEGATIVE(checkout_id=checkout.checkout_id, amount=amount)


def _ask(
    connection: Connection,
    checkout: Checkout,
    kind: Kind,
    request_id: str,
    message: Message,
    now_ms: int,
    line_numbers: Sequence[int] = (),
) -> Asked:
    """Writes down what the order service is to do; the checkout is busy until it has answered."""
    size = message.ByteSize()
    if size > MESSAGE_BYTES_MAX:  # it would never be answered
        raise Reason.CHECKOUT_TOO_LARGE(checkout_id=checkout.checkout_id, bytes=size, bytes_max=MESSAGE_BYTES_MAX)
    entry = _write(connection, checkout.checkout_id, kind, request_id, message, now_ms, line_numbers)
    busy = replace(checkout, unanswered=request_id, updated_at_ms=now_ms)
    store.change_checkout(connection, checkout, busy)
    return Asked(entry, busy)


def _write(
    connection: Connection,
    checkout_id: str,
    kind: Kind,
    request_id: str,
    message: Message,
    now_ms: int,
    line_numbers: Sequence[int] = (),
) -> JournalEntry:
    """Stores a request before it is sent (rule 3)."""
    entry = JournalEntry(
        request_id=request_id,
        checkout_id=checkout_id,
        kind=kind,
        request=message.SerializeToString(),
        line_numbers=line_numbers,
        state=EntryState.PENDING,
        reason="",
        refusal=b"",
        trace_id=trace_id.get(),
        created_at_ms=now_ms,
    )
    store.insert_entry(connection, entry)
    return entry
