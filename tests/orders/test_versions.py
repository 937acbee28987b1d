"""Every version of an order stays readable, and whoever rewrites one or its salt is found out."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection

from order_service.audit import version_findings
from tests.clocks import ManualClock
from tests.orders.shop import COFFEE, LEASE_MS, SERVER, TEA, TEA_MINOR, Shop, acting, event_name, line, state
from tillmesh.api.type.v1.line_item_pb2 import Adjustment, LineItem, PriceOverride
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.chains import HistoryTable, read_chains
from tillmesh.storage.database import open_engine, parse_url

HISTORY = HistoryTable("order_history", "orders", "order_id")
CHANGED = "version {} was changed: the history covers other lines, labels or texts"
TERMINAL = "spiffe://tillmesh/terminal/store-1/t1"
PAYMENTS = "spiffe://tillmesh/payments/p1"
PLATFORM = "spiffe://tillmesh/platform/app"
PHONE = "spiffe://tillmesh/phone/phone-1"


async def test_every_version_says_for_ever_what_it_asked_for(shop: Shop) -> None:
    first = await shop.create(prices_include_tax=True)
    shop.clock.advance(5)
    second = await shop.replace_lines(version=1)
    await shop.lock("p", version=2, minor=400)
    paid = await shop.complete("p", 1)
    assert state(paid) == "PAID"
    for order, lines in ((first, TEA), (second, COFFEE)):
        version = await shop.version(order.version)
        assert (version.order_id, version.version) == ("o-1", order.version)
        assert list(version.lines) == list(lines)
        assert (version.amount, version.prices_include_tax) == (order.amount, True)
        assert version.create_time == order.update_time
    assert first.amount.minor_units == TEA_MINOR


async def test_a_version_is_not_touched_by_what_does_not_change_the_lines(shop: Shop) -> None:
    await shop.create()
    version = await shop.version(1)
    shop.clock.advance(5)
    await shop.lock("p")
    shop.clock.advance(LEASE_MS)
    await shop.sweep()
    await shop.cancel(version=1)
    assert await shop.version(1) == version


@pytest.mark.parametrize("wanted", [2, 0, -1, 2**63 - 1])
async def test_a_version_that_an_order_never_had_is_named_with_those_that_it_has(shop: Shop, wanted: int) -> None:
    await shop.create()
    with pytest.raises(Refusal, match=f"Order o-1 has no version {wanted}; its versions are 1 to 1") as raised:
        await shop.version(wanted)
    assert raised.value.reason == "ORDER_VERSION_NOT_FOUND"


async def test_a_store_sees_no_version_of_another_store(shop: Shop) -> None:
    await shop.create(store_id="store-2")
    with acting(TERMINAL):
        for order_id in ("o-1", "o-9"):
            with pytest.raises(Refusal, match="STORE_DENIED"):
                await shop.version(1, order_id)


# Who did it.


async def actors(shop: Shop) -> list[tuple[str, str]]:
    return [(event_name(entry), entry.actor) for entry in await shop.history()]


async def test_every_change_names_who_made_it(shop: Shop) -> None:
    with acting(TERMINAL):
        await shop.create()
        await shop.replace_lines(version=1)
    with acting(PAYMENTS):
        await shop.lock("p", version=2, minor=400)
    with acting(PLATFORM):
        await shop.cancel_payment("p")
    with acting(PHONE):
        await shop.lock("q", version=2, minor=400)
    expected = [
        ("CREATED", TERMINAL),
        ("LINES_REPLACED", TERMINAL),
        ("LOCKED", PAYMENTS),
        ("PAYMENT_CANCELED", PLATFORM),
    ]
    assert await actors(shop) == [*expected, ("LOCKED", PHONE)]
    with acting(TERMINAL):
        assert await actors(shop) == [*expected, ("LOCKED", "payer")]


async def test_nobody_is_named_where_nobody_is_known(shop: Shop) -> None:
    await shop.create()
    assert await actors(shop) == [("CREATED", "")]


async def test_the_sweeper_acts_for_the_server(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    shop.clock.advance(LEASE_MS)
    sweeping = asyncio.create_task(shop.sweeper.run())
    while state(await shop.order()) == "LOCKED":
        pass
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping
    assert (await actors(shop))[-1] == ("LEASE_EXPIRED", SERVER)


# What the chain covers.

BASKET = (
    line(
        "TEA",
        2,
        125,
        "Tea",
        adjustments=[Adjustment(reason_code="STAFF", text="Staff", amount_minor=-10)],
        amount_minor=240,
    ),
    line(
        "MUG",
        1,
        500,
        "Mug",
        price_source=LineItem.PRICE_SOURCE_OVERRIDE,
        price_override=PriceOverride(reason="dented", actor=TERMINAL, catalogue_price_minor=600),
        tax_code="S",
        tax_rate_ppm=200_000,
        note="no handle",
    ),
)


@pytest.fixture
async def url(tmp_path: Path, clock: ManualClock) -> str:
    """An order of two versions and one of one, in a database without its triggers."""
    url = f"sqlite:///{tmp_path / 'orders.db'}"
    shop = Shop(url, clock)
    await shop.create("o-1", BASKET, labels={"note": "with a bow"}, cashier_id="Ada Lovelace", lane="lane-1")
    await shop.replace_lines(1, [*BASKET, *COFFEE])
    await shop.create("o-2", BASKET)
    await shop.database.close()
    with open_engine(parse_url(url)).begin() as connection:
        for table in ("order_versions", "order_history"):
            for verb in ("update", "delete"):
                connection.exec_driver_sql(f"DROP TRIGGER {table}_no_{verb}")
    return url


def found(url: str, tamper: Callable[[Connection], object] | str = "SELECT 1") -> list[tuple[str, str]]:
    """What the audit says of a database after somebody was there."""
    with open_engine(parse_url(url)).begin() as connection:
        if isinstance(tamper, str):
            connection.exec_driver_sql(tamper)
        else:
            tamper(connection)
        chains = [(chain.key, finding) for chain in read_chains(connection, HISTORY) for finding in chain.findings]
        return chains + list(version_findings(connection))


async def test_what_was_not_touched_is_whole(url: str) -> None:
    assert found(url) == []


LINES = "UPDATE order_versions SET lines = replace(lines, '{}', '{}') WHERE order_id = 'o-1' AND version = 1"


@pytest.mark.parametrize(
    "tamper",
    [
        LINES.format("Tea", "Tee"),
        LINES.format('"TEA"', '"TEE"'),
        LINES.format(",125,", ",124,"),
        LINES.format("-10", "-11"),
        LINES.format("Staff", "Friend"),
        LINES.format("dented", "new"),
        LINES.format("200000", "100000"),
        LINES.format("no handle", "one handle"),
        LINES.format("[", ""),
        "UPDATE order_versions SET lines = '[]' WHERE order_id = 'o-1' AND version = 1",
        "UPDATE order_versions SET lines = 7 WHERE order_id = 'o-1' AND version = 1",
        "UPDATE order_versions SET salt = randomblob(16) WHERE order_id = 'o-1' AND version = 1",
        "UPDATE order_versions SET salt = 'none' WHERE order_id = 'o-1' AND version = 1",
        "UPDATE order_versions SET prices_include_tax = 1 WHERE order_id = 'o-1' AND version = 1",
        "UPDATE order_versions SET amount_minor = 1 WHERE order_id = 'o-1' AND version = 1",
        "UPDATE order_versions SET created_at_ms = 1 WHERE order_id = 'o-1' AND version = 1",
    ],
)
async def test_a_version_that_was_rewritten_shows(url: str, tamper: str) -> None:
    assert found(url, tamper) == [("o-1", CHANGED.format(1))]


@pytest.mark.parametrize(
    "assignment",
    [
        "labels = '{}'",
        "labels = 'note'",
        "cashier_id = 'Grace Hopper'",
        "lane = 'lane-2'",
        "terminal_id = 't2'",
        "store_id = 'store-2'",
        "payer_value = 'payer-2'",
        "payer_kind = 'REFERENCE'",
        "currency = 'EUR'",
    ],
)
async def test_what_all_versions_have_in_common_shows_for_each_if_it_was_rewritten(url: str, assignment: str) -> None:
    tamper = f"UPDATE orders SET {assignment} WHERE order_id = 'o-1'"
    assert found(url, tamper) == [("o-1", CHANGED.format(1)), ("o-1", CHANGED.format(2))]


async def test_a_version_that_was_removed_or_made_up_shows(url: str) -> None:
    removed = "DELETE FROM order_versions WHERE order_id = 'o-1' AND version = 2"
    assert found(url, removed) == [("o-1", "version 2 is missing")]
    made_up = (
        "INSERT INTO order_versions SELECT order_id, 2, lines, prices_include_tax, amount_minor, salt, created_at_ms "
        "FROM order_versions WHERE order_id = 'o-2'"
    )
    assert found(url, made_up)[1:] == [("o-2", "version 2 is in no row of the history")]


async def test_a_content_hash_that_was_made_to_fit_breaks_the_chain(url: str) -> None:
    tamper = "UPDATE order_history SET content_hash = 'ab' WHERE order_id = 'o-2'"
    chain = "row 1 was changed: its hash is not that of its content and the row before"
    assert found(url, tamper) == [("o-2", chain), ("o-2", CHANGED.format(1))]


async def test_no_text_that_may_have_to_be_erased_stands_in_the_history(url: str) -> None:
    with open_engine(parse_url(url)).connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM order_history").all()
    told = repr(rows)
    assert [text for text in ("Tea", "Mug", "Staff", "dented", "with a bow", "Ada Lovelace") if text in told] == []
    hashes = [row.content_hash for row in rows]
    assert len(rows) == len(set(hashes)) == 3  # equal lines of two orders do not show to be equal
