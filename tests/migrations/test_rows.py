"""What servers of an earlier version wrote is there after an upgrade, and this version's servers go on with it."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from order_service import operations as orders
from order_service.lifecycle import PaymentState
from order_service.tables import METADATA as ORDERS
from store_terminal import operations as till
from store_terminal.lifecycle import CheckoutState
from store_terminal.model import Checkout
from store_terminal.tables import METADATA as TILL
from tests.migrations.rows import Rows, in_order, read, rows_of, write
from tests.sources import ROOT, SERVICES
from thirdparty_server import account_operations, ledger
from thirdparty_server.tables import METADATA as PAYMENTS
from tillmesh.cli.audit.databases import HISTORY_TABLES
from tillmesh.runtime.database import open_database, open_engine, parse_url
from tillmesh.runtime.history import read_chains
from tillmesh.runtime.migrations import Migrations
from tillmesh.runtime.money import Money

NOW_MS = 1_800_000_000_000


def upgraded(service: str, url: str) -> tuple[Engine, Rows]:
    """A database that was at the first version, and the rows that it had there."""
    engine, rows = open_engine(parse_url(url)), rows_of(service)
    steps = Migrations(ROOT / service / "migrations").upgrade(engine)
    next(steps)
    write(engine, rows)
    assert [step.version for step in steps], "there is a version after the first"
    return engine, rows


def broken_chains(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        histories = [history for history in HISTORY_TABLES if engine.dialect.has_table(connection, history.name)]
        return [
            f"{history.name} of {chain.key}: {finding}"
            for history in histories
            for chain in read_chains(connection, history)
            for finding in chain.findings
        ]


@pytest.mark.parametrize("service", SERVICES)
def test_every_row_is_there_as_it_was_and_every_history_is_a_chain(
    service: str, new_database: Callable[[], str]
) -> None:
    engine, rows = upgraded(service, new_database())
    assert read(engine, rows) == in_order(rows)
    assert broken_chains(engine) == []


async def test_the_order_under_way_is_paid(database_url: str) -> None:
    engine, rows = upgraded("order_service", database_url)
    (held,) = [row for row in rows["order_payments"] if row["state"] == PaymentState.HELD]
    database = open_database(database_url, ORDERS)
    paid, _ = await database.run(
        lambda connection: orders.complete_order_payment(
            connection,
            payment_id=held["payment_id"],
            order_id=held["order_id"],
            epoch=held["epoch"],
            now_ms=NOW_MS,
        )
    )
    await database.close()
    assert paid.state is PaymentState.PAID
    assert broken_chains(engine) == []


async def test_the_books_balance_and_are_kept_on(database_url: str) -> None:
    upgraded("thirdparty_server", database_url)
    database = open_database(database_url, PAYMENTS)
    account = await database.run(
        lambda connection: account_operations.create_deposit(
            connection, request_id="later", identity_id="ada", amount=Money("GBP", 700), now_ms=NOW_MS
        )
    )
    (pounds,) = await database.run(ledger.trial_balances)
    await database.close()
    assert account.posted_minor == 5000 + 700 - 1540 - 650 + 150
    assert sum(pounds.minor_by_kind.values()) == 0
    assert pounds.differing_account_ids == []


async def test_the_basket_can_be_abandoned(database_url: str) -> None:
    engine, rows = upgraded("store_terminal", database_url)
    (basket,) = [row for row in rows["checkouts"] if row["state"] == CheckoutState.BASKET]
    database = open_database(database_url, TILL)
    left = await database.run(
        lambda connection: till.cancel_checkout(
            connection, request_id="later", checkout_id=basket["checkout_id"], now_ms=NOW_MS
        )
    )
    await database.close()
    assert isinstance(left, Checkout)
    assert left.state is CheckoutState.CANCELED
    assert broken_chains(engine) == []
