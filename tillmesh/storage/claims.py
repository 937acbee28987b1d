"""Replicas of a server share its unfinished records: each drives those that it has claimed for a few seconds.

A claim spares work, and nothing else rests on it: each step of a record is compare-and-set, and each call to a peer
may come twice. So a request drives its own record without a claim, and where clocks differ two replicas drive the
same record. The claims of a replica that dies run out.
"""

from typing import Any

from sqlalchemy import BigInteger, BindParameter, Column, ColumnElement, String, and_, bindparam, or_, select, update

from tillmesh.storage.statements import Transaction

FRESH_MS = 1_000
"""A record that changed less than this ago is being driven by the request that changed it."""
CLAIM_MS = 5_000
CLAIMED_AT_ONCE = 500
"""The most records that one replica claims in a round. Other replicas claim the next ones."""


def claim_columns() -> tuple[Column[str], Column[int]]:
    """The columns of a table whose records replicas claim."""
    return (
        Column("claimed_by", String, nullable=False, server_default=""),
        Column("claimed_until_ms", BigInteger, nullable=False, server_default="0"),
    )


class Claims:
    """Claims records of a table, so that one replica at a time drives each.

    `unfinished` says which records somebody has to drive, and `changed_at_ms` when one was last changed;
    both may use the parameter `now_ms`.
    """

    def __init__(self, key: Column[str], unfinished: ColumnElement[bool], changed_at_ms: Column[int]) -> None:
        by, until_ms = key.table.c.claimed_by, key.table.c.claimed_until_ms
        now_ms: BindParameter[int] = bindparam("now_ms")
        # What lies too far ahead was written before the clock stepped back.
        due = and_(unfinished, or_(changed_at_ms <= now_ms - FRESH_MS, changed_at_ms > now_ms))
        free = or_(
            until_ms <= now_ms,
            until_ms > now_ms + 2 * CLAIM_MS,
            and_(by == bindparam("replica"), until_ms <= now_ms + CLAIM_MS // 2),
        )
        self._free = select(key).where(due, free).order_by(changed_at_ms).limit(CLAIMED_AT_ONCE)
        self._free = self._free.with_for_update(skip_locked=True)
        self._claim = update(key.table).where(key == bindparam("key"))
        self._mine = select(key).where(due, by == bindparam("replica")).order_by(changed_at_ms)

    def take(self, transaction: Transaction, replica: str, now_ms: int) -> list[Any]:
        """Keys of the due records that are this replica's; one without a name is alone, and all are."""
        at = {"now_ms": now_ms, "replica": replica}
        if replica:
            claim = {"claimed_by": replica, "claimed_until_ms": now_ms + CLAIM_MS}
            free = transaction.execute(self._free, at).scalars()
            if free:
                transaction.execute_many(self._claim, [claim | {"key": key} for key in free])
        return transaction.execute(self._mine, at).scalars()
