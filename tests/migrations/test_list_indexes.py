"""A page of a list is read from an index in its own order: it takes no longer however long the list is."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.sql import ClauseElement

from order_service import pruning as orders_pruning
from order_service.lifecycle import OrderState
from order_service.queries import idle_orders, list_orders
from order_service.tables import PENDING_STATES
from store_terminal import pruning as terminal_pruning
from store_terminal.checkouts.queries import forget_names, idle_baskets, list_checkouts
from store_terminal.outbox.queries import due_requests
from store_terminal.refunds.queries import list_refunds as list_till_refunds
from tests.migrations.test_migrations import tables
from thirdparty_server import pruning as payments_pruning
from thirdparty_server.payments.queries import due_payments, list_payments
from thirdparty_server.payments.refunds.queries import list_refunds
from tillmesh.payer import identity
from tillmesh.storage.database import open_database
from tillmesh.storage.pruning import START, Prunable
from tillmesh.storage.statements import NO_VALUES, Result, Transaction, Values

ADA = identity("ada")


class Explaining(Transaction):
    """Keeps SQLite's plan of each statement instead of running it."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction._cursor, transaction._statements)
        self.plan: list[str] = []

    def execute(self, statement: ClauseElement, values: Values = NO_VALUES) -> Result:
        compiled = self._statements.compiled(statement, values)
        rows = self.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled.text}", compiled.parameters(values))
        self.plan += [str(row["detail"]) for row in rows]
        return Result([], [], 0)


def orders(store_id: str = "", payer: Any = None, states: Sequence[OrderState] = ()) -> Callable[..., Any]:
    return partial(list_orders, store_id=store_id, payer=payer, states=list(states))


def payments(order_id: str = "", identity_id: str = "", store_id: str = "", payer: Any = None) -> Callable[..., Any]:
    wanted = partial(list_payments, order_id=order_id, identity_id=identity_id, store_id=store_id)
    return partial(wanted, payer=payer, states=[])


def refunds(payment_id: str = "", store_id: str = "", payer: Any = None) -> Callable[..., Any]:
    return partial(list_refunds, payment_id=payment_id, store_id=store_id, payer=payer, named_only=False)


def checkouts(payer: Any = None, lane: str = "", cashier_id: str = "") -> Callable[..., Any]:
    return partial(list_checkouts, payer=payer, states=[], lane=lane, cashier_id=cashier_id)


def till_refunds(checkout_id: str = "", payer: Any = None) -> Callable[..., Any]:
    return partial(list_till_refunds, checkout_id=checkout_id, payer=payer)


LISTS: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "orders_newest": ("order_service", orders()),
    "orders_of_store": ("order_service", orders(store_id="store-1")),
    "orders_of_payer": ("order_service", orders(payer=ADA)),
    "orders_pending_of_payer": ("order_service", orders(payer=ADA, states=PENDING_STATES)),
    "orders_pending_at_store": ("order_service", orders("store-1", ADA, PENDING_STATES)),
    "payments_newest": ("thirdparty_server", payments()),
    "payments_of_store": ("thirdparty_server", payments(store_id="store-1")),
    "payments_of_order": ("thirdparty_server", payments(order_id="order-1")),
    "payments_of_identity": ("thirdparty_server", payments(identity_id="ada")),
    "payments_of_payer": ("thirdparty_server", payments(payer=ADA)),
    "refunds_newest": ("thirdparty_server", refunds()),
    "refunds_of_store": ("thirdparty_server", refunds(store_id="store-1")),
    "refunds_of_payment": ("thirdparty_server", refunds(payment_id="payment-1")),
    "refunds_of_payer": ("thirdparty_server", refunds(payer=ADA)),
    "checkouts_newest": ("store_terminal", checkouts()),
    "checkouts_of_payer": ("store_terminal", checkouts(payer=ADA)),
    "checkouts_of_lane": ("store_terminal", checkouts(lane="lane-1")),
    "checkouts_of_cashier": ("store_terminal", checkouts(cashier_id="cashier-1")),
    "till_refunds_newest": ("store_terminal", till_refunds()),
    "till_refunds_of_checkout": ("store_terminal", till_refunds(checkout_id="checkout-1")),
    "till_refunds_of_payer": ("store_terminal", till_refunds(payer=ADA)),
}


async def steps_of(folder: Path, service: str, read: Callable[..., Any]) -> list[str]:
    """SQLite's plan of a page that follows another, in an empty database of that service."""
    database = open_database(f"sqlite:///{folder}/list.db", tables(service))

    def plan(transaction: Transaction) -> list[str]:
        explaining = Explaining(transaction)
        read(explaining, after=(1, "id"), at_most=10)
        return explaining.plan

    steps = await database.run(plan)
    await database.close()
    return steps


@pytest.mark.parametrize("index", LISTS)
async def test_a_page_is_read_from_the_index_of_its_list(tmp_path: Path, index: str) -> None:
    service, read = LISTS[index]
    steps = await steps_of(tmp_path, service, read)
    assert f"INDEX {index} " in steps[0], steps
    assert not [step for step in steps if "TEMP B-TREE" in step]


def due(index: str) -> tuple[str, Callable[..., Any]]:
    if index == "outbox_unanswered":
        return "store_terminal", partial(due_requests, replica="", now_ms=2)
    return "thirdparty_server", partial(due_payments, replica="", now_ms=2, payer_window_ms=1)


@pytest.mark.parametrize("index", ["outbox_unanswered", "payments_unfinished"])
async def test_a_page_of_what_is_due_is_read_from_its_index(tmp_path: Path, index: str) -> None:
    service, read = due(index)
    steps = await steps_of(tmp_path, service, read)
    assert [step.partition(" (")[0] for step in steps] == [f"SEARCH {index.partition('_')[0]} USING INDEX {index}"]


def pruned(prunable: Prunable) -> Callable[..., Any]:
    """The records that may be pruned."""
    return lambda transaction, until_ms, _at_most: prunable.prune(transaction, until_ms, START, until_ms)


OLD: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "orders_open": ("order_service", idle_orders),
    "orders_unpruned": ("order_service", pruned(orders_pruning.PRUNABLE[0])),
    "payments_unpruned": ("thirdparty_server", pruned(payments_pruning.PRUNABLE[0])),
    "checkouts_unpruned": ("store_terminal", pruned(terminal_pruning.PRUNABLE[0])),
    "checkouts_abandoned": ("store_terminal", idle_baskets),
    "checkouts_named": ("store_terminal", forget_names),
}


@pytest.mark.parametrize("index", OLD)
async def test_what_is_old_is_found_in_an_index_of_what_may_be_cleared(tmp_path: Path, index: str) -> None:
    service, find = OLD[index]
    steps = await steps_of(tmp_path, service, lambda transaction, after, at_most: find(transaction, 1, at_most))
    assert [step for step in steps if f"INDEX {index} " in step]
    assert not [step for step in steps if "TEMP B-TREE" in step or step.startswith("SCAN")]
