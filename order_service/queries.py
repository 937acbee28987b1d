"""Queries. A change of an order is compare-and-set on what was read."""

from collections.abc import Sequence

import orjson
from sqlalchemy import and_, bindparam, select, update

from order_service.lifecycle import OrderState, PaymentState
from order_service.model import Consent, Order, OrderChange, OrderPayment, OrderVersion, labels_text
from order_service.tables import (
    PENDING,
    PENDING_STATES,
    order_history,
    order_payments,
    order_versions,
    orders,
    pruned,
)
from tillmesh.payer import Payer
from tillmesh.storage.backlogs import Backlog
from tillmesh.storage.columns import ORIGIN, PAYER
from tillmesh.storage.database import require_one_row
from tillmesh.storage.feeds import Feed
from tillmesh.storage.history import History
from tillmesh.storage.lists import PAYER_COLUMNS, After, By, NewestFirst, Partial, Slice
from tillmesh.storage.records import AMOUNT, Part, Records, as_long_text
from tillmesh.storage.statements import Row, Transaction


def _consent(row: Row) -> Consent | None:
    if row["payer_kind"] is None:
        return None
    amount, payer = AMOUNT.load(row), PAYER.load(row)
    return Consent(row["order_id"], row["asking_store_id"], payer, row["order_version"], amount)


def _consent_columns(consent: Consent | None) -> dict[str, object]:
    if consent is None:
        return {}
    own = {"asking_store_id": consent.store_id, "order_version": consent.order_version}
    return {**own, **PAYER.dump(consent.payer), **AMOUNT.dump(consent.amount)}


LINES = as_long_text("lines", str, str)
ORDERS = Records(
    Order,
    orders,
    parts={
        "payer": PAYER,
        "origin": ORIGIN,
        "amount": AMOUNT,
        "labels": as_long_text("labels", orjson.loads, labels_text),
        "lines_text": LINES,
    },
    guard=("state", "version", "epoch", "event_count"),
    fixed=("store_id", "created_at_ms"),
)
VERSIONS = Records(OrderVersion, order_versions, parts={"amount": AMOUNT, "lines_text": LINES})
PAYMENTS = Records(OrderPayment, order_payments, parts={"consent": Part(_consent, _consent_columns)})
HISTORY = History(ORDERS, OrderChange, order_history, {"amount": AMOUNT})
FEED = Feed(order_history, pruned)

_WITH_LINES = select(orders, order_versions.c.lines, order_versions.c.prices_include_tax).where(
    order_versions.c.order_id == orders.c.order_id, order_versions.c.version == orders.c.version
)
_FIND_ORDER = _WITH_LINES.where(orders.c.order_id == bindparam("key"))
_PENDING = Partial("state", PENDING_STATES, PENDING)
_LIST = NewestFirst(
    _WITH_LINES,
    orders.c.order_id,
    [
        By(("store_id", *PAYER_COLUMNS), _PENDING),
        By(PAYER_COLUMNS, _PENDING),
        By(PAYER_COLUMNS),
        By(("store_id",)),
        By(),
    ],
    lengths=("lines_length", "labels_length"),
)
_FIND_VERSION = select(order_versions, orders.c.currency).where(
    order_versions.c.order_id == bindparam("key"),
    order_versions.c.version == bindparam("wanted"),
    orders.c.order_id == order_versions.c.order_id,
)
_END_PAYMENT = update(order_payments).where(
    order_payments.c.payment_id == bindparam("key"), order_payments.c.state == PaymentState.GRANTED
)
_LAPSED = (
    _WITH_LINES.where(orders.c.state == OrderState.LOCKED, orders.c.lease_expires_at_ms <= bindparam("now_ms"))
    .order_by(orders.c.lease_expires_at_ms)
    .limit(bindparam("at_most"))
    .with_for_update(skip_locked=True, of=orders)  # what another replica is at is left to it
)
_IDLE = (
    _WITH_LINES.where(orders.c.state == OrderState.OPEN, orders.c.updated_at_ms <= bindparam("until_ms"))
    .order_by(orders.c.updated_at_ms)
    .limit(bindparam("at_most"))
    .with_for_update(skip_locked=True, of=orders)
)
_LOCKED = orders.c.state == OrderState.LOCKED
BACKLOGS = (
    Backlog("orders", orders.c.state, _LOCKED, orders.c.locked_at_ms),
    Backlog(
        "lapsed leases",
        orders.c.state,
        and_(_LOCKED, orders.c.lease_expires_at_ms <= bindparam("now_ms")),
        orders.c.lease_expires_at_ms,
    ),
)
_CLAMP = (
    update(orders)
    .where(
        orders.c.order_id.in_(
            select(orders.c.order_id)
            .where(orders.c.state == OrderState.LOCKED, orders.c.locked_at_ms > bindparam("now_ms"))
            .order_by(orders.c.locked_at_ms)
            .limit(1_000)  # the others at the next sweep: this takes some milliseconds
        )
    )
    .values(lease_expires_at_ms=bindparam("now_ms") + orders.c.lease_ms)
)


def find_order(transaction: Transaction, order_id: str) -> Order | None:
    """The order of that number."""
    row = transaction.execute(_FIND_ORDER, {"key": order_id}).one_or_none()
    return None if row is None else ORDERS.of(row)


def find_version(transaction: Transaction, order_id: str, version: int) -> OrderVersion | None:
    """A version of an order, also one of the past."""
    row = transaction.execute(_FIND_VERSION, {"key": order_id, "wanted": version}).one_or_none()
    return None if row is None else VERSIONS.of(row)


def end_payment(transaction: Transaction, payment_id: str, state: PaymentState, reason: str) -> None:
    """Moves an attempt from GRANTED to its final state; CONCURRENT_CHANGE if it is not GRANTED."""
    require_one_row(transaction.execute(_END_PAYMENT, {"key": payment_id, "state": state, "reason": reason}))


def lapsed_locks(transaction: Transaction, now_ms: int, at_most: int) -> list[Order]:
    """Locked orders whose lease is over, longest over first."""
    return [ORDERS.of(row) for row in transaction.execute(_LAPSED, {"now_ms": now_ms, "at_most": at_most})]


def idle_orders(transaction: Transaction, until_ms: int, at_most: int) -> list[Order]:
    """Open orders that nobody changed since then, longest unchanged first."""
    return [ORDERS.of(row) for row in transaction.execute(_IDLE, {"until_ms": until_ms, "at_most": at_most})]


def clamp_leases(transaction: Transaction, now_ms: int) -> None:
    """Shortens what remains of leases to their length, where the clock stepped back since they began."""
    transaction.execute(_CLAMP, {"now_ms": now_ms})


def orders_of(transaction: Transaction, rows: Sequence[Row]) -> dict[str, Order]:
    """The orders that rows of the history are about, by number."""
    found = (find_order(transaction, order_id) for order_id in {row["order_id"] for row in rows})
    return {order.order_id: order for order in found if order}


def list_orders(
    transaction: Transaction, store_id: str, payer: Payer | None, states: list[OrderState], after: After, at_most: int
) -> Slice[Order]:
    """Orders newest first, those that follow the given (created_at_ms, order_id)."""
    return _LIST.read(transaction, after, at_most, payer, store_id=store_id, state=states).map(ORDERS.of)
