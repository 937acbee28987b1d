"""A new release takes a PostgreSQL database over while payment servers of the release before go on using it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.clocks import ManualClock
from tests.payments.side import Side, asked, payment_side, state_and_reason
from tests.postgres import Cluster
from tests.processes import Server
from thirdparty_server.tables import METADATA
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.migrations import Migrations

FIRST = """revision, down_revision = "0001", None"""
EXPAND = '''"""Payments have a mark.

Servers that do not know it leave it out.
"""

import sqlalchemy as sa
from alembic import op

revision, down_revision, oldest = "0002", "0001", "0001"


def upgrade():
    op.add_column("payments", sa.Column("mark", sa.String, nullable=False, server_default=""))
    op.create_table("marks", sa.Column("mark", sa.String, primary_key=True))
'''
INDEX = '''"""Payments are found by their mark."""

import sqlalchemy as sa

from tillmesh.storage.migrations import build_index

revision, down_revision, oldest, concurrent = "0003", "0002", "0001", True


def upgrade():
    payments = sa.Table("payments", sa.MetaData(), sa.Column("mark", sa.String))
    build_index(sa.Index("payments_mark", payments.c.mark))
'''
CONTRACT = '''"""Who confirmed is no longer kept: nobody has read it since 0003."""

from alembic import op

revision, down_revision, oldest = "0004", "0003", "0003"


def upgrade():
    op.drop_column("payments", "trace_id")
'''


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    with postgres.database(METADATA) as url:
        yield url


@pytest.fixture
def engine(url: str) -> Engine:
    return open_engine(parse_url(url))


@pytest.fixture
async def old(url: str, tmp_path: Path, order_service: Server, clock: ManualClock) -> AsyncIterator[Side]:
    async with payment_side(url, tmp_path, order_service.address, clock) as side:
        yield side


def release(folder: Path, *steps: str) -> Migrations:
    """The migrations of a release that has these steps after the first one."""
    for number, text in enumerate((FIRST, *steps), 1):
        (folder / f"{number:04}_step.py").write_text(text)
    return Migrations(folder)


def taken(migrations: Migrations, engine: Engine) -> list[str]:
    return [step.version for step in migrations.upgrade(engine)]


@asynccontextmanager
async def paying(side: Side, payer_id: str) -> AsyncIterator[list[tuple[str, str]]]:
    """Payments one after the other, and at least one more after the block."""
    ends: list[tuple[str, str]] = []
    stop = asyncio.Event()

    async def pay() -> None:
        ends.append(state_and_reason(await side.pay(await side.order(payer_id))))

    async def pay_on() -> None:
        while not stop.is_set():
            await pay()

    await pay()
    task = asyncio.create_task(pay_on())
    yield ends
    stop.set()
    await task
    await pay()


async def test_two_releases_pay_side_by_side(
    old: Side,
    url: str,
    engine: Engine,
    tmp_path: Path,
    order_service: Server,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    payer_id = await old.shopper(funds=1_000_000)
    async with paying(old, payer_id) as ends:
        upgraded = await asyncio.to_thread(taken, release(tmp_path, EXPAND, INDEX), engine)
    assert upgraded == ["0002", "0003"]
    assert set(ends) == {("CAPTURED", "")}

    async with payment_side(url, tmp_path, order_service.address, clock):  # the old release starts again as well
        pass
    monkeypatch.setitem(METADATA.info, "version", "0003")
    async with payment_side(url, tmp_path, order_service.address, clock) as new:
        request = asked(await old.order(payer_id))
        both = await asyncio.gather(*(side.payments.CreatePayment(request) for side in (old, new)))
        assert [state_and_reason(payment) for payment in both] == [("CAPTURED", "")] * 2
        payment = await old.captured(payer_id)
        await new.refund(payment.payment_id, 300)
        assert (await old.payment(payment.payment_id)).refunded.minor_units == 300
        await new.books()


async def test_a_step_that_servers_would_mind_waits_until_they_are_gone(
    old: Side, url: str, engine: Engine, tmp_path: Path, order_service: Server, clock: ManualClock
) -> None:
    payer_id = await old.shopper(funds=5000)
    next_but_one = release(tmp_path, EXPAND, INDEX, CONTRACT)
    with pytest.raises(ValueError, match="servers that need version 0001 of the schema use the database "):
        taken(next_but_one, engine)
    assert next_but_one.found(engine) == "0003"
    assert state_and_reason(await old.pay(await old.order(payer_id))) == ("CAPTURED", "")

    await old.database.close()
    assert taken(next_but_one, engine) == ["0004"]
    with pytest.raises(ValueError, match="at version 0004 of its schema, this server needs version 0001: run the rel"):
        async with payment_side(url, tmp_path, order_service.address, clock):
            pass


async def test_an_index_whose_build_was_cut_short_is_built_again(engine: Engine, tmp_path: Path, old: Side) -> None:
    """PostgreSQL leaves an index that it keeps up to date and never uses."""
    assert taken(release(tmp_path, EXPAND), engine) == ["0002"]
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE INDEX payments_mark ON payments (mark)")
        connection.exec_driver_sql(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'payments_mark'::regclass"
        )
    assert taken(release(tmp_path, EXPAND, INDEX), engine) == ["0003"]
    with engine.connect() as connection:
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'payments_mark'::regclass"
        assert connection.exec_driver_sql(valid).scalar_one() is True
