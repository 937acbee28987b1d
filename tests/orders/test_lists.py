"""What a page of orders costs is the same however many there are, and it has no more than a message holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import literal_column, select
from sqlalchemy.sql import ClauseElement

from order_service.lifecycle import OrderState
from order_service.queries import list_orders
from order_service.tables import METADATA, orders
from tests.clocks import ManualClock
from tests.databases import NewDatabase
from tests.orders.shop import PAYER, Shop, line
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_pb2 import Order
from tillmesh.client.connections import Connections
from tillmesh.payer import Payer, identity
from tillmesh.storage.lists import ROWS_MAX
from tillmesh.storage.statements import NO_VALUES, Result, Transaction, Values

FEW, MANY, OPEN = 2_000, 100_000, 20
"""Orders of one payer at one store, of which only the oldest are open."""
COPIES = 5_000
MESSAGE_MAX = 4 * 1024 * 1024
"""What a gRPC client takes if nothing else is said."""
PAGE_LENGTH = 100_000
"""More than the texts of a page have, unless it is of one order."""
PAID, PENDING = [OrderState.PAID], [OrderState.OPEN, OrderState.LOCKED]
FILTERS: Sequence[tuple[str, Payer | None, list[OrderState]]] = [
    (store, payer, states)
    for store in ("", "store-1")
    for payer in (None, identity("payer-1"))
    for states in ([], PENDING[:1], PENDING[1:], PENDING, PAID, PENDING[:1] + PAID)
]


class Measuring(Transaction):
    """Counts what its statements read: SQLite's steps, PostgreSQL's rows; and the texts that they return."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction._cursor, transaction._statements)
        self.read = 0
        self.text_length = 0

    def execute(self, statement: ClauseElement, values: Values = NO_VALUES) -> Result:
        connection = self._cursor.connection
        if self._statements.dialect.name == "sqlite":
            connection.set_progress_handler(self._step, 1)
        else:
            compiled = self._statements.compiled(statement, values)
            explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled.text}"
            self.read += rows_of(self.exec_driver_sql(explained, compiled.parameters(values)).scalar_one()[0]["Plan"])
        result = super().execute(statement, values)
        if self._statements.dialect.name == "sqlite":
            connection.set_progress_handler(None, 1)
        self.text_length += sum(len(cell) for row in result for cell in row.values() if isinstance(cell, str))
        return result

    def _step(self) -> int:
        self.read += 1
        return 0


def rows_of(plan: Mapping[str, Any]) -> int:
    """Rows that PostgreSQL went through, also those that a condition then left out."""
    through = plan["Actual Rows"] + sum(count for name, count in plan.items() if name.startswith("Rows Removed"))
    return int(through * plan["Actual Loops"]) + sum(map(rows_of, plan.get("Plans", ())))


async def measured(
    shop: Shop, store_id: str, payer: Payer | None, states: list[OrderState], at_most: int = 50
) -> Measuring:
    """The first page of a list."""

    def look(transaction: Transaction) -> Measuring:
        measuring = Measuring(transaction)
        list_orders(measuring, store_id, payer, states, None, at_most)
        return measuring

    return await shop.database.run(look)


async def fill(shop: Shop, count: int) -> None:
    """Copies one order, so that there are as many as told; all but the oldest are canceled."""
    await shop.create("o-0")
    of = {
        "order_id": "'o-' || CAST(i AS VARCHAR)",
        "state": f"CASE WHEN i > {OPEN} THEN 'CANCELED' ELSE state END",
        "created_at_ms": "created_at_ms - 1000000 + i",
    }
    columns = [column.name for column in orders.columns if column.computed is None]
    names, copied = ", ".join(columns), ", ".join(of.get(name, name) for name in columns)

    def copy(transaction: Transaction, first: int, last: int) -> None:
        transaction.exec_driver_sql(
            f"WITH RECURSIVE numbers(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM numbers WHERE i < {last}) "
            f"INSERT INTO orders ({names}) SELECT {copied} FROM orders, numbers WHERE order_id = 'o-0'"
        )
        transaction.exec_driver_sql(
            f"WITH RECURSIVE numbers(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM numbers WHERE i < {last}) "
            "INSERT INTO order_versions SELECT 'o-' || CAST(i AS VARCHAR), version, lines, prices_include_tax, "
            "amount_minor, salt, created_at_ms FROM order_versions, numbers WHERE order_id = 'o-0'"
        )

    for first in range(1, count + 1, COPIES):  # a transaction may not take long, on a busy machine either
        await shop.database.run(copy, first, min(first + COPIES - 1, count))
    await shop.database.run(lambda transaction: transaction.exec_driver_sql("ANALYZE"))
    await shop.cancel(1, "o-0")


