"""Checkouts that are put aside: parked, recalled, and withdrawn where nobody recalls them.

A basket that is parked becomes an order in the same transaction, so another terminal of the store can take it up.
"""

import random
from dataclasses import replace

from store_terminal.checkouts.lifecycle import CheckoutEvent, CheckoutState
from store_terminal.checkouts.model import Call, Checkout, Parking
from store_terminal.checkouts.moves import advance, get_checkout, require_basket_version, require_legal
from store_terminal.checkouts.operations import cancel_checkout, submit_checkout
from store_terminal.checkouts.queries import overdue_parked
from store_terminal.errors import Reason
from store_terminal.outbox.model import Exchange
from tillmesh.runtime.ids import new_request_id
from tillmesh.storage.statements import Transaction


def park_checkout(
    transaction: Transaction,
    call: Call,
    *,
    checkout_id: str,
    basket_version: int,
    owner: str,
    label: str,
    parked_ms: int,
) -> Checkout | Exchange:
    """Puts a checkout aside for so long, 0 is without an end; a basket is submitted as well."""
    checkout = get_checkout(transaction, checkout_id)
    require_legal(checkout, CheckoutEvent.PARKED)
    require_basket_version(checkout, basket_version)
    until_ms = call.now_ms + parked_ms if parked_ms else 0
    parking = Parking(owner or checkout.origin.cashier_id, label, call.now_ms, until_ms)

    def mark(before: Checkout) -> Checkout:
        return advance(transaction, before, replace(before, parking=parking), CheckoutEvent.PARKED, call.now_ms)

    if checkout.state is not CheckoutState.BASKET:
        return mark(checkout)
    asked = submit_checkout(transaction, call, checkout_id=checkout_id, basket_version=basket_version)
    return replace(asked, checkout=mark(asked.of_checkout()))


def recall_checkout(transaction: Transaction, call: Call, *, checkout_id: str) -> Checkout:
    """Takes a parked checkout up again."""
    checkout = get_checkout(transaction, checkout_id)
    if checkout.parking is None:
        raise Reason.CHECKOUT_NOT_PARKED(checkout_id=checkout_id)
    require_legal(checkout, CheckoutEvent.RECALLED)
    return advance(transaction, checkout, replace(checkout, parking=None), CheckoutEvent.RECALLED, call.now_ms)


def withdraw_overdue(
    transaction: Transaction, *, replica: str, rng: random.Random, now_ms: int, at_most: int
) -> list[Checkout]:
    """Asks for the withdrawal of what is parked for too long; the outbox drives that on."""
    overdue = overdue_parked(transaction, now_ms, at_most)
    for checkout in overdue:
        advance(transaction, checkout, checkout, CheckoutEvent.EXPIRED, now_ms)
        call = Call(new_request_id(rng), replica, now_ms)
        cancel_checkout(transaction, call, checkout_id=checkout.checkout_id)
    return overdue
