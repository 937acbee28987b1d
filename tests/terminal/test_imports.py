"""Imports in parts: all of their articles are on sale at once or none, and no step is longer than another."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.sql import ClauseElement

from store_terminal.catalogue import operations, steps
from store_terminal.catalogue.model import CatalogueImport, CatalogueItem, ImportState
from store_terminal.catalogue.queries import find_by_gtin, find_item, list_items, on_sale
from store_terminal.catalogue.tables import catalogue, gtins, items
from store_terminal.tables import METADATA
from tests.postgres import Cluster
from tillmesh.lines import Kind, Unit
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.money import Money
from tillmesh.storage.database import Database, open_database
from tillmesh.storage.statements import NO_VALUES, Result, Transaction, Values

A_STEP = 3
GTINS = [f"{number:014d}" for number in range(1, 20)]  # the tables do not look at check digits


def article(sku: str, *gtins: str, price: int = 100, **more: Any) -> CatalogueItem:
    plain = CatalogueItem(sku, gtins, "", Kind.GOODS, Unit.PIECE, Money("GBP", price), 1, (), "", 0, 0, "")
    return replace(plain, **more)


def deposit(sku: str) -> CatalogueItem:
    return article(sku, price=25, kind=Kind.DEPOSIT)


@dataclass
class Shelf:
    """A catalogue, its database, and how far an import is."""

    database: Database

    async def put(self, *articles: CatalogueItem) -> int:
        return await self.database.run(operations.import_items, articles)

    async def begin(self, import_id: str = "i-1", *, replace_all: bool = False) -> None:
        await self.database.run(operations.create_import, import_id, replace_all=replace_all, now_ms=1)

    async def add(self, number: int, *articles: CatalogueItem, import_id: str = "i-1") -> CatalogueImport:
        content = repr(articles).encode()
        return await self.database.run(operations.add_import_items, import_id, number, articles, content, 1)

    async def commit(self, part_count: int, import_id: str = "i-1") -> CatalogueImport:
        return await self.database.run(operations.commit_import, import_id, part_count, 1)

    async def imported(self, *parts: Sequence[CatalogueItem], replace_all: bool = False) -> None:
        """An import that only waits for the terminal."""
        await self.begin(replace_all=replace_all)
        for number, part in enumerate(parts, 1):
            await self.add(number, *part)
        await self.commit(len(parts))

    async def told(self, import_id: str = "i-1") -> CatalogueImport:
        return await self.database.run(operations.get_import, import_id)

    async def step(self) -> bool:
        return await self.database.run(steps.step, 1)

    async def settle(self) -> CatalogueImport:
        while await self.step():
            pass
        return await self.told()

    async def seen(self) -> list[CatalogueItem]:
        """All articles, read in pages, by code, and by GTIN: each way tells the same."""

        def read(transaction: Transaction) -> list[CatalogueItem]:
            listed: list[CatalogueItem] = []
            while page := list_items(transaction, [listed[-1].sku] if listed else None, 2):
                listed += page
            assert listed == [find_item(transaction, each.sku) for each in listed]
            owned = {gtin: each for each in listed for gtin in each.gtins}
            assert {gtin: find_by_gtin(transaction, gtin) for gtin in GTINS} == {
                gtin: owned.get(gtin) for gtin in GTINS
            }
            assert operations.count_items(transaction) == len(listed)
            return listed

        return await self.database.run(read)

    async def rows(self) -> tuple[int, int]:
        """How many rows there are in all, of articles and of GTINs."""

        def count(transaction: Transaction) -> tuple[int, int]:
            of_items, of_gtins = (select(func.count()).select_from(table) for table in (items, gtins))
            return transaction.execute(of_items).scalar_one(), transaction.execute(of_gtins).scalar_one()

        return await self.database.run(count)


@pytest.fixture
async def shelf(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shelf]:
    monkeypatch.setattr(steps, "ITEMS_A_STEP", A_STEP)
    database = open_database(database_url, METADATA)
    yield Shelf(database)
    await database.close()


BEFORE = [article(f"B{number}", GTINS[number]) for number in range(8)]
MOVED = [
    article("A0", GTINS[12], GTINS[7]),  # long before B7 is merged
    article("B1", GTINS[2], price=7),  # B1 and B2 change their GTINs
    article("B2", GTINS[1], GTINS[13], price=8),
    replace(BEFORE[5], gtins=()),
    replace(BEFORE[6], gtins=()),
    replace(BEFORE[7], gtins=()),
    article("C9", GTINS[5]),
]


@pytest.mark.parametrize(
    ("replace_all", "after"),
    [
        (True, MOVED),
        (False, [MOVED[0], BEFORE[0], *MOVED[1:3], BEFORE[3], BEFORE[4], *MOVED[3:]]),
    ],
    ids=["replace all", "add"],
)
async def test_a_reader_sees_the_catalogue_before_an_import_or_after_it_and_nothing_between(
    shelf: Shelf, replace_all: bool, after: list[CatalogueItem]
) -> None:
    await shelf.put(*BEFORE)
    await shelf.begin(replace_all=replace_all)
    for number, part in enumerate((MOVED[:2], MOVED[2:]), 1):
        await shelf.add(number, *part)
        assert await shelf.seen() == BEFORE
    await shelf.commit(2)
    while (await shelf.told()).state is ImportState.CHECKING:
        assert await shelf.seen() == BEFORE
        await shelf.step()
    assert (await shelf.told()).violations == ()
    assert await shelf.seen() == after
    while await shelf.step():
        assert await shelf.seen() == after
    assert await shelf.rows() == (len(after), sum(len(item.gtins) for item in after))


async def test_the_first_import_is_the_catalogue(shelf: Shelf) -> None:
    await shelf.imported(BEFORE[:4], BEFORE[4:])
    assert (await shelf.settle()).state is ImportState.COMMITTED
    assert await shelf.seen() == BEFORE


@pytest.mark.parametrize(
    ("part", "replace_all", "found"),
    [
        ([article("C1", GTINS[3])], False, [("C1", "gtins", f"must be of one article, {GTINS[3]} is of 'B3'")]),
        ([article("C1", GTINS[3])], True, []),
        ([article("COLA", deposit_sku="B1")], False, [("COLA", "deposit_sku", "B1")]),
        ([article("COLA", deposit_sku="CAN")], False, [("COLA", "deposit_sku", "CAN")]),
        ([article("COLA", deposit_sku="BOTTLE")], False, []),
        ([article("COLA", deposit_sku="BOTTLE")], True, [("COLA", "deposit_sku", "BOTTLE")]),
        ([article("COLA", deposit_sku="CAN"), deposit("CAN")], True, []),
        (
            [article("COLA", deposit_sku="CAN"), replace(deposit("CAN"), unit_price=Money("EUR", 25))],
            True,
            [("COLA", "GBP")],
        ),
    ],
)
async def test_what_fits_neither_the_others_nor_what_stays_refuses_the_import(
    shelf: Shelf, part: list[CatalogueItem], replace_all: bool, found: list[tuple[str, ...]]
) -> None:
    before = [*BEFORE, deposit("BOTTLE")]
    await shelf.put(*before)
    await shelf.imported([article(f"A{number}") for number in range(7)], part, replace_all=replace_all)
    told = await shelf.settle()
    assert len(told.violations) == len(found)
    assert told.state is (ImportState.REFUSED if found else ImportState.COMMITTED)
    if found:
        assert await shelf.seen() == before
        assert await shelf.rows() == (len(before), len(BEFORE))
        named = " ".join((told.violations[0].sku, told.violations[0].field, told.violations[0].description))
        assert all(each in named for each in found[0])


async def test_only_the_first_violations_are_kept(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "VIOLATIONS_KEPT", 5)
    await shelf.imported([article(f"A{number:02}", deposit_sku="NONE") for number in range(20)])
    told = await shelf.settle()
    assert (told.state, len(told.violations)) == (ImportState.REFUSED, 5)
    assert told.checked_count < 20


async def test_what_changes_meanwhile_is_compared_as_well(shelf: Shelf) -> None:
    await shelf.put(*BEFORE)
    await shelf.begin()
    await shelf.add(1, article("C1", GTINS[9]))
    await shelf.put(article("B9", GTINS[9]))
    await shelf.commit(1)
    assert (await shelf.settle()).state is ImportState.REFUSED
    assert [each.sku for each in await shelf.seen()] == [f"B{number}" for number in (*range(8), 9)]


async def test_while_an_import_is_taken_over_nothing_else_changes(shelf: Shelf) -> None:
    """What it was compared with stays as it is until all of it is merged."""
    await shelf.put(*BEFORE)
    await shelf.imported([article("B1"), article("C1")])
    for _ in range(4):  # two steps compare and show, two merge
        with pytest.raises(Refusal, match="IMPORT_NOT_SETTLED"):
            await shelf.put(article("C1", GTINS[10]))
        with pytest.raises(Refusal, match="IMPORT_NOT_SETTLED"):
            await shelf.database.run(operations.delete_items, ["B3"])
        assert await shelf.step()
    assert await shelf.put(article("C1", GTINS[10])) == 9


async def test_a_newer_import_takes_the_place_of_one_that_is_not_committed(shelf: Shelf) -> None:
    await shelf.put(*BEFORE)
    await shelf.begin("i-1")
    await shelf.add(1, *MOVED)
    await shelf.begin("i-2", replace_all=True)
    for late in (shelf.add(2, article("Z")), shelf.commit(1)):
        with pytest.raises(Refusal, match="IMPORT_ENDED"):
            await late
    await shelf.add(1, article("ONLY", GTINS[0]), import_id="i-2")
    await shelf.commit(1, "i-2")
    assert (await shelf.settle()).state is ImportState.CANCELED
    assert await shelf.seen() == [article("ONLY", GTINS[0])]
    assert await shelf.rows() == (1, 1)


async def test_an_import_can_be_given_up_until_it_is_committed(shelf: Shelf) -> None:
    await shelf.put(*BEFORE)
    await shelf.imported(MOVED)
    await shelf.step()
    for _ in range(2):
        canceled = await shelf.database.run(operations.cancel_import, "i-1", 1)
        assert canceled.state is ImportState.CANCELED
    await shelf.settle()
    assert (await shelf.seen(), await shelf.rows()) == (BEFORE, (8, 8))
    await shelf.begin("i-2")
    await shelf.add(1, *MOVED, import_id="i-2")
    await shelf.commit(1, "i-2")
    await shelf.settle()
    with pytest.raises(Refusal, match="IMPORT_ENDED"):
        await shelf.database.run(operations.cancel_import, "i-2", 1)


async def test_parts_come_in_their_order_and_the_last_one_may_come_again(shelf: Shelf) -> None:
    await shelf.begin()
    for _ in range(2):
        assert (await shelf.add(1, *BEFORE[:2])).item_count == 2
    with pytest.raises(Refusal, match="PART_NUMBER_REUSED"):
        await shelf.add(1, *BEFORE[:3])
    for number in (0, 3):
        with pytest.raises(Refusal, match="PART_OUT_OF_ORDER"):
            await shelf.add(number, *BEFORE[3:])
    with pytest.raises(Refusal) as refused:
        await shelf.add(2, BEFORE[4], BEFORE[1], article("C", GTINS[8], GTINS[0]))
    assert [each.field for each in refused.value.violations] == [
        "items[1].sku",
        "items[1].gtins[0]",
        "items[2].gtins[1]",
    ]
    await shelf.add(2, *BEFORE[2:])
    with pytest.raises(Refusal, match="PART_OUT_OF_ORDER"):
        await shelf.commit(1)
    for _ in range(2):
        assert (await shelf.commit(2)).state is ImportState.CHECKING
    with pytest.raises(Refusal, match="IMPORT_ENDED"):
        await shelf.add(3, article("Z"))
    assert (await shelf.settle()).item_count == 8
    assert (await shelf.commit(2)).state is ImportState.COMMITTED


async def test_a_terminal_that_starts_anew_goes_on(shelf: Shelf, database_url: str) -> None:
    await shelf.put(*BEFORE)
    await shelf.imported(MOVED)
    while True:
        await shelf.database.close()
        shelf.database = open_database(database_url, METADATA)
        if not await shelf.step():
            break
    assert (await shelf.told()).state is ImportState.COMMITTED
    assert await shelf.rows() == (10, 9)


class Counting(Transaction):
    """Counts statements, and rows that were read or written."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction._cursor, transaction._statements)
        self.statements = self.rows = 0

    def execute(self, statement: ClauseElement, values: Values = NO_VALUES) -> Result:
        result = super().execute(statement, values)
        self.statements += 1
        self.rows += max(result.rowcount, len(result.all()))
        return result

    def execute_many(self, statement: ClauseElement, rows: Sequence[Values]) -> None:
        super().execute_many(statement, rows)
        self.statements += 1
        self.rows += len(rows)


