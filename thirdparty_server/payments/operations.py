"""Payments: one function for each lettered step and RPC, each one transaction.

Each takes the payment as it finds it and moves it by compare-and-set; what comes
twice or late finds another state and changes nothing. The rules that are numbered
here are explained in docs/protocol.md.

What a function changes it takes in one order: phones, identities, wallets, stores, payments, accounts, presentations;
payments of one order by their ids, and wallets of several payers likewise. So no two that run at once, on PostgreSQL,
wait for each other. Those that change a wallet or an account take turns: what they decide rests on the payment that
they have taken, on conditions of UPDATEs and on unique indexes, and on nothing that was read before.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from thirdparty_server.claims.queries import delete_presentation
from thirdparty_server.errors import INSUFFICIENT_FUNDS, SUPERSEDED, VOIDED_BY_OPERATOR, Reason
from thirdparty_server.ledger import accounts, entries
from thirdparty_server.ledger.model import ACCOUNTS, AccountRef, Purpose, Transfer, store_sales, wallet
from thirdparty_server.payers import queries as payer_queries
from thirdparty_server.payers.model import WALLETS, PinTry
from thirdparty_server.payers.pin_counting import require_same_pin
from thirdparty_server.payments import queries
from thirdparty_server.payments.lifecycle import PAYMENT, PaymentEvent, PaymentState
from thirdparty_server.payments.model import Consent, FoundPayer, Lock, Payment
from thirdparty_server.stores import queries as store_queries
from thirdparty_server.stores.model import StoreState
from tillmesh.auth.callers import Role, acting_role, acting_store, require_payer, require_store
from tillmesh.payer import reference
from tillmesh.runtime.clock import DAY_MS
from tillmesh.runtime.errors import found
from tillmesh.runtime.money import Money
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.batches import takes_turns
from tillmesh.storage.statements import Transaction

E = PaymentEvent
log = structlog.get_logger()


@takes_turns(WALLETS)
def create_payment(transaction: Transaction, asked: Payment, payer: FoundPayer) -> Payment:
    """Step A: records the attempt before anything is asked of the order; its payer is what the order says.

    Whoever has claimed an order pays under its reference. Only a pay code declines a payment here. Who cannot pay is
    declined in step C.
    """
    identity, now_ms = payer.identity, asked.created_at_ms
    known_to_store = payer.by_code or asked.payer.identity_id is None
    payment = replace(
        asked,
        payer=reference(payer.claimed_reference) if payer.claimed_reference else asked.payer,
        by_code=payer.by_code,
        identity_id=identity.identity_id if identity else None,
        payer_display_name=identity.display_name if identity and known_to_store else "",
        store_id=acting_store() or "",
        trace_id=trace_id.get(),
        confirm=not payer.reason and _needs_yes(transaction, payer, asked.amount, now_ms),
    )
    payment = queries.HISTORY.begin(transaction, payment, "CREATED")
    if payer.reason:
        return _advance(transaction, payment, payment, E.DECLINED, now_ms, payer.reason)
    return payment


def get_payment(transaction: Transaction, payment_id: str) -> Payment:
    """The payment as it is now."""
    return _allowed(payment_id, queries.PAYMENTS.find(transaction, payment_id))


def take_payment(transaction: Transaction, payment_id: str) -> Payment:
    """The payment as it is now, and nobody else changes it meanwhile."""
    return _allowed(payment_id, queries.take_payment(transaction, payment_id))


@takes_turns(ACCOUNTS)
def record_lock(transaction: Transaction, payment_id: str, lock: Lock, now_ms: int) -> Payment:
    """Step C: the order is locked; hold the money, or wait for the payer.

    Rule 9: an order grants its epochs one after the other, and each ends the lock before it. So what has a smaller
    epoch than another payment of its order can no longer pay, and must hold nothing, whichever of the two answers
    arrives first: a larger epoch ends the payments with smaller ones, and a smaller one that comes late ends its own.
    Two answers at once: a payment is recorded before its epoch is granted, so the answer with the larger one finds the
    payment with the smaller one, and both take that row. Whoever comes second sees what the first has written.

    Who cannot pay is declined here, with the order locked: whoever names identities with orders that there are not,
    or of another store, gets the order's reason, and learns nothing of the identities.
    """
    unfinished = queries.take_unfinished(transaction, payment_id)
    payment = next((each for each in unfinished if each.payment_id == payment_id), None)
    if payment is None or payment.state is not PaymentState.PENDING:
        return get_payment(transaction, payment_id)
    locked = replace(payment, epoch=lock.epoch, store_id=lock.store_id)
    _supersede(transaction, unfinished, locked, now_ms)
    if queries.has_larger_epoch(transaction, payment.order_id, lock.epoch):
        return _advance(transaction, payment, locked, E.SUPERSEDED, now_ms, SUPERSEDED)
    if reason := _why_declined(transaction, locked):
        return _advance(transaction, payment, locked, E.DECLINED, now_ms, reason)
    if payment.confirm:
        waiting = replace(locked, confirm_deadline_ms=lock.confirm_until_ms)
        return _advance(transaction, payment, waiting, E.LOCKED_FOR_PAYER, now_ms)
    return _hold_funds(transaction, payment, locked, now_ms)


def waiting_payment(transaction: Transaction, consent: Consent) -> Payment:
    """The payment, if its payer's yes would be in time."""
    return _waiting(get_payment(transaction, consent.payment_id), consent)


