"""What waits in the outbox for an order to be created: it is sent then, or never. Parts of transactions."""

from dataclasses import replace

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Checkout
from store_terminal.checkouts.moves import start_payment
from store_terminal.checkouts.queries import CHECKOUTS
from store_terminal.errors import ORDER_ALREADY_PAID, Reason
from store_terminal.outbox.model import EntryState, OutboxEntry, RequestKind
from store_terminal.outbox.queries import end_entry, end_refused, get_exchange, send_next
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.statements import Transaction


def order_created(
    transaction: Transaction, next_id: str, checkout: Checkout, *, wait_ms: int, now_ms: int
) -> tuple[OutboxEntry, Checkout]:
    """The order is there, `checkout` is how it is since: it is paid now, unless nothing is to be paid any more."""
    entry = get_exchange(transaction, next_id).entry
    if checkout.state is CheckoutState.PAID:  # whoever paid, the goods are the shopper's
        return end_entry(transaction, entry, EntryState.DONE, ORDER_ALREADY_PAID), checkout
    if checkout.state is not CheckoutState.SUBMITTED or checkout.void_id:
        return never_sent(transaction, next_id, Reason.CHECKOUT_CANCELED(checkout_id=checkout.checkout_id)), checkout
    age_ms = now_ms - entry.created_at_ms
    if age_ms > wait_ms:  # who was to pay may have left
        late = Reason.SALE_TOO_LATE(checkout_id=checkout.checkout_id, seconds=age_ms // 1000)
        return never_sent(transaction, next_id, late), checkout
    entry = send_next(transaction, entry, now_ms)
    if entry.kind is RequestKind.PAY:
        return entry, start_payment(transaction, checkout, next_id, wait_ms=wait_ms, now_ms=now_ms)
    completing = replace(checkout, unanswered=next_id, updated_at_ms=now_ms)
    CHECKOUTS.change(transaction, checkout, completing)
    return entry, completing


def never_sent(transaction: Transaction, next_id: str, refusal: Refusal) -> OutboxEntry:
    """There is no order to pay: the request ends unsent, with the reason for it."""
    return end_refused(transaction, get_exchange(transaction, next_id).entry, refusal)
