"""The journal: what is not written down is not sent, and what is final is not kept."""

import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.client.sales import PRICE, TEA, Counter
from tests.terminal.phones import shopper_with_phone
from tests.trust.secrets import files_with_secrets
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.client import Failure, Line, Refusal
from tillmesh.client import journal as journals
from tillmesh.client.journal import Entry, Journal

NOWHERE = "127.0.0.1:1"
BIG = "x" * 4096


def entry(number: int, note: str = "") -> Entry:
    request = api.SellRequest(
        checkout_id=f"c-{number}", lines=[api.NewLine(note=note)], pay_code="12345678901234567890"
    )
    return Entry(f"c-{number}", f"c-{number}", request)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk on which no file grows beyond that size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_an_entry_is_read_back_without_its_secrets(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "till.journal", NOWHERE)) as journal:
        await journal.write(entry(1))
        assert journal.entries("c-1")[0].request == entry(1).request
        await journal.write(entry(2))
        await journal.strike(entry(1))
    with closing(Journal(tmp_path / "till.journal", NOWHERE)) as journal:
        assert journal.subjects() == ["c-2"]
        (read,) = journal.entries("c-2")
        expected = entry(2).request
        expected.ClearField("pay_code")
        assert (read.request, read.has_lost_secret) == (expected, True)


async def test_an_id_of_an_open_request_is_taken(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "till.journal", NOWHERE)) as journal:
        await journal.write(entry(1))
        await journal.write(entry(1))
        with pytest.raises(Failure, match="c-1 is the id of another request"):
            await journal.write(entry(1, "other goods"))
        assert [one.request for one in journal.entries("c-1")] == [entry(1).request]


async def test_a_journal_is_for_one_till_at_a_time(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "till.journal", NOWHERE)), pytest.raises(Failure, match="another till uses it"):
        Journal(tmp_path / "till.journal", NOWHERE)
    Journal(tmp_path / "till.journal", NOWHERE).close()


async def test_what_one_terminal_was_asked_is_not_asked_of_another(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "till.journal", NOWHERE)) as journal:
        await journal.write(entry(1))
    with pytest.raises(Failure, match=f"unfinished requests to the terminal at {NOWHERE}"):
        Journal(tmp_path / "till.journal", "127.0.0.1:2")
    with closing(Journal(tmp_path / "till.journal", NOWHERE)) as journal:
        await journal.strike(entry(1))
    Journal(tmp_path / "till.journal", "127.0.0.1:2").close()


async def test_what_this_version_cannot_read_is_told_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "till.journal"
    with closing(Journal(path, NOWHERE)) as journal:
        await journal.write(entry(1))
    for column, value in (("type", "tillmesh.api.terminal.v9.SellRequest"), ("content", b"\xff")):
        with closing(sqlite3.connect(path)) as disk, disk:
            disk.execute(f"UPDATE requests SET {column} = ?", (value,))
        with pytest.raises(Failure, match=r"till\.journal has a request that this version cannot read: c-1"):
            Journal(path, NOWHERE)
    with closing(sqlite3.connect(path)) as disk:
        assert disk.execute("SELECT request_id FROM requests").fetchall() == [("c-1",)]


async def test_a_journal_is_its_owners_alone(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with closing(Journal(tmp_path / "till.journal", NOWHERE)) as journal:
            await journal.write(entry(1))
            modes = modes_in(tmp_path)
    finally:
        os.umask(umask)
    assert modes == {"till.journal": 0o600, "till.journal-journal": 0o600}


@pytest.mark.process
async def test_a_till_whose_block_has_ended_says_so(counter: Counter) -> None:
    async with counter.till() as till:
        sale = await till.open([TEA])
    for asks in (sale.submit, sale.read, sale.ended, lambda: till.open([TEA])):
        with pytest.raises(Failure, match="The till is closed"):
            await asks()


async def test_a_journal_ends_at_its_bound_and_does_not_grow_by_what_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "ENTRIES_MAX", 3)
    path = tmp_path / "till.journal"
    with closing(Journal(path, NOWHERE)) as journal:
        for number in range(3):
            await journal.write(entry(number, BIG))
        size = path.stat().st_size
        with pytest.raises(Failure, match="3 open requests"):
            await journal.write(entry(3, BIG))
        for number in range(3, 30):
            await journal.strike(entry(number - 3, BIG))
            await journal.write(entry(number, BIG))
        assert path.stat().st_size <= 2 * size


@pytest.mark.process
async def test_with_a_full_disk_there_is_one_plain_error_and_nothing_is_sent(counter: Counter) -> None:
    shopper = counter.behind.shopper()
    async with counter.till() as till:
        sizes = [TEA, *[Line(sku="TEA", quantity=1, unit_price_minor=0, note="x" * 128)] * 100]
        with (
            largest_file(counter.journal.stat().st_size),
            pytest.raises(Failure, match=r"till\.journal cannot be written: .*\. So nothing was sent"),
        ):
            await till.sell(sizes, amount=PRICE, payer=shopper, checkout_id="on-a-full-disk")
        assert await till.resume() == []
        with pytest.raises(Refusal, match="CHECKOUT_NOT_FOUND"):
            await till.find("on-a-full-disk")
        sale = await till.sell(sizes, amount=PRICE, payer=shopper, checkout_id="on-a-full-disk")
        assert (await sale.ended()).hands_over
    assert counter.payments(sale) == ["CAPTURED"]


def test_a_disk_that_takes_no_writes_is_told_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "till.journal"
    with largest_file(0), pytest.raises(Failure, match=r"till\.journal cannot be opened"):
        Journal(path, NOWHERE)
    with pytest.raises(Failure, match="cannot be opened"):
        Journal(tmp_path / "nowhere" / "till.journal", NOWHERE)


@pytest.mark.process
async def test_no_pay_code_is_on_the_disk(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind, threshold=0)
    async with counter.till() as till:
        await till.sell([TEA], amount=PRICE, pay_code=phone.code())
        assert files_with_secrets(counter.journal.parent) == []
        assert len(await till.resume()) == 1
