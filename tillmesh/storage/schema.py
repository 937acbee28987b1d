"""At which version of its schema a database is, and which servers may use it.

A server makes the schema in an empty database. It opens one that is at its own version, or at a newer one of which the
database says that servers of its version may use it. Every other it refuses: `tillmesh db upgrade` brings an older one
on, one migration after the other (`migrations`).
"""

import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    event,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.util import OrderedSet

from tillmesh.storage.row_order import make_offset
from tillmesh.storage.seal import KEY_BYTES, Seal

VERSION_TABLE = "alembic_version"
NO_VERSION = "has tables but no version of a schema: is it another program's?"
BYTEWISE = String().with_variant(String(collation="C"), "postgresql")
"""The type of a text column that a migration adds; those of a new table get it by themselves."""
LOCK = 7_111_003
"""The advisory lock of PostgreSQL that whoever makes or changes a schema holds."""
USERS = 7_111_004
"""The advisory locks of PostgreSQL that the sessions of servers share, one for each version that servers know."""
LOCK_PAUSE_S = 0.1


def versioned(version: str, oldest: str = "") -> MetaData:
    """The tables of a service at a version; the database in which they are made remembers that.

    `oldest` is the oldest version whose servers may use them as well, without one they may not.
    """
    metadata = MetaData(info={"version": version})
    for table, number in (_version_table(metadata), version), (_oldest_table(metadata), oldest or version):
        event.listen(table, "after_create", _remember(number))
    event.listen(metadata, "before_create", _compare_bytewise, once=True)
    event.listen(metadata, "before_create", _order_indexes, once=True)
    make_offset(metadata)
    _seal_key_table(metadata)
    return metadata


def _remember(version: str) -> Any:
    def remember(table: Table, connection: Connection, **_: Any) -> None:
        connection.execute(insert(table).values(version_num=version))

    return remember


def _compare_bytewise(metadata: MetaData, _connection: Connection, **_: Any) -> None:
    """Texts compare by their bytes, as in SQLite: another collation changes with its library, and breaks indexes."""
    for table in metadata.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, String) and table.name != VERSION_TABLE:
                column.type = column.type.with_variant(type(column.type)(collation="C"), "postgresql")


def _order_indexes(metadata: MetaData, _connection: Connection, **_: Any) -> None:
    """Of two indexes that serve a query alike SQLite takes the one made last: it must be the one of fewer rows."""
    for table in metadata.tables.values():
        table.indexes = OrderedSet(sorted(table.indexes, key=lambda index: (_is_partial(index), str(index.name))))


def _is_partial(index: Index) -> bool:
    return index.dialect_options["sqlite"]["where"] is not None


def _seal_key_table(metadata: MetaData) -> Table:
    """The key that a database seals its positions with: all its processes share it, and it survives them."""
    table = Table("seal_key", metadata, Column("key", LargeBinary, nullable=False))

    def make(_table: Table, connection: Connection, **_: Any) -> None:
        connection.execute(insert(table).values(key=secrets.token_bytes(KEY_BYTES)))

    event.listen(table, "after_create", make)
    return table


def read_seal(engine: Engine) -> Seal:
    """The seal of a database."""
    table = _seal_key_table(MetaData())
    with engine.connect() as connection:
        return Seal(connection.execute(select(table.c.key)).scalar_one())


def prepare(engine: Engine, metadata: MetaData) -> None:
    """Makes the schema in an empty database; ValueError where there is one that servers of this version cannot use."""
    with engine.connect() as connection:  # without the lock: an upgrade that servers do not mind may take long
        empty = is_empty(connection)
    if empty:
        with alone(engine) as connection:
            if is_empty(connection):
                metadata.create_all(connection, checkfirst=False)
    with engine.connect() as connection:
        found, known = stored_version(connection), metadata.info["version"]
        usable = found is not None and stored_oldest(connection) <= known <= found
        if usable:
            _require_own(connection, metadata)
    if not usable:
        raise ValueError(_mismatch(engine, found, known))


