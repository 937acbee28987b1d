"""Replicas of a server share its unfinished records: each drives those that it has claimed for a few seconds.

A claim spares work, and nothing else rests on it: each step of a record is compare-and-set, and each call to a peer
may come twice. So a request drives its own record without a claim, and where clocks differ two replicas drive the
same record. The claims of a replica that dies run out.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    String,
    and_,
    bindparam,
    or_,
    select,
    tuple_,
    update,
)

from tillmesh.runtime.driver import After, Due
from tillmesh.storage.statements import Transaction

FRESH_MS = 1_000
"""A record that changed less than this ago is being driven by the request that changed it."""
CLAIM_MS = 5_000


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
        page = select(changed_at_ms.label("since_ms"), key.label("key")).order_by(changed_at_ms, key)
        page = page.where(due).limit(bindparam("at_most"))
        last = bindparam("after_ms", type_=BigInteger), bindparam("after_key", type_=String)
        following = page.where(tuple_(changed_at_ms, key) > tuple_(*last))
        self._free, self._free_after = (
            query.where(free).with_for_update(skip_locked=True) for query in (page, following)
        )
        self._mine, self._mine_after = (query.where(by == bindparam("replica")) for query in (page, following))
        self._claim = update(key.table).where(key == bindparam("key"))

    def take(self, transaction: Transaction, replica: str, now_ms: int, after: After, at_most: int) -> list[Due]:
        """Due records that are this replica's, longest due first, those that follow the given one.

        A process without a replica name is the only one, so all are its own.
        """
        at: dict[str, Any] = {"now_ms": now_ms, "replica": replica, "at_most": at_most}
        if after:
            at |= {"after_ms": after[0], "after_key": after[1]}
        if replica:
            claim = {"claimed_by": replica, "claimed_until_ms": now_ms + CLAIM_MS}
            free = [row["key"] for row in transaction.execute(self._free_after if after else self._free, at)]
            if free:
                transaction.execute_many(self._claim, [claim | {"key": key} for key in free])
        rows = transaction.execute(self._mine_after if after else self._mine, at)
        return [(row["since_ms"], row["key"]) for row in rows]
