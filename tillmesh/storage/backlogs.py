"""How many records a server has to act on, and since when: read for metrics, from an index of these records alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, func, literal_column, select

from tillmesh.storage.row_order import oldest_open
from tillmesh.storage.statements import Transaction

COUNTED_MAX = 1_000


@dataclass(frozen=True)
class Count:
    """Unfinished records of one kind in one state."""

    records: int
    oldest_ms: int


class Backlog:
    """Unfinished records of one kind, counted by state.

    `unfinished` is the condition of a partial index, and `since_ms` its first column. So a count reads unfinished
    records, up to COUNTED_MAX of the oldest, however many finished ones there are.
    """

    def __init__(self, kind: str, state: Column[Any], unfinished: ColumnElement[bool], since_ms: Column[int]) -> None:
        self.kind = kind
        oldest = (
            select(state.label("state"), since_ms.label("since_ms"))
            .where(unfinished)
            .order_by(since_ms)
            .limit(literal_column(str(COUNTED_MAX)))
            .subquery()
        )
        self.statement = select(
            oldest.c.state, func.count().label("records"), func.min(oldest.c.since_ms).label("oldest_ms")
        ).group_by(oldest.c.state)

    def read(self, transaction: Transaction, now_ms: int) -> dict[str, Count]:
        """The counts by state; a condition may use the parameter `now_ms`."""
        rows = transaction.execute(self.statement, {"now_ms": now_ms})
        return {row["state"]: Count(row["records"], row["oldest_ms"]) for row in rows}


@dataclass(frozen=True)
class Backlogs:
    """What a server has to do, at one moment."""

    counts: Mapping[str, Mapping[str, Count]]
    """By kind and state."""
    oldest_open: int | None
    """The transaction that holds rows of streams and statements back, if one does."""
    at_ms: int


def read_backlogs(transaction: Transaction, kinds: Sequence[Backlog], now_ms: int) -> Backlogs:
    """What there is to do of each kind."""
    counts = {backlog.kind: backlog.read(transaction, now_ms) for backlog in kinds}
    return Backlogs(counts, oldest_open(transaction), now_ms)