def _require_own(connection: Connection, metadata: MetaData) -> None:
    """ValueError for the database of another server, which has its version and not its tables."""
    there = set(inspect(connection).get_table_names())
    missing, others = sorted(metadata.tables.keys() - there), sorted(there - metadata.tables.keys())
    if missing:
        raise ValueError(
            f"the database {connection.engine.url} is another server's: it has no table {missing[0]}"
            + (f", and has {others[0]}" if others else "")
            + "; check --database-url"
        )


@contextmanager
def alone(engine: Engine) -> Iterator[Connection]:
    """One transaction, beside which nobody else makes or changes the schema."""
    with engine.connect() as connection:
        shared = engine.dialect.name == "postgresql"
        if shared:  # what was committed while it waited for the lock must be seen
            connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():  # SQLite: the one lock for writing
            # Asks again and again: an index that is built concurrently would wait for a statement that waits for this.
            while shared and not connection.execute(select(func.pg_try_advisory_xact_lock(LOCK))).scalar_one():
                time.sleep(LOCK_PAUSE_S)
            yield connection


@contextmanager
def alone_outside_transactions(engine: Engine) -> Iterator[Connection]:
    """The same without a transaction: each statement counts at once."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        shared = engine.dialect.name == "postgresql"
        while shared and not connection.execute(select(func.pg_try_advisory_lock(LOCK))).scalar_one():
            time.sleep(LOCK_PAUSE_S)
        try:
            yield connection
        finally:
            if shared:
                connection.execute(select(func.pg_advisory_unlock(LOCK)))


def is_empty(connection: Connection) -> bool:
    """True for a database without any table."""
    return not inspect(connection).get_table_names()


def stored_version(connection: Connection) -> str | None:
    """The version of the schema that is there; None where nothing says so."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    table = _version_table(MetaData())
    return connection.execute(select(table.c.version_num)).scalar_one_or_none()


def stored_oldest(connection: Connection) -> str:
    """The oldest version whose servers may use the schema that is there."""
    table = _oldest_table(MetaData())
    return str(connection.execute(select(table.c.version_num)).scalar_one())


def store_oldest(connection: Connection, version: str) -> None:
    """Changes it, with the schema."""
    table = _oldest_table(MetaData())
    connection.execute(update(table).values(version_num=version))


def using(version: str) -> str:
    """SQL with which a session of PostgreSQL tells, as long as it lasts, that a server of that version is there."""
    return f"SELECT pg_advisory_lock_shared({USERS}, {int(version)})"


OLDEST = "SELECT version_num FROM oldest_version"
"""SQL for the oldest version whose servers may use the schema."""


def require_unused(connection: Connection, versions: Iterable[str]) -> None:
    """ValueError while a server of one of these versions uses the schema; until the transaction ends none begins to.

    On SQLite nobody else has the file (`file_lock`).
    """
    if connection.dialect.name != "postgresql":
        return
    for version in versions:
        unused = select(func.pg_try_advisory_xact_lock(USERS, int(version)))
        if not connection.execute(unused).scalar_one():
            raise ValueError(
                f"servers that need version {version} of the schema use the database {connection.engine.url}; "
                "stop them, or replace them by a newer release, and repeat the upgrade"
            )


def _oldest_table(metadata: MetaData) -> Table:
    return Table("oldest_version", metadata, Column("version_num", String(32), nullable=False))


def _version_table(metadata: MetaData) -> Table:
    """As Alembic, which keeps it from there on, would make it."""
    primary_key = PrimaryKeyConstraint("version_num", name="alembic_version_pkc")
    return Table(VERSION_TABLE, metadata, Column("version_num", String(32), nullable=False), primary_key)


def _mismatch(engine: Engine, found: str | None, known: str | None) -> str:
    if found is None:
        return f"the database {engine.url} {NO_VERSION}"
    todo = "run tillmesh db upgrade"
    if known is not None and found > known:
        todo = "run the release that made it"
    return f"the database {engine.url} is at version {found} of its schema, this server needs version {known}: {todo}"
