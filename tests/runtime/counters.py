"""A table to try databases with, and an operation that is right only if nobody comes between."""

from sqlalchemy import BigInteger, Column, String, Table, bindparam, insert, select, update

from tillmesh.storage.database import append_only
from tillmesh.storage.schema import versioned
from tillmesh.storage.statements import Transaction

METADATA = versioned("0001")
COUNTERS = Table(
    "counters", METADATA, Column("name", String, primary_key=True), Column("count", BigInteger, nullable=False)
)
DIARY = Table("diary", METADATA, Column("day", String, primary_key=True))
append_only(DIARY)
FIND = select(COUNTERS.c.count).where(COUNTERS.c.name == bindparam("key"))
CHANGE = update(COUNTERS).where(COUNTERS.c.name == bindparam("key"))


def count_up(transaction: Transaction, name: str = "a") -> int:
    """Reads and then writes: right only if nobody came between."""
    found = transaction.execute(FIND, {"key": name}).first()
    if found is None:
        transaction.execute(insert(COUNTERS), {"name": name, "count": 1})
        return 1
    transaction.execute(CHANGE, {"key": name, "count": found["count"] + 1})
    return int(found["count"]) + 1