@takes_turns(ACCOUNTS)
def confirm_payment(transaction: Transaction, consent: Consent, pin_try: PinTry | None = None) -> Payment:
    """The payer's yes, by a PIN where there is one: holds the money."""
    if pin_try:
        require_same_pin(transaction, pin_try)
    payment = _waiting(take_payment(transaction, consent.payment_id), consent)
    return _hold_funds(transaction, payment, payment, consent.at_ms)


def reject_pin(transaction: Transaction, payment_id: str, tries_left: int, now_ms: int) -> Payment:
    """Notes that a PIN that was keyed in for a payment was wrong, if it still waits for its payer."""
    payment = take_payment(transaction, payment_id)
    if not _waits(payment, now_ms):
        return payment
    return _advance(transaction, payment, payment, E.PIN_REJECTED, now_ms, pin_tries_left=tries_left)


def give_up(transaction: Transaction, payment_id: str, event: PaymentEvent, reason: str, now_ms: int) -> Payment:
    """Cancels or expires an attempt whose money is not held; final only once the order acknowledges (rule 8).

    Only the order service ends one whose money is held (rule 5).
    """
    payment = take_payment(transaction, payment_id)
    if not PAYMENT.is_legal(payment.state, event):
        return payment
    return _advance(transaction, payment, payment, event, now_ms, reason)


@takes_turns(ACCOUNTS)
def capture(transaction: Transaction, payment_id: str, now_ms: int) -> Payment:
    """Step E after a yes: posts the hold. What the shop presents of the order ends.

    The yes may come twice. But the order asks nobody for money that is not held: a yes to a payment without a hold
    means that an order is paid for which nobody will pay, and only people can put that right.
    """
    payment = take_payment(transaction, payment_id)
    if payment.state is not PaymentState.AUTHORIZED:
        if payment.state is not PaymentState.CAPTURED:
            log.error(
                "captured_without_hold", payment_id=payment_id, order_id=payment.order_id, state=str(payment.state)
            )
        return payment
    assert payment.hold_id is not None
    entries.post(transaction, _transfer(payment), payment.hold_id, now_ms)
    if payment.payer.identity_id is None:  # no other order is presented
        delete_presentation(transaction, payment.order_id)
    return _advance(transaction, payment, payment, E.ORDER_PAID, now_ms)


@takes_turns(ACCOUNTS)
def release(transaction: Transaction, payment_id: str, reason: str, now_ms: int) -> Payment:
    """Step E after a no, and the end of every attempt given up: nothing was taken."""
    payment = take_payment(transaction, payment_id)
    if not PAYMENT.is_legal(payment.state, E.ORDER_RELEASED):
        return payment
    return _end(transaction, payment, E.ORDER_RELEASED, payment.reason or reason, now_ms)


@takes_turns(ACCOUNTS)
def void_by_hand(transaction: Transaction, payment_id: str, disowned: bool, now_ms: int) -> Payment:
    """Gives back a hold that no verdict will ever end.

    `disowned` is the order service's word of just now that the payment is none of its own and never can be.
    """
    payment = take_payment(transaction, payment_id)
    if not (disowned and PAYMENT.is_legal(payment.state, E.VOIDED_BY_OPERATOR)):
        raise Reason.PAYMENT_NOT_VOIDABLE(payment_id=payment_id, state=payment.state)
    return _end(transaction, payment, E.VOIDED_BY_OPERATOR, VOIDED_BY_OPERATOR, now_ms)


def give_back(transaction: Transaction, payment: Payment, refund_id: str, amount: Money, now_ms: int) -> None:
    """Gives back part of a captured payment; the caller has taken it and checked that so much is left of it."""
    if amount.minor:
        paid = _transfer(payment)
        back = Transfer(paid.credit, paid.debit, amount, Purpose.REFUND, refund_id)
        entries.transfer(transaction, back, now_ms)
    refunded = replace(payment, refunded_minor=payment.refunded_minor + amount.minor)
    _advance(transaction, payment, refunded, E.REFUNDED, now_ms, refund_id=refund_id, amount=amount)


