"""Whatever is changed in a history shows."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine

from order_service import operations
from order_service.model import NewOrder
from order_service.tables import METADATA, order_history
from tillmesh.line_rows import SALT_BYTES
from tillmesh.lines import LineItem
from tillmesh.payer import identity
from tillmesh.runtime.lifecycle import NO_HISTORY
from tillmesh.storage import statements
from tillmesh.storage.chains import NOT_COVERED, HistoryTable, read_chains
from tillmesh.storage.history import next_hash
from tillmesh.storage.history_table import PLACE

SALT = bytes(SALT_BYTES)
ORDERS = HistoryTable("order_history", "orders", "order_id")
CHANGED = "row {} was changed: its hash is not that of its content and the row before"
COLUMNS = [column.name for column in order_history.columns]
COPIED = ", ".join(name for name in COLUMNS if name not in (*PLACE, "number"))
REWRITTEN: dict[str, object] = {
    "order_id": "o-3",
    "store_id": "s-2",
    "number": 9,
    "event": "PAID",
    "from_state": None,
    "to_state": "PAID",
    "version": 7,
    "epoch": 7,
    "currency": "EUR",
    "amount_minor": 1,
    "payment_id": "p-7",
    "actor": "spiffe://tillmesh/platform/another",
    "trace_id": "another",
    "content_hash": "0" * 64,
    "at_ms": 7,
    "chain_hash": bytes(32),
}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Orders o-1 with four rows of history and o-2 with one, in a database without its triggers."""
    engine = create_engine(f"sqlite:///{tmp_path / 'orders.db'}")
    METADATA.create_all(engine)
    with closing(engine.raw_connection()) as driver:
        write_orders(statements.Transaction(driver.cursor(), statements.Statements(engine.dialect)))
        driver.commit()
    with engine.begin() as connection:
        for verb in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER order_history_no_{verb}")
        yield connection
    engine.dispose()


def write_orders(connection: statements.Transaction) -> None:
    for order_id in ("o-1", "o-2"):
        new = NewOrder(order_id, "s", identity("p"), "GBP", [mugs(1)], prices_include_tax=True)
        operations.create_order(connection, new, salt=SALT, now_ms=1)
    for version in (1, 2):
        operations.replace_lines(
            connection, order_id="o-1", version=version, lines=[mugs(version + 1)], salt=SALT, now_ms=version + 1
        )
    operations.cancel_order(connection, order_id="o-1", version=3, now_ms=4)


def mugs(quantity: int) -> LineItem:
    return LineItem("MUG", "Mug", quantity, 650)


def findings(connection: Connection) -> dict[str, list[str]]:
    """What is found, by order."""
    found: dict[str, list[str]] = {}
    for chain in read_chains(connection, ORDERS):
        found.setdefault(chain.key, []).extend(chain.findings)
    return {key: texts for key, texts in found.items() if texts}


def sql(connection: Connection, statement: str, *values: object) -> None:
    connection.exec_driver_sql(statement, values)


def test_the_hash_of_a_row_never_changes() -> None:
    """Fixed by hand, with sha256sum: who kept a digest keeps it for years."""
    row: dict[str, str | int | None] = {
        "order_id": "7K3M-9Q2X-VB4T",
        "number": 1,
        "event": "LOCKED",
        "from_state": None,
        "amount_minor": 1240,
        "note": 'Zoë said "9\\10"\n\x01\x7f…',
    }
    first = next_hash(NO_HISTORY, row)
    assert first.hex() == "dceb3ec8fa6bb580dce02e3e5318f8982197b21ff58d60fd453e9c75c3c410f1"
    assert (
        next_hash(first, {"number": 2, "from_state": "OPEN"}).hex()
        == "2b081167709b8fa10be5c91f2a01cdf70e11d8019823a28e43f4bdae53dfb8d7"
    )


def test_what_the_service_wrote_is_whole(connection: Connection) -> None:
    chains = list(read_chains(connection, ORDERS))
    assert [(chain.key, len(chain.hashes)) for chain in chains] == [("o-1", 4), ("o-2", 1)]
    assert findings(connection) == {}


