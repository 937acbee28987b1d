"""What happened to the records of a database, in order: the rows of their history, read on from any place.

A reader gets each row once and misses none, however slow it is and however often it comes back. A place names the row
that was read last, by its position and the beginning of its hash. So it shows whether it is of this database as it is
now: after a restore from a backup other rows may stand there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Select, Table, bindparam, select, tuple_

from tillmesh.runtime.errors import CommonReason
from tillmesh.storage.history_table import PLACE, ROW_ID
from tillmesh.storage.row_order import is_settled
from tillmesh.storage.seal import Seal
from tillmesh.storage.statements import Row, Transaction

MARK_DIGITS = 16
_AFTER = tuple_(bindparam("after_xact_id", type_=BigInteger), bindparam("after_row_id", type_=BigInteger))


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the order of all rows: behind one of them."""

    xact_id: int
    row_id: int
    mark: str
    """The beginning of that row's hash, in hex."""

    def sealed(self, seal: Seal, feed: str) -> str:
        """The place as a cursor."""
        return seal.close(f"{self.xact_id}.{self.row_id}.{self.mark}", feed)

    @staticmethod
    def unsealed(cursor: str, seal: Seal, feed: str) -> "Place":
        """The place of a cursor; CURSOR_EXPIRED for what is no cursor of this database."""
        text = seal.open(cursor, feed)
        if text is None:
            raise CommonReason.CURSOR_EXPIRED()
        xact_id, row_id, mark = text.split(".")
        return Place(int(xact_id), int(row_id), mark)


START = Place(0, 0, "")
"""The place before all rows."""


@dataclass(frozen=True, slots=True)
class Only:
    """The rows that a reader wants: those that have a value in a column; without a column all."""

    column: str = ""
    value: str = ""

    def __contains__(self, row: Row) -> bool:
        return not self.column or row[self.column] == self.value


EVERYTHING = Only()


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a feed, and the place behind them and all that was left out."""

    rows: Sequence[Row]
    end: Place
    more: bool
    """True if more rows may be there already."""


class Feed:
    """The rows of one history; `pruned` says which are gone."""

    def __init__(self, history: Table, pruned: Table) -> None:
        self.name = history.name
        place = [history.c[name] for name in PLACE]
        order = [column.desc() for column in place]
        settled = is_settled(history)
        following = select(history).where(tuple_(*place) > _AFTER, settled).order_by(*place).limit(bindparam("at_most"))
        indexed = [next(iter(index.columns)) for index in history.indexes if len(index.columns) > len(PLACE)]
        self._next: dict[str, Select[Any]] = {
            "": following,
            **{column.name: following.where(column == bindparam("key")) for column in indexed},
        }
        stands = *place, history.c.chain_hash
        self._newest = select(*stands).where(settled).order_by(*order).limit(1)
        self._row_at = select(*stands).where(history.c[ROW_ID] == bindparam("key"))
        self._unsettled = select(history.c.at_ms).where(~settled).order_by(*place).limit(1)
        gone = [pruned.c[f"through_{name}"].label(name) for name in PLACE]
        self._pruned = select(*gone, pruned.c.head).order_by(*(column.desc() for column in gone)).limit(1)

    def oldest(self, transaction: Transaction) -> Place:
        """The place of the oldest row from which on none was pruned."""
        row = transaction.execute(self._pruned).first()
        return START if row is None else Place(row["xact_id"], row["row_id"], row["head"][:MARK_DIGITS])

    def newest(self, transaction: Transaction) -> Place:
        """The place of now: whatever this transaction does not see yet comes behind it."""
        row = transaction.execute(self._newest).first()
        oldest = self.oldest(transaction)
        return oldest if row is None else max(oldest, place_of(row))

    def require_kept(self, transaction: Transaction, place: Place) -> None:
        """Refuses a place that this database does not have, or behind which rows were pruned: CURSOR_EXPIRED."""
        oldest = self.oldest(transaction)
        if place == oldest:
            return
        row = transaction.execute(self._row_at, {"key": place.row_id}).one_or_none()
        if place < oldest or row is None or place_of(row) != place:
            raise CommonReason.CURSOR_EXPIRED()

    def read(self, transaction: Transaction, after: Place, only: Only, at_most: int) -> Part:
        """The next rows of those wanted; looks at `at_most` rows. CURSOR_EXPIRED as `require_kept`.

        It is asked each time: a database that failed over may have lost the row that was read last.
        """
        self.require_kept(transaction, after)
        column = only.column if only.column in self._next else ""
        key = {"key": only.value} if column else {}
        wanted = {**key, "after_xact_id": after.xact_id, "after_row_id": after.row_id, "at_most": at_most}
        rows = transaction.execute(self._next[column], wanted).all()
        end = place_of(rows[-1]) if rows else after
        return Part([row for row in rows if row in only], end, len(rows) == at_most)

    def unsettled_since_ms(self, transaction: Transaction) -> int | None:
        """When the oldest row was written that has to wait for older transactions; None if there is none."""
        row = transaction.execute(self._unsettled).first()
        return None if row is None else row["at_ms"]


def place_of(row: Row) -> Place:
    """The place behind a row."""
    return Place(row["xact_id"], row["row_id"], row["chain_hash"].hex()[:MARK_DIGITS])
