"""Payments: one function for each lettered step and RPC, each one transaction.

Each takes the payment as it finds it and moves it by compare-and-set; what comes
twice or late finds another state and changes nothing. The rules that are numbered
here are explained in docs/protocol.md.

What a function changes it takes in one order: phones, identities, wallets, stores, payments, accounts; payments
of one order by their ids, and wallets of several payers likewise. So no two that run at once, on PostgreSQL, wait for
each other.
"""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from thirdparty_server.errors import (
    IDENTITY_NOT_FOUND,
    INSUFFICIENT_FUNDS,
    PAYMENT_CANCELED,
    STORE_SUSPENDED,
    SUPERSEDED,
    WALLET_NOT_FOUND,
    Reason,
)
from thirdparty_server.ledger import accounts, entries
from thirdparty_server.ledger.model import AccountRef, Purpose, store_sales, wallet
from thirdparty_server.payers import queries as payer_queries
from thirdparty_server.payments import queries
from thirdparty_server.payments.lifecycle import PAYMENT, PaymentEvent, PaymentState
from thirdparty_server.payments.model import DAY_MS, FoundPayer, HistoryEntry, Lock, Payment, Timing
from thirdparty_server.stores import queries as store_queries
from thirdparty_server.stores.model import StoreState
from tillmesh.auth.callers import Role, acting_role, acting_store, actor, require_payer, require_store
from tillmesh.origin import Origin
from tillmesh.payer import Payer
from tillmesh.runtime.money import Money
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.history import NO_HISTORY
from tillmesh.storage.statements import Transaction

E = PaymentEvent
log = structlog.get_logger()


