"""Queries about orders that are presented. A change is compare-and-set on the presentation and its claim."""

from sqlalchemy import bindparam, delete, or_, select, update

from thirdparty_server.claims.model import OrderPresentation
from thirdparty_server.claims.tables import order_presentations
from tillmesh.claim_code import ClaimCode
from tillmesh.storage.records import Records
from tillmesh.storage.statements import Transaction

REMOVED_AT_A_TIME = 16
"""More than one new row a transaction, so those that are over never pile up."""
_rows = order_presentations.c
PRESENTATIONS = Records(
    OrderPresentation,
    order_presentations,
    guard=("code_hash", "claimed_until_ms"),
    fixed=("store_id", "reference", "sticker_hash"),
)
_FIND_SHOWN = (
    select(order_presentations)
    .where(
        or_(_rows.code_hash == bindparam("hash"), _rows.sticker_hash == bindparam("hash")),
        _rows.store_id == bindparam("store"),
        _rows.presented_until_ms > bindparam("now_ms"),
    )
    .limit(1)
)
# In one order, so that two of them never wait for each other.
_REPLACED = select(_rows.order_id).order_by(_rows.order_id).with_for_update()
_DELETE_REPLACED = delete(order_presentations).where(
    _rows.order_id.in_(
        _REPLACED.where(
            or_(
                _rows.order_id == bindparam("key"),
                (_rows.code_hash == bindparam("code")) & (_rows.store_id == bindparam("store")),
                (_rows.sticker_hash == bindparam("sticker")) & (_rows.store_id == bindparam("store")),
            )
        )
    )
)
_DELETE_OVER = delete(order_presentations).where(
    _rows.order_id.in_(
        select(_rows.order_id)
        .where(_rows.kept_until_ms <= bindparam("now_ms"))
        .order_by(_rows.kept_until_ms)
        .limit(REMOVED_AT_A_TIME)
        .with_for_update(skip_locked=True)
    )
)
_DELETE = delete(order_presentations).where(_rows.order_id == bindparam("key"))
_DELETE_SAME = _DELETE.where(_rows.code_hash == bindparam("code"))
_FREE_PLACES = (
    update(order_presentations)
    .where(_rows.claimed_by == bindparam("key"), _rows.claimed_until_ms <= bindparam("now_ms"))
    .values(claimed_by=None, claim_place=None)
)
_PLACES = select(_rows.claim_place).where(_rows.claimed_by == bindparam("key"))


def find_shown(transaction: Transaction, code: ClaimCode, now_ms: int) -> OrderPresentation | None:
    """What a store presents now under a code or a sticker."""
    values = {"store": code.store_id, "hash": code.digest, "now_ms": now_ms}
    shown = transaction.execute(_FIND_SHOWN, values).first()
    return None if shown is None else PRESENTATIONS.of(shown)


def replace_shown(transaction: Transaction, new: OrderPresentation) -> None:
    """Presents an order in place of what was presented of it, or by its store under its codes."""
    codes = {"code": new.code_hash, "sticker": new.sticker_hash, "store": new.store_id}
    transaction.execute(_DELETE_REPLACED, {"key": new.order_id, **codes})
    PRESENTATIONS.insert(transaction, new)


def delete_over(transaction: Transaction, now_ms: int) -> None:
    """Deletes the oldest of what is neither presented nor claimed any more."""
    transaction.execute(_DELETE_OVER, {"now_ms": now_ms})


def delete_presentation(transaction: Transaction, order_id: str) -> None:
    """Deletes what is presented of an order, and its claim."""
    transaction.execute(_DELETE, {"key": order_id})


def delete_same(transaction: Transaction, seen: OrderPresentation) -> None:
    """Deletes that presentation, and none that came later."""
    transaction.execute(_DELETE_SAME, {"key": seen.order_id, "code": seen.code_hash})


def taken_places(transaction: Transaction, identity_id: str, now_ms: int) -> set[int]:
    """The places that an identity's claims take, once those that are over have left theirs."""
    transaction.execute(_FREE_PLACES, {"key": identity_id, "now_ms": now_ms})
    return set(transaction.execute(_PLACES, {"key": identity_id}).scalars())
