"""Queries about payments. A change of a payment is compare-and-set on its state and history number."""

from collections.abc import Sequence

from sqlalchemy import and_, bindparam, or_, select, update

from thirdparty_server.payments.lifecycle import PaymentState
from thirdparty_server.payments.model import Payment, PaymentHistoryEntry
from thirdparty_server.payments.tables import (
    BY_CODE,
    GRANTED,
    GUESSED,
    UNFINISHED,
    payment_history,
    payments,
    pruned,
)
from tillmesh.payer import Payer, PayerKind
from tillmesh.runtime.driver import Due
from tillmesh.storage.backlogs import Backlog
from tillmesh.storage.claims import Claims
from tillmesh.storage.columns import ORIGIN, PAYER
from tillmesh.storage.feeds import Feed
from tillmesh.storage.history import History
from tillmesh.storage.lists import PAYER_COLUMNS, After, By, NewestFirst, Slice
from tillmesh.storage.records import AMOUNT, Records
from tillmesh.storage.statements import Row, Transaction

PAYMENTS = Records(
    Payment,
    payments,
    parts={"payer": PAYER, "origin": ORIGIN, "amount": AMOUNT},
    guard=("state", "event_count"),
    fixed=("order_id", "order_version", "by_code", "identity_id", "created_at_ms"),
)
HISTORY = History(PAYMENTS, PaymentHistoryEntry, payment_history, {"amount": AMOUNT})
FEED = Feed(payment_history, pruned)
_LIST = NewestFirst(
    select(payments),
    payments.c.payment_id,
    [By(("order_id",)), By(("identity_id",)), By(PAYER_COLUMNS), By(("store_id",)), By()],
)
_TAKE_PAYMENT = select(payments).where(payments.c.payment_id == bindparam("key")).with_for_update()
_same_order = payments.alias("same_order")
_TAKE_UNFINISHED = (
    select(payments)
    .where(
        payments.c.order_id
        == select(_same_order.c.order_id).where(_same_order.c.payment_id == bindparam("key")).scalar_subquery(),
        UNFINISHED,
    )
    .order_by(payments.c.payment_id)
    .with_for_update(of=payments)
)
_LARGER_EPOCH = (
    select(payments.c.payment_id)
    .where(payments.c.order_id == bindparam("key"), GRANTED, payments.c.epoch > bindparam("granted"))
    .limit(1)
)
_GUESS_OF_RANK = (
    select(payments.c.created_at_ms)
    .where(GUESSED, payments.c.store_id == bindparam("key"), payments.c.created_at_ms > bindparam("since_ms"))
    .order_by(payments.c.created_at_ms.desc())
    .offset(bindparam("newer"))
    .limit(1)
)
_LATEST_BY_CODE = (
    select(payments.c.identity_id)
    .where(
        BY_CODE,
        payments.c.order_id == bindparam("key"),
        payments.c.payer_kind == PayerKind.REFERENCE,
        payments.c.payer_value == bindparam("reference"),
        payments.c.created_at_ms > bindparam("since_ms"),
    )
    .order_by(payments.c.created_at_ms.desc(), payments.c.payment_id.desc())
    .limit(1)
)
_LATEST_BY_CODE_AT_STORE = _LATEST_BY_CODE.where(payments.c.store_id == bindparam("store"))
# A row from the future is no fresh one: the clock stepped back.
_TO_DRIVE = and_(
    UNFINISHED,
    or_(payments.c.state != PaymentState.AWAITING_PAYER, payments.c.confirm_deadline_ms <= bindparam("now_ms")),
)
_CLAIMS = Claims(payments.c.payment_id, _TO_DRIVE, payments.c.updated_at_ms)
BACKLOGS = (Backlog("payments", payments.c.state, UNFINISHED, payments.c.updated_at_ms),)
_CLAMP = (
    update(payments)
    .where(
        payments.c.payment_id.in_(
            select(payments.c.payment_id)
            .where(
                payments.c.state == PaymentState.AWAITING_PAYER,
                payments.c.confirm_deadline_ms > bindparam("longest_ms"),
            )
            .order_by(payments.c.confirm_deadline_ms)
            .limit(1_000)  # the others in the next round: this takes some milliseconds
        )
    )
    .values(confirm_deadline_ms=bindparam("longest_ms"))
)


def take_payment(transaction: Transaction, payment_id: str) -> Payment | None:
    """The payment of that id, which nobody else changes before this transaction ends."""
    row = transaction.execute(_TAKE_PAYMENT, {"key": payment_id}).one_or_none()
    return None if row is None else PAYMENTS.of(row)


def take_unfinished(transaction: Transaction, payment_id: str) -> list[Payment]:
    """The unfinished payments of that payment's order, itself included: nobody else changes them meanwhile."""
    return [PAYMENTS.of(row) for row in transaction.execute(_TAKE_UNFINISHED, {"key": payment_id})]


def has_larger_epoch(transaction: Transaction, order_id: str, granted: int) -> bool:
    """True if a larger epoch than that is recorded of any payment of the order."""
    return transaction.execute(_LARGER_EPOCH, {"key": order_id, "granted": granted}).first() is not None


def guess_of_rank(transaction: Transaction, store_id: str, rank: int, since_ms: int) -> int | None:
    """When the store's guess of that rank, counted from the newest, was made; None for fewer guesses since then."""
    found = transaction.execute(_GUESS_OF_RANK, {"key": store_id, "since_ms": since_ms, "newer": rank - 1}).first()
    return None if found is None else found["created_at_ms"]


def latest_payer_by_code(
    transaction: Transaction, order_id: str, reference: str, store_id: str | None, since_ms: int
) -> str | None:
    """The identity of the order's latest payment since then under that reference whose code counted."""
    values = {"key": order_id, "reference": reference, "since_ms": since_ms}
    if store_id is None:
        found = transaction.execute(_LATEST_BY_CODE, values).first()
    else:
        found = transaction.execute(_LATEST_BY_CODE_AT_STORE, values | {"store": store_id}).first()
    return None if found is None else found["identity_id"]


def due_payments(
    transaction: Transaction, replica: str, now_ms: int, payer_window_ms: int, after: Due | None, at_most: int
) -> list[Due]:
    """A page of this replica's share of payments that are neither final nor fresh, nor waiting for a payer in time.

    No payer has more time than a whole window, in case the clock stepped back.
    """
    if after is None:
        transaction.execute(_CLAMP, {"longest_ms": now_ms + payer_window_ms})
    return _CLAIMS.take(transaction, replica, now_ms, after, at_most)


def payments_of(transaction: Transaction, rows: Sequence[Row]) -> dict[str, Payment]:
    """The payments that rows of the history are about, by id."""
    found = (PAYMENTS.find(transaction, payment_id) for payment_id in {row["payment_id"] for row in rows})
    return {payment.payment_id: payment for payment in found if payment}


def list_payments(
    transaction: Transaction,
    order_id: str,
    identity_id: str,
    store_id: str,
    payer: Payer | None,
    states: list[PaymentState],
    after: After,
    at_most: int,
) -> Slice[Payment]:
    """Payments newest first, those that follow the given (created_at_ms, payment_id); empty filters do not count."""
    wanted = {"order_id": order_id, "identity_id": identity_id, "store_id": store_id, "state": states}
    return _LIST.read(transaction, after, at_most, payer, **wanted).map(PAYMENTS.of)