def _needs_yes(transaction: Transaction, payer: FoundPayer, amount: Money, now_ms: int) -> bool:
    """True if the payer has to say yes once the order is locked; counts the payment if not.

    Payers who ask for it themselves have said it. A store has it by a pay code, within the limits:
    to know somebody's id is no consent, and asks for the same lease whether or not somebody has it.
    """
    role = acting_role()
    if role is Role.PHONE:
        return False
    if payer.must_confirm or (role is Role.TERMINAL and not payer.by_code):
        return True
    who = payer.identity
    own = payer_queries.WALLETS.find(transaction, who.identity_id, amount.currency) if who else None
    if own is None or own.needs_confirmation(amount):
        return True
    return not payer_queries.count_unconfirmed(transaction, own, now_ms // DAY_MS)


def _why_declined(transaction: Transaction, payment: Payment) -> str:
    """The reason why there is no store to pay, or no wallet to pay from; empty if there is none."""
    shop = store_queries.STORES.find(transaction, payment.store_id)
    if shop and shop.state is StoreState.SUSPENDED:
        return Reason.STORE_SUSPENDED.name
    if payment.identity_id is None:
        return Reason.IDENTITY_NOT_FOUND.name
    own = payer_queries.WALLETS.find(transaction, payment.identity_id, payment.amount.currency)
    return "" if own else Reason.WALLET_NOT_FOUND.name


def _allowed(payment_id: str, payment: Payment | None) -> Payment:
    require_store(payment.store_id if payment else None)
    require_payer(payment.identity_id if payment else None)
    return found(payment, Reason.PAYMENT_NOT_FOUND, payment_id=payment_id)


def _waits(payment: Payment, now_ms: int) -> bool:
    return payment.state is PaymentState.AWAITING_PAYER and now_ms < payment.confirm_deadline_ms


def _waiting(payment: Payment, consent: Consent) -> Payment:
    payment_id = payment.payment_id
    if not _waits(payment, consent.at_ms):
        raise Reason.PAYMENT_NOT_WAITING(payment_id=payment_id, state=payment.state)
    if (consent.store_id, consent.amount) != (payment.store_id, payment.amount):
        raise Reason.CONSENT_MISMATCH(payment_id=payment_id, amount=payment.amount, store_id=payment.store_id)
    return payment


def _hold_funds(transaction: Transaction, before: Payment, after: Payment, now_ms: int) -> Payment:
    held = _transfer(after)
    accounts.open_account(transaction, held.credit)
    try:
        hold_id = entries.hold(transaction, held, now_ms)
    except accounts.Overdrawn:
        return _advance(transaction, before, after, E.DECLINED, now_ms, INSUFFICIENT_FUNDS)
    return _advance(transaction, before, replace(after, hold_id=hold_id), E.FUNDS_HELD, now_ms)


def _supersede(transaction: Transaction, unfinished: Sequence[Payment], locked: Payment, now_ms: int) -> None:
    """Ends the payments of an order whose epoch is below the one granted now."""
    over = [payment for payment in unfinished if 0 < payment.epoch < locked.epoch]
    if any(payment.state is PaymentState.AUTHORIZED for payment in over):  # and so more than one wallet may change
        accounts.take_accounts(transaction, [_payer_account(each) for each in (*over, locked) if each.identity_id])
    for payment in over:
        _end(transaction, payment, E.SUPERSEDED, SUPERSEDED, now_ms)


def _end(transaction: Transaction, payment: Payment, event: PaymentEvent, reason: str, now_ms: int) -> Payment:
    """Ends an attempt without taking money; gives back what it held."""
    if payment.state is PaymentState.AUTHORIZED:
        assert payment.hold_id is not None
        entries.void(transaction, _transfer(payment), payment.hold_id, now_ms)
    return _advance(transaction, payment, payment, event, now_ms, reason)


def _advance(
    transaction: Transaction,
    before: Payment,
    after: Payment,
    event: PaymentEvent,
    now_ms: int,
    reason: str = "",
    **facts: Any,
) -> Payment:
    """Moves a payment along its transition table, from what was read to what it shall be but for state and reason."""
    moved = replace(after, state=PAYMENT.target(before.state, event), reason=reason)
    return queries.HISTORY.advance(transaction, before, moved, event, now_ms, **facts)


def _payer_account(payment: Payment) -> AccountRef:
    assert payment.identity_id is not None, "what nobody pays is declined"
    return wallet(payment.identity_id, payment.amount.currency)


def _transfer(payment: Payment) -> Transfer:
    """The money of a payment on its way from the payer to the store."""
    shop = store_sales(payment.store_id, payment.amount.currency)
    return Transfer(_payer_account(payment), shop, payment.amount, Purpose.PAYMENT, payment.payment_id)