async def counted(shelf: Shelf, operation: Callable[..., Any], *arguments: Any) -> tuple[Any, int, int]:
    """What an operation answers, and its statements and rows."""

    def run(transaction: Transaction) -> tuple[Any, int, int]:
        counting = Counting(transaction)
        answer = operation(counting, *arguments)
        return answer, counting.statements, counting.rows

    return await shelf.database.run(run)


@pytest.mark.parametrize("replace_all", [True, False])
async def test_no_step_takes_longer_because_there_are_more_articles(shelf: Shelf, replace_all: bool) -> None:
    many = [article(f"A{number:03}", f"{number:014d}") for number in range(36)]
    await shelf.put(*many)
    await shelf.imported([replace(each, title="new") for each in many[:18]], many[18:], replace_all=replace_all)
    number_of_steps = 0
    more = True
    while more:
        more, statements, rows = await counted(shelf, steps.step, 1)
        assert statements <= 16
        assert rows <= 12 * A_STEP
        number_of_steps += 1
    assert number_of_steps > 36 // A_STEP
    assert (await shelf.told()).state is ImportState.COMMITTED


async def test_an_article_is_found_with_as_few_rows_as_there_are_articles(shelf: Shelf) -> None:
    await shelf.put(*(article(f"A{number:03}", f"{number:014d}") for number in range(50)))
    _, statements, rows = await counted(shelf, find_by_gtin, f"{7:014d}")
    assert (statements, rows) == (3, 3)
    page, statements, rows = await counted(shelf, list_items, ["A010"], 5)
    assert [each.sku for each in page] == [f"A0{number}" for number in range(11, 16)]
    assert (statements, rows) == (2, 6)


