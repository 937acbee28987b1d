"""Money given back: what is asked of the payment server, and what came of it, each one transaction."""

from collections.abc import Sequence
from dataclasses import replace

from store_terminal.checkouts import pricing
from store_terminal.checkouts.lifecycle import CheckoutEvent
from store_terminal.checkouts.model import Call
from store_terminal.checkouts.moves import advance, get_checkout, require_legal
from store_terminal.errors import Reason
from store_terminal.outbox import requests
from store_terminal.outbox.pay_codes import PayCodes
from store_terminal.outbox.queries import ENTRIES
from store_terminal.refunds.model import NewRefund, ReturnedGoods, ReturnedLine, TillRefund
from store_terminal.refunds.queries import REFUNDS
from tillmesh.auth.callers import actor
from tillmesh.payer import Payer
from tillmesh.runtime.money import Money
from tillmesh.runtime.secret import Secret
from tillmesh.storage.statements import Transaction


def refund_checkout(
    transaction: Transaction,
    call: Call,
    *,
    new: NewRefund,
    checkout_id: str,
    amount: Money | None,
    lines: Sequence[ReturnedLine],
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
    refund = _asked_for(call, new, checkout.payer, currency, checkout_id)
    ENTRIES.insert(transaction, requests.refund_payment(call, refund, checkout.paid_by, amount, came_back))
    REFUNDS.insert(transaction, refund)
    event, known = CheckoutEvent.REFUND_STARTED, amount or Money(currency, 0)
    advance(transaction, checkout, checkout, event, call.now_ms, amount=known, reference=refund.refund_id)
    return refund


def return_goods(
    transaction: Transaction, call: Call, *, new: NewRefund, goods: ReturnedGoods, pay_codes: PayCodes
) -> TillRefund:
    """Starts to give money back for goods whose sale this till does not have, to an identity or by pay code."""
    code = goods.payee if isinstance(goods.payee, Secret) else None
    payer = None if isinstance(goods.payee, Secret) else goods.payee
    refund = replace(_asked_for(call, new, payer, goods.currency), items=goods.items, taxes=goods.total.taxes)
    if code:  # before the entry is there to be taken up
        pay_codes.keep(call.request_id, code)
    amount = Money(goods.currency, goods.total.amount_minor)
    ENTRIES.insert(transaction, requests.create_unreferenced_refund(call, refund, goods.store_id, amount))
    REFUNDS.insert(transaction, refund)
    return refund


def _asked_for(call: Call, new: NewRefund, payer: Payer | None, currency: str, checkout_id: str = "") -> TillRefund:
    """A refund that the payment server has not answered: nobody knows yet how much it is, and of which lines."""
    return TillRefund(
        refund_id=call.request_id,
        checkout_id=checkout_id,
        payer=payer,
        currency=currency,
        note=new.note,
        origin=new.origin,
        actor=actor(),
        created_at_ms=call.now_ms,
    )
