"""What is pruned of orders: their old histories and versions, with a chain that says so; never what was decided."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from order_service.pruning import PRUNABLE
from tests.orders.shop import COFFEE, TEA, Shop, event_name, state
from tests.pruning import audit, counts, findings, prune
from tillmesh.cli.audit.databases import HISTORY_TABLES
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.storage import pruning
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.statements import Transaction

OLD_MS = 1_000


async def rows(shop: Shop, query: str) -> list[tuple[Any, ...]]:
    def read(transaction: Transaction) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in transaction.exec_driver_sql(query)]

    return await shop.database.run(read)


async def execute(shop: Shop, *statements: str) -> None:
    def run(transaction: Transaction) -> None:
        for statement in statements:
            transaction.exec_driver_sql(statement)

    await shop.database.run(run)


async def pay(shop: Shop, order_id: str, payment_id: str, version: int = 1, minor: int = 250) -> None:
    await shop.lock(payment_id, order_id=order_id, version=version, minor=minor)
    payment = await shop.complete(payment_id, 1, order_id)
    assert state(payment) == "PAID"


async def sell(shop: Shop) -> None:
    """o-1 is changed twice and paid, o-2 paid at once, o-3 canceled, o-4 open; all of them are old but o-5."""
    for number in range(1, 5):
        await shop.create(f"o-{number}")
    await shop.replace_lines(1, COFFEE)
    await shop.replace_lines(2, TEA)
    await pay(shop, "o-1", "p-1", version=3)
    await pay(shop, "o-2", "p-2")
    await shop.cancel(1, "o-3")
    shop.clock.advance(OLD_MS)
    await shop.create("o-5")
    await pay(shop, "o-5", "p-5")


async def prune_old(shop: Shop) -> list[pruning.Page]:
    now_ms = shop.clock.now_ms()
    return await prune(shop.database, PRUNABLE, now_ms - OLD_MS + 1, now_ms)


async def test_old_final_orders_keep_their_last_event_and_what_was_paid(shop: Shop, database_url: str) -> None:
    await sell(shop)
    before = {f"o-{number}": await shop.order(f"o-{number}") for number in range(1, 6)}
    last = {order_id: (await shop.history(order_id))[-1] for order_id in before}
    assert await counts(shop.database, PRUNABLE, shop.clock.now_ms()) == {"order_history": 3}
    pages = await prune_old(shop)
    assert sum(page.rows for page in pages) == 4 + 2 + 1
    assert {order_id: await shop.order(order_id) for order_id in before} == before
    for order_id in ("o-1", "o-2", "o-3"):
        assert await shop.history(order_id) == [last[order_id]]
    assert [event_name(event) for event in await shop.history("o-4")] == ["CREATED"]
    assert len(await shop.history("o-5")) == 3
    assert [
        version for (version,) in await rows(shop, "SELECT version FROM order_versions WHERE order_id = 'o-1'")
    ] == [3]
    assert await counts(shop.database, PRUNABLE, shop.clock.now_ms()) == {"order_history": 0}
    assert audit(database_url, "order_history") == []


async def test_a_version_that_is_gone_is_told_apart_from_one_that_never_was(shop: Shop) -> None:
    await sell(shop)
    await prune_old(shop)
    assert (await shop.version(3)).amount.minor_units == 250
    for version, reason in ((1, "ORDER_VERSION_PRUNED"), (2, "ORDER_VERSION_PRUNED"), (4, "ORDER_VERSION_NOT_FOUND")):
        with pytest.raises(Refusal) as raised:
            await shop.version(version)
        assert raised.value.reason == reason


async def test_what_is_repeated_after_a_prune_acts_once_and_is_answered_as_before(
    shop: Shop, database_url: str
) -> None:
    create, cancel, change = new_request_id(), new_request_id(), new_request_id()
    await shop.create(request_id=create)
    await shop.replace_lines(1, COFFEE, request_id=change)
    canceled = await shop.cancel(2, request_id=cancel)
    await shop.create("o-2")
    await pay(shop, "o-2", "p-2")
    shop.clock.advance(OLD_MS)
    await prune_old(shop)
    assert await shop.create(request_id=create) == canceled
    assert await shop.replace_lines(1, COFFEE, request_id=change) == canceled
    assert await shop.cancel(2, request_id=cancel) == canceled
    with pytest.raises(Refusal, match="o-1 already"):
        await shop.create()
    assert state(await shop.complete("p-2", 1, "o-2")) == "PAID"
    assert state(await shop.lock("p-2", order_id="o-2")) == "PAID"
    assert (await shop.lock("p-3", order_id="o-2")).reason == "ORDER_ALREADY_PAID"
    assert audit(database_url, "order_history") == []


async def test_the_database_deletes_nothing_that_no_entry_covers(shop: Shop) -> None:
    await sell(shop)
    await prune_old(shop)
    for statement in (
        "DELETE FROM order_history WHERE order_id = 'o-1'",
        "DELETE FROM order_history WHERE order_id = 'o-5' AND number = 1",
        "DELETE FROM order_versions WHERE order_id = 'o-1'",
        "DELETE FROM order_versions WHERE order_id = 'o-4'",
        "DELETE FROM pruned",
        "UPDATE pruned SET actor = 'nobody'",
        "UPDATE order_history SET actor = 'nobody' WHERE order_id = 'o-1'",
    ):
        with pytest.raises(IntegrityError, match="is append-only"):
            await execute(shop, statement)


TAMPERED = {
    "UPDATE order_history SET epoch = 9 WHERE order_id = 'o-1'": "o-1: row 5 was changed",
    "UPDATE pruned SET head = '00' || substr(head, 3) WHERE record_id = 'o-1'": "o-1: row 5 was changed",
    "UPDATE pruned SET actor = 'nobody' WHERE number = 1": "row 1 was changed",
    "UPDATE pruned SET content_hash = 'none' WHERE record_id = 'o-2'": "version 1 was changed",
    "DELETE FROM pruned WHERE number = 1": "row 2 stands where row 1 should",
    "DELETE FROM pruned WHERE number = 3": "stands where row 1 should",
    "DELETE FROM order_history WHERE order_id = 'o-1'": "o-1: there is no history of it",
    "UPDATE order_versions SET lines = '[]' WHERE order_id = 'o-1'": "o-1: version 3 was changed",
    "UPDATE orders SET cashier_id = 'nobody' WHERE order_id = 'o-2'": "o-2: version 1 was changed",
    "DELETE FROM order_versions WHERE order_id = 'o-1'": "o-1: version 3 is missing",
    "DELETE FROM orders WHERE order_id = 'o-1'": "o-1: part of its history was pruned, but orders has no such",
}
"""What somebody may do to the database, and what is found."""


async def test_whatever_is_changed_afterwards_is_found(shop: Shop, database_url: str) -> None:
    await sell(shop)
    await prune_old(shop)
    await without_triggers(shop)
    engine = open_engine(parse_url(database_url))
    with engine.connect() as connection:
        for statement, finding in TAMPERED.items():
            with connection.begin() as transaction:
                connection.exec_driver_sql(statement)
                found = findings(connection, HISTORY_TABLES[0])
                transaction.rollback()
            assert [text for text in found if finding in text], (statement, found)
    engine.dispose()
    assert audit(database_url, "order_history") == []


async def without_triggers(shop: Shop, *statements: str) -> None:
    if shop.database.replica:  # PostgreSQL
        triggers = await rows(shop, "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal")
        drops = [f"DROP TRIGGER {name} ON {table}" for name, table in triggers]
    else:
        triggers = await rows(shop, "SELECT name FROM sqlite_master WHERE type = 'trigger'")
        drops = [f"DROP TRIGGER {name}" for (name,) in triggers]
    await execute(shop, *drops, *statements)


async def test_an_order_that_was_tampered_with_is_left_alone_and_named(shop: Shop, database_url: str) -> None:
    await sell(shop)
    await without_triggers(shop, "UPDATE order_history SET actor = 'nobody' WHERE order_id = 'o-2' AND number = 1")
    found = audit(database_url, "order_history")
    pages = await prune_old(shop)
    assert [finding for page in pages for finding in page.findings] == found != []
    assert len(await shop.history("o-2")) == 3
    assert len(await shop.history("o-3")) == 1
    assert audit(database_url, "order_history") == found


async def test_lines_that_were_tampered_with_are_left_alone_and_named(shop: Shop, database_url: str) -> None:
    await sell(shop)
    await without_triggers(shop, "UPDATE order_versions SET lines = '[]' WHERE order_id = 'o-1' AND version = 2")
    pages = await prune_old(shop)
    assert [finding.partition(":")[0] for page in pages for finding in page.findings] == ["o-1"]
    assert len(await shop.history("o-1")) == 5


@pytest.mark.parametrize("at_most", [2, 3])
async def test_a_long_history_goes_a_few_rows_at_a_time(
    shop: Shop, database_url: str, monkeypatch: pytest.MonkeyPatch, at_most: int
) -> None:
    monkeypatch.setattr(pruning, "ROWS_A_PAGE", at_most)
    await sell(shop)
    before = await shop.order("o-1"), await shop.order("o-2")
    now_ms = shop.clock.now_ms()
    after: Any = pruning.START
    removed = 0
    while after is not None:  # kill -9 after any of these leaves what can be verified, and repeated
        page = await shop.database.run(PRUNABLE[0].prune, now_ms, after, now_ms)
        assert page.rows <= at_most
        assert audit(database_url, "order_history") == []
        removed, after = removed + page.rows, page.after
    assert removed == 7
    assert (await shop.order("o-1"), await shop.order("o-2")) == before
    assert len(await rows(shop, "SELECT number FROM pruned")) >= 3
    assert await counts(shop.database, PRUNABLE, now_ms) == {"order_history": 0}


async def test_pages_of_many_orders_remove_all_of_them_once(
    shop: Shop, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "ROWS_A_PAGE", 4)
    for number in range(9):
        await shop.create(f"o-{number}")
        await shop.cancel(1, f"o-{number}")
    now_ms = shop.clock.now_ms() + 1
    pages = await prune(shop.database, PRUNABLE, now_ms, now_ms)
    assert [page.rows for page in pages] == [3, 3, 3]
    assert len(await rows(shop, "SELECT number FROM pruned")) == 9
    assert [page.rows for page in await prune(shop.database, PRUNABLE, now_ms, now_ms)] == [0]
    assert audit(database_url, "order_history") == []


async def test_two_prunes_at_once_remove_everything_once(shop: Shop, database_url: str) -> None:
    await sell(shop)
    both = await asyncio.gather(prune_old(shop), prune_old(shop))
    assert sum(page.rows for pages in both for page in pages) == 7
    assert len(await rows(shop, "SELECT number FROM pruned")) == 3
    assert audit(database_url, "order_history") == []