@pytest.mark.parametrize("column", [name for name in COLUMNS if name not in PLACE])
def test_no_column_can_be_rewritten(connection: Connection, column: str) -> None:
    sql(connection, f"UPDATE order_history SET {column} = ? WHERE order_id = 'o-1' AND number = 2", REWRITTEN[column])
    found = findings(connection)
    if column == "order_id":
        assert found == {
            "o-1": ["row 3 stands where row 2 should"],
            "o-3": ["row 2 stands where row 1 should", "orders has no such record"],
        }
    elif column == "number":
        assert found["o-1"][0] == "row 3 stands where row 2 should"
    elif column == "chain_hash":
        assert found == {"o-1": [CHANGED.format(2), CHANGED.format(3)]}
    else:
        assert found == {"o-1": [CHANGED.format(2)]}


@pytest.mark.parametrize("value", [b"UPDATED", 1.5, "", "\x00"])
@pytest.mark.parametrize("column", ["event", "amount_minor", "chain_hash", "number"])
def test_a_value_of_another_type_is_found_as_well(connection: Connection, column: str, value: object) -> None:
    sql(connection, f"UPDATE order_history SET {column} = ? WHERE order_id = 'o-1' AND number = 2", value)
    assert set(findings(connection)) == {"o-1"}


def test_a_row_whose_hash_was_made_anew_no_longer_fits_the_next(connection: Connection) -> None:
    rows = connection.exec_driver_sql("SELECT * FROM order_history WHERE order_id = 'o-1' ORDER BY number").mappings()
    first, row, *_ = (dict(row) for row in rows)
    covered = {name: value for name, value in row.items() if name not in NOT_COVERED}
    forged = next_hash(first["chain_hash"], {**covered, "payment_id": "p-7"})
    statement = "UPDATE order_history SET payment_id = 'p-7', chain_hash = ? WHERE order_id = 'o-1' AND number = 2"
    sql(connection, statement, forged)
    assert findings(connection) == {"o-1": [CHANGED.format(3)]}


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["DELETE FROM order_history WHERE number = 1 AND order_id = 'o-1'"], ["row 2 stands where row 1 should"]),
        (["DELETE FROM order_history WHERE number = 3"], ["row 4 stands where row 3 should"]),
        (["DELETE FROM order_history WHERE number = 4"], ["its last row is 3, but 4 in orders"]),
        (
            ["DELETE FROM order_history WHERE number = 4", "UPDATE orders SET event_count = 3 WHERE order_id = 'o-1'"],
            ["the hash of its last row is another in orders"],
        ),
        (["DELETE FROM order_history WHERE order_id = 'o-1'"], ["there is no history of it"]),
        (["DELETE FROM orders WHERE order_id = 'o-1'"], ["orders has no such record"]),
        (
            [f"UPDATE order_history SET number = {to} WHERE number = {at}" for at, to in ((2, 9), (3, 2), (9, 3))],
            [CHANGED.format(2), CHANGED.format(3), CHANGED.format(4)],
        ),
        (
            [f"INSERT INTO order_history (number, {COPIED}) SELECT 5, {COPIED} FROM order_history WHERE number = 4"],
            [CHANGED.format(5), "its last row is 5, but 4 in orders"],
        ),
        (
            ["UPDATE orders SET history_hash = zeroblob(32) WHERE order_id = 'o-1'"],
            ["the hash of its last row is another in orders"],
        ),
        (
            ["UPDATE orders SET event_count = 5 WHERE order_id = 'o-1'"],
            ["its last row is 4, but 5 in orders"],
        ),
    ],
)  # fmt: skip
def test_rows_that_are_removed_moved_or_added_are_found(
    connection: Connection, statements: list[str], found: list[str]
) -> None:
    for statement in statements:
        sql(connection, statement)
    assert findings(connection) == {"o-1": found}


def test_a_column_that_a_later_release_adds_breaks_no_chain(connection: Connection) -> None:
    sql(connection, "ALTER TABLE order_history ADD COLUMN operator TEXT")
    assert findings(connection) == {}
    sql(connection, "UPDATE order_history SET operator = 'x' WHERE order_id = 'o-2'")
    assert findings(connection) == {"o-2": [CHANGED.format(1)]}
