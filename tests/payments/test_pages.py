"""A page of refunds is chosen by the length of their taxes and lines before any of them is read."""

from pathlib import Path

from thirdparty_server.payments.refunds.messages import to_refund
from thirdparty_server.payments.refunds.model import GivenBack, Refund
from thirdparty_server.payments.refunds.queries import insert_refund, list_refunds
from thirdparty_server.tables import METADATA
from tillmesh.lines import TaxTotal
from tillmesh.origin import NOWHERE
from tillmesh.payer import identity
from tillmesh.runtime.money import Money
from tillmesh.storage.database import open_database
from tillmesh.storage.lists import After
from tillmesh.storage.statements import Transaction

COUNT = 12
TAXES = tuple(TaxTotal(f"TAX-{number:012}", number, 1_000_000, 200_000) for number in range(1_000))


async def test_pages_of_long_refunds_are_short_and_show_each_of_them(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/pages.db", METADATA)

    def add(transaction: Transaction, number: int) -> None:
        refund = Refund(
            refund_id=f"r-{number:02}",
            payment_id="p-1",
            store_id="store-1",
            payer=identity("ada"),
            by_code=number % 2 == 1,
            given=GivenBack(Money("GBP", 1), TAXES),
            note="",
            origin=NOWHERE,
            actor="",
            created_at_ms=number,
        )
        insert_refund(transaction, refund)

    for number in range(COUNT):
        await database.run(add, number)
    for named_only in (False, True):
        seen: list[str] = []
        end: After = None
        while not seen or end:
            page = await database.run(list_refunds, "", "store-1", identity("ada"), named_only, end, 200)
            assert 1 <= len(page.records) < COUNT / 2
            assert sum(to_refund(refund).ByteSize() for refund in page.records) < 128 * 1024
            seen += [refund.refund_id for refund in page.records]
            end = page.end
        wanted = [f"r-{number:02}" for number in reversed(range(COUNT)) if not (named_only and number % 2)]
        assert seen == wanted
    await database.close()