def create_payment(
    transaction: Transaction,
    *,
    payment_id: str,
    order_id: str,
    order_version: int,
    payer: Payer,
    found: FoundPayer,
    amount: Money,
    origin: Origin,
    now_ms: int,
) -> Payment:
    """Step A: records the attempt before anything is asked of the order; `payer` is what the order says.

    Only a pay code declines it here. Who cannot pay is declined in step C.
    """
    identity, reason = found.identity, found.reason
    known_to_store = found.by_code or payer.identity_id is None
    confirm = not reason and _needs_yes(transaction, found, amount, now_ms)
    payment = Payment(
        payment_id=payment_id,
        order_id=order_id,
        order_version=order_version,
        payer=payer,
        by_code=found.by_code,
        identity_id=identity.identity_id if identity else None,
        payer_display_name=identity.display_name if identity and known_to_store else "",
        store_id=acting_store() or "",
        origin=origin,
        amount=amount,
        confirm=confirm,
        state=PAYMENT.initial,
        reason="",
        epoch=0,
        hold_id=None,
        confirm_deadline_ms=0,
        refunded_minor=0,
        event_count=1,
        history_hash=NO_HISTORY,
        trace_id=trace_id.get(),
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    payment = _record(transaction, None, payment, "CREATED")
    return _advance(transaction, payment, E.DECLINED, now_ms, reason=reason) if reason else payment


def get_payment(transaction: Transaction, payment_id: str) -> Payment:
    """The payment as it is now."""
    return _allowed(payment_id, queries.find_payment(transaction, payment_id))


def take_payment(transaction: Transaction, payment_id: str) -> Payment:
    """The payment as it is now, and nobody else changes it meanwhile."""
    return _allowed(payment_id, queries.take_payment(transaction, payment_id))


def record_lock(
    transaction: Transaction, *, payment_id: str, lock: Lock, asked_at_ms: int, timing: Timing, now_ms: int
) -> Payment:
    """Step C: the order is locked; hold the money, or wait for the payer.

    Rule 9: an order grants its epochs one after the other, and each ends the lock before it. So what has a smaller
    epoch than another payment of its order can no longer pay, and must hold nothing, whichever of the two answers
    arrives first: a larger epoch ends the payments with smaller ones, and a smaller one that comes late ends its own.

    Who cannot pay is declined here, with the order locked: whoever names identities with orders that there are not,
    or of another store, gets the order's reason, and learns nothing of the identities.
    """
    unfinished = queries.take_unfinished(transaction, payment_id)
    payment = next((each for each in unfinished if each.payment_id == payment_id), None)
    if payment is None or payment.state is not PaymentState.PENDING:
        return get_payment(transaction, payment_id)
    locked = replace(payment, epoch=lock.epoch, store_id=lock.store_id)
    queries.touch(transaction, [each for each in unfinished if each is not payment])
    _supersede(transaction, unfinished, locked, now_ms)
    if queries.has_larger_epoch(transaction, payment.order_id, lock.epoch):
        return _end(transaction, locked, E.SUPERSEDED, SUPERSEDED, now_ms)
    shop = store_queries.find_store(transaction, lock.store_id)
    if shop and shop.state is StoreState.SUSPENDED:
        return _advance(transaction, locked, E.DECLINED, now_ms, reason=STORE_SUSPENDED)
    if reason := _why_nobody_pays(transaction, payment):
        return _advance(transaction, locked, E.DECLINED, now_ms, reason=reason)
    if payment.confirm:
        deadline_ms = asked_at_ms + timing.window_ms(lock.remaining_ms)
        waiting = replace(locked, confirm_deadline_ms=deadline_ms)
        return _advance(transaction, waiting, E.LOCKED_FOR_PAYER, now_ms)
    return _hold_funds(transaction, locked, now_ms)


def waiting_payment(transaction: Transaction, *, payment_id: str, store_id: str, amount: Money, now_ms: int) -> Payment:
    """The payment, if a yes to exactly this shop and amount would be in time."""
    return _waiting(get_payment(transaction, payment_id), store_id, amount, now_ms)


def confirm_payment(transaction: Transaction, *, payment_id: str, store_id: str, amount: Money, now_ms: int) -> Payment:
    """The payer's yes: holds the money."""
    payment = _waiting(take_payment(transaction, payment_id), store_id, amount, now_ms)
    return _hold_funds(transaction, payment, now_ms)


def give_up(transaction: Transaction, *, payment_id: str, event: PaymentEvent, reason: str, now_ms: int) -> Payment:
    """Cancels or expires an attempt whose money is not held; final only once the order acknowledges (rule 8)."""
    payment = take_payment(transaction, payment_id)
    if PAYMENT[payment.state, event].target is None:
        return payment
    return _advance(transaction, payment, event, now_ms, reason=reason)


def cancel_payment(transaction: Transaction, *, payment_id: str, now_ms: int) -> Payment:
    """Ends a payment that is not AUTHORIZED. Only the order service ends an AUTHORIZED one (rule 5)."""
    return give_up(transaction, payment_id=payment_id, event=E.CANCELED, reason=PAYMENT_CANCELED, now_ms=now_ms)


def capture(transaction: Transaction, *, payment_id: str, now_ms: int) -> Payment:
    """Step E after a yes: posts the hold.

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
    entries.post(transaction, payment.hold_id, _payer_account(payment), _store_account(payment), now_ms)
    return _advance(transaction, payment, E.ORDER_PAID, now_ms)


def release(transaction: Transaction, *, payment_id: str, reason: str, now_ms: int) -> Payment:
    """Step E after a no, and the end of every attempt given up: nothing was taken."""
    payment = take_payment(transaction, payment_id)
    if PAYMENT[payment.state, E.ORDER_RELEASED].target is None:
        return payment
    return _end(transaction, payment, E.ORDER_RELEASED, payment.reason or reason, now_ms)


def give_back(transaction: Transaction, payment: Payment, *, refund_id: str, amount: Money, now_ms: int) -> None:
    """Gives back part of a captured payment; the caller has taken it and checked that so much is left of it."""
    if amount.minor:
        payer, shop = _payer_account(payment), _store_account(payment)
        entries.transfer(transaction, shop, payer, amount, Purpose.REFUND, refund_id, now_ms)
    refunded = replace(payment, refunded_minor=payment.refunded_minor + amount.minor)
    _advance(transaction, refunded, E.REFUNDED, now_ms, refund_id=refund_id, amount=amount)


def _needs_yes(transaction: Transaction, found: FoundPayer, amount: Money, now_ms: int) -> bool:
    """True if the payer has to say yes once the order is locked; counts the payment if not.

    Payers who ask for it themselves have said it. A store has it by a pay code, within the limits:
    to know somebody's id is no consent, and asks for the same lease whether or not somebody has it.
    """
    role = acting_role()
    if role is Role.PHONE:
        return False
    if found.must_confirm or (role is Role.TERMINAL and not found.by_code):
        return True
    who = found.identity
    own = payer_queries.find_wallet(transaction, who.identity_id, amount.currency) if who else None
    if own is None or own.needs_confirmation(amount):
        return True
    return not payer_queries.count_unconfirmed(transaction, own, now_ms // DAY_MS)


def _why_nobody_pays(transaction: Transaction, payment: Payment) -> str:
    """The reason why there is no wallet to pay from; empty if there is one."""
    if payment.identity_id is None:
        return IDENTITY_NOT_FOUND
    own = payer_queries.find_wallet(transaction, payment.identity_id, payment.amount.currency)
    return "" if own else WALLET_NOT_FOUND


def _allowed(payment_id: str, payment: Payment | None) -> Payment:
    require_store(payment.store_id if payment else None)
    require_payer(payment.identity_id if payment else None)
    if payment is None:
        raise Reason.PAYMENT_NOT_FOUND(payment_id=payment_id)
    return payment


def _waiting(payment: Payment, store_id: str, amount: Money, now_ms: int) -> Payment:
    payment_id = payment.payment_id
    if payment.state is not PaymentState.AWAITING_PAYER or now_ms >= payment.confirm_deadline_ms:
        raise Reason.PAYMENT_NOT_WAITING(payment_id=payment_id, state=payment.state)
    if (store_id, amount) != (payment.store_id, payment.amount):
        raise Reason.CONSENT_MISMATCH(payment_id=payment_id, amount=payment.amount, store_id=payment.store_id)
    return payment


def _hold_funds(transaction: Transaction, payment: Payment, now_ms: int) -> Payment:
    payer, shop = _payer_account(payment), _store_account(payment)
    accounts.open_account(transaction, shop)
    try:
        hold_id = entries.hold(transaction, payer, shop, payment.amount, Purpose.PAYMENT, payment.payment_id, now_ms)
    except accounts.Overdrawn:
        return _advance(transaction, payment, E.DECLINED, now_ms, reason=INSUFFICIENT_FUNDS)
    return _advance(transaction, replace(payment, hold_id=hold_id), E.FUNDS_HELD, now_ms)


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
        entries.void(transaction, payment.hold_id, _payer_account(payment), now_ms)
    return _advance(transaction, payment, event, now_ms, reason=reason)


def _advance(
    transaction: Transaction,
    payment: Payment,
    event: PaymentEvent,
    now_ms: int,
    *,
    reason: str = "",
    refund_id: str = "",
    amount: Money | None = None,
) -> Payment:
    """Moves a payment along its transition table and writes its history, in one.

    `payment` has the state and history number that were read, and the other values as they shall be.
    """
    target = PAYMENT[payment.state, event].target
    if target is None:
        raise ValueError(f"payment {payment.payment_id}: {event} is not legal in {payment.state}")
    moved = replace(payment, state=target, reason=reason, event_count=payment.event_count + 1, updated_at_ms=now_ms)
    return _record(transaction, payment, moved, event, refund_id=refund_id, amount=amount)


def _record(
    transaction: Transaction,
    before: Payment | None,
    after: Payment,
    event: str,
    refund_id: str = "",
    amount: Money | None = None,
) -> Payment:
    """Writes the payment and the history row that says why, chained to the row before."""
    entry = HistoryEntry(
        payment_id=after.payment_id,
        number=after.event_count,
        event=event,
        from_state=before.state if before else None,
        to_state=after.state,
        epoch=after.epoch,
        reason=after.reason,
        refund_id=refund_id,
        amount=amount or after.amount,
        actor=actor(),
        trace_id=trace_id.get(),
        at_ms=after.updated_at_ms,
    )
    history_hash, row = queries.next_history_row(before or after, entry)
    recorded = replace(after, history_hash=history_hash)
    if before:
        queries.change_payment(transaction, before, recorded)
    else:
        queries.insert_payment(transaction, recorded)
    queries.insert_history(transaction, row)
    return recorded


def _payer_account(payment: Payment) -> AccountRef:
    assert payment.identity_id is not None, "what nobody pays is declined"
    return wallet(payment.identity_id, payment.amount.currency)


def _store_account(payment: Payment) -> AccountRef:
    return store_sales(payment.store_id, payment.amount.currency)
