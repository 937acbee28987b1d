"""Rows that servers of version 0001 wrote: a few sales, one of them under way, a refund and a basket."""

import json
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, LargeBinary, MetaData, Table, insert, select

FOLDER = Path(__file__).parent
# Who gives rows their numbers himself must say where PostgreSQL goes on.
GO_ON = "SELECT setval(pg_get_serial_sequence('transfers', 'transfer_id'), (SELECT max(transfer_id) FROM transfers))"

Rows = dict[str, list[dict[str, Any]]]
"""The rows of each table, parents first."""


def rows_of(service: str) -> Rows:
    """What is in the file; bytes are hexadecimal digits."""
    tables = json.loads((FOLDER / f"{service}_0001.json").read_text())
    return {
        name: [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]] for name, table in tables.items()
    }


def write(engine: Engine, rows: Rows) -> None:
    """Writes the rows as they are."""
    with engine.begin() as connection:
        for name, entries in rows.items():
            table = Table(name, MetaData(), autoload_with=connection)
            binary = [column.name for column in table.c if isinstance(column.type, LargeBinary)]
            for entry in entries:
                values = entry | {column: bytes.fromhex(entry[column]) for column in binary}
                connection.execute(insert(table), values)
        if engine.dialect.name == "postgresql" and "transfers" in rows:
            connection.exec_driver_sql(GO_ON)


def read(engine: Engine, like: Rows) -> Rows:
    """The same columns of the same tables, as they are now, in the order of their first columns."""
    with engine.connect() as connection:
        found: Rows = {}
        for name, entries in like.items():
            table = Table(name, MetaData(), autoload_with=connection)
            columns = [table.c[column] for column in entries[0]]
            rows = connection.execute(select(*columns).order_by(*columns[:2])).all()
            found[name] = [dict(zip(entries[0], map(_plain, row), strict=True)) for row in rows]
        return found


def in_order(rows: Rows) -> Rows:
    """The rows as `read` orders them."""
    return {name: sorted(entries, key=lambda entry: list(entry.values())[:2]) for name, entries in rows.items()}


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
