"""A page of long records is chosen by their length before any of them is read."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from store_terminal.checkouts.messages import to_checkout
from store_terminal.checkouts.model import Checkout, Line
from store_terminal.checkouts.queries import CHECKOUTS, list_checkouts
from store_terminal.outbox.model import OutboxEntry, RequestKind
from store_terminal.outbox.queries import ENTRIES
from store_terminal.refunds.messages import to_refund
from store_terminal.refunds.model import TillRefund
from store_terminal.refunds.queries import REFUNDS, fill_refund, list_refunds, refunds_of
from store_terminal.tables import METADATA
from tillmesh.lines import LineItem, TaxTotal
from tillmesh.origin import NOWHERE
from tillmesh.payer import identity
from tillmesh.runtime.money import Money
from tillmesh.storage.database import Database, open_database
from tillmesh.storage.lists import After, Slice
from tillmesh.storage.statements import Transaction

COUNT = 12
ITEMS = tuple(LineItem(f"{number:032}", "x" * 32, 1, 1, tax_code="A") for number in range(500))
ADA = identity("ada")


def add_checkout(transaction: Transaction, number: int) -> None:
    lines = [Line(number, item) for number, item in enumerate(ITEMS, 1)]
    checkout = Checkout(
        checkout_id=f"c-{number:02}",
        store_id="store-1",
        origin=NOWHERE,
        payer=ADA,
        lines=lines,
        last_line_number=len(lines),
        prices_include_tax=True,
        amount=Money("GBP", 500),
        labels={},
        created_at_ms=number,
        updated_at_ms=number,
    )
    CHECKOUTS.insert(transaction, checkout)


def add_refund(transaction: Transaction, number: int) -> None:
    refund_id = f"r-{number:02}"
    ENTRIES.insert(transaction, OutboxEntry(refund_id, "c-1", RequestKind.REFUND, b"", "", "", 0, number))
    REFUNDS.insert(transaction, TillRefund(refund_id, "c-1", ADA, "GBP", "", NOWHERE, "", number))
    fill_refund(transaction, refund_id, 500, ITEMS, [TaxTotal("A", 0, 500, 0)])


def checkouts(transaction: Transaction, after: After) -> Slice[Any]:
    page = list_checkouts(transaction, ADA, [], "", "", False, after, 200)
    return page.map(lambda checkout: (checkout.checkout_id, to_checkout(checkout, 0, 0).ByteSize()))


def till_refunds(transaction: Transaction, after: After) -> Slice[Any]:
    page = list_refunds(transaction, "c-1", None, after, 200)
    return page.map(lambda refund: (refund.refund_id, to_refund(refund).ByteSize()))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = open_database(f"sqlite:///{tmp_path}/pages.db", METADATA)
    yield database
    await database.close()


@pytest.mark.parametrize(("add", "listed"), [(add_checkout, checkouts), (add_refund, till_refunds)])
async def test_pages_of_long_records_are_short_and_show_each_of_them(
    database: Database, add: Callable[[Transaction, int], None], listed: Callable[[Transaction, After], Slice[Any]]
) -> None:
    for number in range(COUNT):
        await database.run(add, number)
    seen: list[str] = []
    end: After = None
    while not seen or end:
        page = await database.run(listed, end)
        assert 1 <= len(page.records) < COUNT / 2
        assert sum(size for _key, size in page.records) < 128 * 1024
        seen += [key for key, _size in page.records]
        end = page.end
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == COUNT


async def test_a_receipt_shows_the_latest_refunds_and_that_there_are_earlier_ones(database: Database) -> None:
    for number in range(COUNT):
        await database.run(add_refund, number)
    await database.run(lambda transaction: transaction.exec_driver_sql("UPDATE outbox SET state = 'DONE'"))
    refunds, earlier = await database.run(refunds_of, "c-1")
    assert [refund.refund_id for refund in refunds] == [f"r-{number:02}" for number in range(COUNT)][-len(refunds) :]
    assert earlier
    assert len(refunds) < COUNT / 2
