"""A sale in one call: checkout, order and payment are written down in one transaction.

The payment waits in the outbox until the order service has the order as it was agreed to (`outbox.sequels`).
"""

from dataclasses import dataclass, replace

from store_terminal.checkouts.model import Call, Checkout, NewCheckout, NewPayment
from store_terminal.checkouts.operations import new_basket, require_sendable
from store_terminal.checkouts.queries import CHECKOUTS, HISTORY, was_pruned
from store_terminal.errors import Reason
from store_terminal.outbox import requests
from store_terminal.outbox.model import EntryState, Exchange, OutboxEntry
from store_terminal.outbox.pay_codes import PayCodes
from store_terminal.outbox.queries import ENTRIES
from tillmesh.payer import PayerKind
from tillmesh.rpc.fields import Fields
from tillmesh.storage.requests import IdempotencyKey, use_up
from tillmesh.storage.statements import Transaction


@dataclass(frozen=True, slots=True)
class NewSale:
    """A sale in one call."""

    checkout: NewCheckout
    payment: NewPayment
    payment_id: str
    order_request_id: str
    """That of the request for the order. It is made up here: a till elsewhere may have chosen the same checkout id."""


def sell(transaction: Transaction, call: Call, *, new: NewSale, key: IdempotencyKey, pay_codes: PayCodes) -> Exchange:
    """Writes a sale down; answers with its payment, which waits for the order."""
    checkout_id, payment_id = new.checkout.checkout_id, new.payment_id
    if CHECKOUTS.find(transaction, checkout_id) or was_pruned(transaction, checkout_id):
        raise Reason.CHECKOUT_EXISTS(checkout_id=checkout_id)
    basket = new_basket(transaction, call, new.checkout)
    if basket.amount != new.payment.amount:
        raise Reason.AMOUNT_MISMATCH(checkout_id=checkout_id, amount=basket.amount, wanted=new.payment.amount)
    ordering = replace(
        requests.create_order(replace(call, request_id=new.order_request_id), basket), next_id=payment_id
    )
    paying = _payment(replace(call, request_id=payment_id), basket, new.payment)
    require_sendable(ordering)
    use_up(transaction, replace(key, request_id=payment_id), checkout_id)
    if paying.pay_code_shown and new.payment.pay_code:  # before the entry is there to be taken up
        pay_codes.keep(payment_id, new.payment.pay_code)
    for entry in (ordering, paying):
        ENTRIES.insert(transaction, entry)
    busy = replace(basket, unanswered=ordering.request_id)
    return Exchange(paying, HISTORY.begin(transaction, busy, "OPENED"), beside=ordering)


def _payment(call: Call, basket: Checkout, new: NewPayment) -> OutboxEntry:
    """The payment of the order that there will be (rule 4); where that comes to 0, its completion."""
    order = replace(basket, order_version=new.order_version)
    if new.amount.minor == 0:
        entry = requests.complete_free_order(call, order)
    else:
        anybody = basket.payer.kind is PayerKind.REFERENCE and new.pay_code is None
        with Fields() as fields:
            fields.require(not anybody, "pay_code", "must be set, or identity_id: somebody has to pay")
        entry = requests.create_payment(call, order, new)
    return replace(entry, state=EntryState.WAITING)
