"""A sale that is to be undone, however far it is: one transaction that writes it down; `outbox.voids` goes on."""

from dataclasses import replace

from store_terminal.checkouts.lifecycle import CheckoutEvent, CheckoutState
from store_terminal.checkouts.model import Call, Checkout
from store_terminal.checkouts.moves import advance, get_checkout, give_up_payment
from store_terminal.outbox import requests, voids
from store_terminal.outbox.model import Exchange
from store_terminal.outbox.queries import ENTRIES
from store_terminal.refunds.model import NewRefund
from tillmesh.storage.statements import Transaction


def void_checkout(transaction: Transaction, call: Call, *, new: NewRefund, checkout_id: str) -> Checkout | Exchange:
    """Writes down that a checkout is to be undone; a payment under way is given up with it."""
    checkout, refund_id = get_checkout(transaction, checkout_id), call.request_id
    if checkout.state is CheckoutState.CANCELED:
        return checkout
    entry = requests.void_checkout(call, checkout, new)
    ENTRIES.insert(transaction, entry)
    after, event = replace(checkout, void_id=refund_id), CheckoutEvent.VOID_ASKED
    checkout = advance(transaction, checkout, after, event, call.now_ms, reference=refund_id)
    if checkout.state is CheckoutState.PAYING:
        checkout = give_up_payment(transaction, checkout_id=checkout_id, reason="", now_ms=call.now_ms)
    return voids.go_on(transaction, Exchange(entry, checkout), call.now_ms)
