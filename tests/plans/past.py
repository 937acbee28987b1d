"""Gives a database a past: copies of what is in it, made within the database, until each table is as long as wanted.

Half of the copies are of the same payer, store, lane, cashier and accounts as what they are copies of, the others of
somebody else each: so one payer has half of all orders. Only what is final is copied. Each copy is older than the one
before it.
"""

from sqlalchemy import Column, Connection, MetaData, Table, func, select, text

from tillmesh.storage import row_order

OWN = {
    "order_id", "payment_id", "checkout_id", "request_id", "refund_id", "reference", "resource", "unanswered",
    "paid_by", "account_id", "key_id", "phone_uri", "sku", "gtin", "record_id",
}  # fmt: skip
"""Columns by which a copy is told from what it is a copy of."""
SHARED = {"payer_value", "identity_id", "store_id", "lane", "cashier_id", "debit_account_id", "credit_account_id"}
"""Half of the copies have the same there."""
OF_FEW = {"wallets", "phones"}
"""Tables of what nobody has many of."""
NUMBERS = {"transfer_id", "hold_id", row_order.COLUMN}
LOG, LIMITED = "pruned", ("differing_accounts", "order_presentations", "lane_stickers")
"""The table whose rows are numbered from 1 on, and those that never get long."""
AGE_MS = 1_000
UNFINISHED = (
    "OPEN", "LOCKED", "GRANTED", "PENDING", "AWAITING_PAYER", "AUTHORIZED", "VOIDING", "BASKET", "SUBMITTED", "PAYING",
)  # fmt: skip
BY_KEY = {
    "requests", "order_history", "payment_history", "checkout_history", "pin_tries", "identities", "wallets", "phones",
    "stores", "store_records", "account_sums", "refund_lines", "catalogue_items", "catalogue_gtins",
}  # fmt: skip
"""Tables that are read by a key alone."""
BY_KEY_MAX = 20_000
"""So many rows show a scan of such a table as well."""


def grows(table: Table) -> bool:
    """True for a table of records, which has more and more rows."""
    named = any(column.name in OWN | SHARED | NUMBERS for column in table.primary_key)
    return table.name == LOG or (named and table.name not in LIMITED)


def written(table: Table, connection: Connection) -> list[Column[object]]:
    """The columns that a copy gets a value in: also the place in the order of rows, unless it is computed there."""
    is_stored = connection.dialect.name == "postgresql"
    return [
        column for column in table.columns if column.computed is None or (is_stored and column.name == row_order.COLUMN)
    ]


class Past:
    """The tables of a service that grow."""

    def __init__(self, connection: Connection, metadata: MetaData) -> None:
        tables = [table for table in metadata.sorted_tables if grows(table)]
        self._connection = connection
        self._metadata = metadata
        self._stride = _newest_transfer(connection, metadata)
        self._first = {table: _keep_first(connection, table) for table in tables}
        self._copies = dict.fromkeys(tables, 0)
        self.empty = [table.name for table in tables if not self._first[table]]
        """Tables that stay empty, as there is nothing to copy."""

    def grow(self, rows: int) -> None:
        """Adds copies until each table has about so many rows more than at first; those that are read by key fewer."""
        for table, first in self._first.items():
            if table.name in self.empty:
                continue
            most = min(rows, BY_KEY_MAX) if table.name in BY_KEY else rows
            values = {"before": self._copies[table], "last": most // first, "stride": self._stride, "of": first}
            self._connection.execute(text(_copy(table, written(table, self._connection))), values)
            self._copies[table] = values["last"]
        if self._stride:
            self._add_up()

    def _add_up(self) -> None:
        """Says that all transfers are added up; none of them is of a transaction that is still to come."""
        row_order.restamp(self._connection)
        newest = "(SELECT max({0}) FROM transfers)"
        through = (f"through_{name} = {newest.format(name)}" for name in (row_order.COLUMN, "transfer_id"))
        self._connection.execute(text(f"UPDATE ledger_progress SET {', '.join(through)}"))


def _newest_transfer(connection: Connection, metadata: MetaData) -> int:
    if "transfers" not in metadata.tables:
        return 0
    return int(connection.execute(select(func.max(metadata.tables["transfers"].c.transfer_id))).scalar_one())


def _keep_first(connection: Connection, table: Table) -> int:
    """Keeps what is copied; returns how many rows that are."""
    final = f"WHERE state NOT IN {UNFINISHED}" if "state" in table.c else ""
    kept = f"SELECT *, row_number() OVER () AS nth FROM {table.name} {final}"
    connection.execute(text(f"CREATE TEMPORARY TABLE first_{table.name} AS {kept}"))
    return int(connection.execute(text(f"SELECT count(*) FROM first_{table.name}")).scalar_one())


def _copy(table: Table, columns: list[Column[object]]) -> str:
    names, values = ", ".join(column.name for column in columns), ", ".join(map(_copied, columns))
    start = "SELECT CAST(:before AS BIGINT) + 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :last"
    return (
        f"WITH RECURSIVE numbers(n) AS ({start}) INSERT INTO {table.name} ({names}) "
        f"SELECT {values} FROM numbers, first_{table.name} WHERE n + 0 * (:stride + :of) <= :last"
    )


def _copied(column: Column[object]) -> str:
    """The value of a column in a copied row. Empty stays empty."""
    name, table = column.name, column.table.name
    own = f"CASE {name} WHEN '' THEN '' ELSE {name} || '.' || n END"
    if name in OWN or (name in SHARED and (column.primary_key or table in OF_FEW)):
        return own
    if name in SHARED:
        return f"CASE n % 2 WHEN 0 THEN {name} ELSE {own} END"
    if name in NUMBERS:
        return f"{name} + n * :stride"
    if name == "number" and table == LOG:
        return "number + n * :of"
    if name == "handle":
        return "CAST(10000000 + n * :of + nth AS VARCHAR)"
    if name.endswith("at_ms"):
        return f"CASE {name} WHEN 0 THEN 0 ELSE {name} - n * {AGE_MS} END"
    return name