async def test_the_articles_of_a_basket_and_their_deposits_are_found_with_few_statements(shelf: Shelf) -> None:
    await shelf.put(deposit("CAN"), *(article(f"A{number:03}", deposit_sku="CAN") for number in range(300)))
    await shelf.imported([article("A000", price=7, deposit_sku="BIN"), deposit("BIN"), article("B")])
    while (await shelf.told()).state is ImportState.CHECKING:
        await shelf.step()
    skus = [*(f"A{number:03}" for number in range(300)), "B", "NONE"]
    found, statements, _rows = await counted(shelf, on_sale, skus, 1)
    assert sorted(found) == sorted([*skus[:-1], "BIN", "CAN"])
    assert (found["A000"].unit_price, found["A001"].unit_price) == (Money("GBP", 7), Money("GBP", 100))
    assert statements == 1 + 2 * 2 + 2  # of two generations, 256 at a time; then the deposits


async def test_the_catalogue_has_one_row_that_says_what_is_seen(shelf: Shelf) -> None:
    await shelf.put(*BEFORE)
    await shelf.imported(MOVED, replace_all=True)
    await shelf.settle()
    seen = await shelf.database.run(lambda transaction: transaction.execute(select(catalogue)).all())
    assert [(row["overlay"], row["staged"], row["item_count"]) for row in seen] == [(0, 0, len(MOVED))]


async def test_replicas_that_take_an_import_over_at_once_do_it_once(
    postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "ITEMS_A_STEP", A_STEP)
    with postgres.database(METADATA) as url:
        shelves = [Shelf(open_database(url, METADATA)) for _ in range(2)]
        one = shelves[0]
        await one.put(*BEFORE)
        await one.imported(MOVED)
        for _ in range(30):
            await asyncio.gather(*(shelf.step() for shelf in shelves))
        assert (await one.settle()).state is ImportState.COMMITTED
        assert [each.sku for each in await one.seen()] == ["A0", *(f"B{number}" for number in range(8)), "C9"]
        assert await one.rows() == (10, 9)
        for shelf in shelves:
            await shelf.database.close()