async def test_a_page_reads_as_much_of_a_long_list_as_of_a_short_one(
    new_database: NewDatabase, clock: ManualClock
) -> None:
    few, many = (Shop(new_database(METADATA), clock) for _ in range(2))
    await fill(few, FEW)
    await fill(many, MANY)
    for filters in FILTERS:
        of_few, of_many = [(await measured(shop, *filters)).read for shop in (few, many)]
        assert 0 < of_many <= 1.1 * of_few, filters
    await few.database.close()
    await many.database.close()


@pytest.mark.parametrize("store_id", ["", "store-1"])
async def test_an_empty_page_with_a_token_leads_on_to_all_that_fits(shop: Shop, store_id: str) -> None:
    await fill(shop, FEW)
    request = api.ListOrdersRequest(store_id=store_id, states=[Order.STATE_OPEN])
    pages: list[list[str]] = []
    while not pages or request.page_token:
        answer = await shop.service.ListOrders(request)
        pages.append([order.order_id for order in answer.orders])
        request.page_token = answer.next_page_token
    assert pages[0] == []
    assert [order_id for page in pages for order_id in page] == [f"o-{number}" for number in range(OPEN, 0, -1)]
    assert len(pages) <= FEW // ROWS_MAX + 1


async def test_a_client_that_lists_goes_on_after_an_empty_page(shop: Shop) -> None:
    class Direct(Connections):
        async def call(self, method: Any, request: Any, *, timeout_s: float = 0, attempts: int = 1) -> Any:
            return await method(request)

    await fill(shop, FEW)
    method: Any = shop.service.ListOrders
    request = api.ListOrdersRequest(states=[Order.STATE_OPEN])
    listed = Direct({}).listed(method, request, lambda answer: answer.orders)
    assert [order.order_id async for order in listed] == [f"o-{number}" for number in range(OPEN, 0, -1)]


async def test_what_is_pending_of_a_payer_is_on_one_page_whatever_came_later(shop: Shop) -> None:
    await fill(shop, FEW)
    for states in ([Order.STATE_OPEN], [Order.STATE_OPEN, Order.STATE_LOCKED]):
        answer = await shop.service.ListOrders(api.ListOrdersRequest(payer=PAYER, states=states))
        assert (len(answer.orders), answer.next_page_token) == (OPEN, "")


async def test_only_the_lines_that_a_page_shows_are_read(shop: Shop) -> None:
    lines = [line(f"{number:064}", 1, 1, "x" * 20) for number in range(1_000)]
    for number in range(8):
        await shop.create(f"o-{number}", lines)
        shop.clock.advance(1)
    length = (await shop.database.run(lambda transaction: transaction.execute(_LENGTH).scalar_one())) + 500
    assert (await measured(shop, "", None, [], at_most=1)).text_length < length
    assert (await measured(shop, "", None, [], at_most=200)).text_length < max(PAGE_LENGTH, length) + 2_000


_LENGTH = select(orders.c.lines_length).where(orders.c.order_id == literal_column("'o-0'"))


async def test_pages_of_the_largest_orders_are_far_below_a_message(shop: Shop) -> None:
    lines = [line(f"{number:04}", 1, 1, "日" * 20, tax_code=f"{number:016}") for number in range(2_000)]
    labels = {f"{number:064}": "日" * 256 for number in range(16)}
    for number in range(3):
        await shop.create(f"o-{number}", lines, labels=labels)
        await shop.create(f"small-{number}", labels=labels)
        shop.clock.advance(1)
    request = api.ListOrdersRequest()
    seen: list[str] = []
    while not seen or request.page_token:
        answer = await shop.service.ListOrders(request)
        assert answer.ByteSize() < MESSAGE_MAX // 8
        seen += [order.order_id for order in answer.orders]
        request.page_token = answer.next_page_token
    assert sorted(seen) == sorted(
        [*(f"o-{number}" for number in range(3)), *(f"small-{number}" for number in range(3))]
    )
