"""`tillmesh reconcile`, over real servers."""

import asyncio
import json
import sqlite3
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cli.command_line import TILLMESH, Done, environment, tillmesh
from tests.processes import DEADLINE_S, wait_until
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identity_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.terminal.v1 import checkout_pb2, till_refund_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as till_refund_api
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.reconcile.copy import keep_all, open_copy
from tillmesh.cli.reconcile.differences import Difference
from tillmesh.client.connections import PAGE_SIZE, Client
from tillmesh.local.mesh import Mesh
from tillmesh.local.processes import ServerName
from tillmesh.runtime.ids import new_request_id

pytestmark = pytest.mark.process
ORD, PAY, TILL = ServerName.ORDERS, ServerName.PAYMENTS, ServerName.TERMINAL
PRICE_MINOR = 250
D = Difference
POLL_S = 0.05
GRACE_S = 30
"""Within which the servers end what is under way."""


@dataclass(frozen=True)
class Sale:
    """A paid order, and a refund of 1.00 of it."""

    order: str
    payment: str
    refund: str


ORDER, PAYMENT, CHECKOUT = (
    "WHERE order_id = '{order}'",
    "WHERE payment_id = '{payment}'",
    "WHERE checkout_id = '{order}'",
)
OF_PAYMENT, OF_REFUND = "transfers WHERE reference = '{payment}'", "transfers WHERE reference = '{refund}'"
REFUND = "WHERE refund_id = '{refund}'"
NO_ORDER = [(ORD, f"DELETE FROM orders {ORDER}"), (TILL, f"DELETE FROM checkouts {CHECKOUT}")]
NO_REFUND = [
    (PAY, f"DELETE FROM refunds {REFUND}"),
    (PAY, f"UPDATE payments SET refunded_minor = 0 {PAYMENT}"),
    (PAY, f"DELETE FROM {OF_REFUND}"),
]
NEVER_REFUNDED = [*NO_REFUND, (TILL, f"DELETE FROM till_refunds {REFUND}")]
NO_PAYMENT = [(PAY, f"DELETE FROM payments {PAYMENT}"), (PAY, f"DELETE FROM {OF_PAYMENT}")]
CANCELED = "UPDATE orders SET state = 'CANCELED', payment_id = ''"
PLANTED: list[tuple[Difference, str, list[tuple[ServerName, str]]]] = [
    (
        D.ORDER_PAID_WITHOUT_CAPTURE,
        "order new",
        [
            (ORD, f"UPDATE orders SET payment_id = '{{new}}' {ORDER}"),
            (TILL, f"UPDATE checkouts SET paid_by = '{{new}}' {CHECKOUT}"),
        ],
    ),
    (
        D.CAPTURED_TWICE,
        "new_order",
        [
            *NO_ORDER,
            (PAY, "DROP INDEX one_capture_an_order"),
            (PAY, f"UPDATE payments SET order_id = '{{new_order}}' {PAYMENT}"),
        ],
    ),
    (
        D.CAPTURED_ORDER_NOT_PAID,
        "order payment",
        [(ORD, f"{CANCELED}, terminal_id = '' {ORDER}"), (TILL, f"DELETE FROM checkouts {CHECKOUT}")],
    ),
    (D.CAPTURED_WITHOUT_ORDER, "order payment", NO_ORDER),
    (D.PAYMENT_DIFFERS_FROM_ORDER, "order payment", [(ORD, f"UPDATE orders SET epoch = 7 {ORDER}")]),
    (
        D.PAYMENT_UNFINISHED,
        "new_order new",
        [
            (PAY, f"CREATE TEMP TABLE one AS SELECT * FROM payments {PAYMENT}"),
            (
                PAY,
                "UPDATE one SET payment_id = '{new}', order_id = '{new_order}', state = 'AWAITING_PAYER',"
                " hold_id = NULL, refunded_minor = 0, confirm_deadline_ms = 9000000000000",
            ),
            (PAY, "INSERT INTO payments SELECT * FROM one"),
        ],
    ),
    (D.CAPTURED_WITHOUT_ENTRY, "order payment", [(PAY, f"DELETE FROM {OF_PAYMENT}")]),
    (
        D.ENTRY_WITHOUT_CAPTURE,
        "payment",
        [*NO_ORDER, *NEVER_REFUNDED, (PAY, f"DELETE FROM payments {PAYMENT}")],
    ),
    (
        D.ENTRY_DIFFERS_FROM_PAYMENT,
        "order payment",
        [(PAY, "UPDATE transfers SET amount_minor = 251 WHERE reference = '{payment}'")],
    ),
    (
        D.HOLD_LEFT,
        "order payment",
        [
            *NO_ORDER,
            *NEVER_REFUNDED,
            (PAY, f"UPDATE payments SET state = 'VOIDED' {PAYMENT}"),
            (PAY, f"DELETE FROM {OF_PAYMENT} AND phase = 'POST'"),
        ],
    ),
    (D.REFUND_WITHOUT_PAYMENT, "payment refund", [*NO_ORDER, *NO_PAYMENT]),
    (D.REFUNDED_TOTAL_DIFFERS, "order payment", [(PAY, f"UPDATE payments SET refunded_minor = 101 {PAYMENT}")]),
    (D.REFUND_WITHOUT_ENTRY, "payment refund", [(PAY, f"DELETE FROM {OF_REFUND}")]),
    (D.ENTRY_WITHOUT_REFUND, "refund", [*NO_REFUND[:2], (TILL, f"DELETE FROM till_refunds {REFUND}")]),
    (
        D.ENTRY_DIFFERS_FROM_REFUND,
        "payment refund",
        [(PAY, "UPDATE transfers SET amount_minor = 101 WHERE reference = '{refund}'")],
    ),
    (D.LEDGER_NOT_BALANCED, "", [(PAY, "INSERT INTO currency_sums VALUES ('EUR', 'WALLET', 1, 0)")]),
    (D.BALANCE_DIFFERS, "", [(PAY, "INSERT INTO differing_accounts VALUES ('wallet/ada/GBP', 0, 1)")]),
    (
        D.CHECKOUT_PAID_ORDER_NOT,
        "order payment terminal",
        [(ORD, f"{CANCELED} {ORDER}"), *NEVER_REFUNDED, *NO_PAYMENT],
    ),
    (
        D.CHECKOUT_DIFFERS_FROM_ORDER,
        "order payment terminal",
        [(TILL, f"UPDATE checkouts SET amount_minor = 251 {CHECKOUT}")],
    ),
    (
        D.CHECKOUT_CANCELED_ORDER_NOT,
        "order payment terminal",
        [(TILL, f"UPDATE checkouts SET state = 'CANCELED', paid_by = '' {CHECKOUT}")],
    ),
    (
        D.CHECKOUT_WITHOUT_ORDER,
        "order payment terminal",
        [(ORD, f"DELETE FROM orders {ORDER}"), *NEVER_REFUNDED, *NO_PAYMENT],
    ),
    (D.ORDER_UNKNOWN_TO_TERMINAL, "order payment terminal", [(TILL, f"DELETE FROM checkouts {CHECKOUT}")]),
    (D.TILL_REFUND_WITHOUT_REFUND, "order refund terminal", NO_REFUND),
    (
        D.TILL_REFUND_DIFFERS,
        "order payment refund terminal",
        [(TILL, f"UPDATE till_refunds SET amount_minor = 99 {REFUND}")],
    ),
    (D.REFUND_UNKNOWN_TO_TERMINAL, "payment refund terminal", [(TILL, f"DELETE FROM till_refunds {REFUND}")]),
]
"""Each with the ids that have to be told, and how it comes about; `new_order` is an order that is as it should be."""
MENDED = {D.ORDER_LOCKED_TOO_LONG, D.CHECKOUT_BEHIND_ORDER, D.TILL_REFUND_UNFINISHED}
"""Running servers end these by themselves."""


@pytest.fixture(scope="module")
def own_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Servers whose databases are tampered with at the end."""
    with Mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        asyncio.run(open_wallet(mesh))
        yield mesh


async def open_wallet(mesh: Mesh) -> None:
    much = money_pb2.Money(currency_code="GBP", minor_units=1_000_000)
    async with Client(mesh.addresses) as client:
        identity = identity_api.CreateIdentityRequest(
            identity_id="ada",
            display_name="Ada",
            currency_code="GBP",
            confirmation_threshold=much,
        )
        await client.call(client.identities.CreateIdentity, identity)
        deposit = account_api.CreateDepositRequest(deposit_id=new_request_id(), identity_id="ada", amount=much)
        await client.call(client.accounts.CreateDeposit, deposit)


async def until(method: Any, request: Any, state: int, client: Client) -> None:
    """Asks until a record is in that state."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if (await client.call(method, request)).state == state:
                return
            await asyncio.sleep(POLL_S)


async def sell(client: Client) -> str:
    """A paid order."""
    line = checkout_api.NewLine(sku="MUG", quantity=1, unit_price_minor=PRICE_MINOR)
    create = checkout_api.CreateCheckoutRequest(request_id=new_request_id(), identity_id="ada", lines=[line])
    checkout_id = (await client.call(client.till.CreateCheckout, create)).checkout_id
    submit = checkout_api.SubmitCheckoutRequest(request_id=new_request_id(), checkout_id=checkout_id, basket_version=1)
    checkout = await client.call(client.till.SubmitCheckout, submit)
    pay = payment_api.CreatePaymentRequest(
        payment_id=new_request_id(),
        order_id=checkout_id,
        order_version=checkout.order_version,
        payer=checkout.payer,
        amount=checkout.amount,
    )
    await client.call(client.payments.CreatePayment, pay)
    get = checkout_api.GetCheckoutRequest(checkout_id=checkout_id)
    await until(client.till.GetCheckout, get, checkout_pb2.Checkout.STATE_PAID, client)
    return checkout_id


async def sell_and_refund(client: Client) -> Sale:
    order_id = await sell(client)
    get = checkout_api.GetCheckoutRequest(checkout_id=order_id)
    payment_id = (await client.call(client.till.GetCheckout, get)).paid_by_payment_id
    request = till_refund_api.RefundCheckoutRequest(
        refund_id=new_request_id(),
        checkout_id=order_id,
        amount=money_pb2.Money(currency_code="GBP", minor_units=100),
    )
    refund_id = (await client.call(client.till_refunds.RefundCheckout, request)).refund_id
    get_refund = till_refund_api.GetTillRefundRequest(refund_id=refund_id)
    await until(client.till_refunds.GetTillRefund, get_refund, till_refund_pb2.TillRefund.STATE_DONE, client)
    return Sale(order_id, payment_id, refund_id)


def sales(mesh: Mesh, count: int) -> list[Sale]:
    async def act() -> list[Sale]:
        async with Client(mesh.addresses) as client:
            return await asyncio.gather(*(sell_and_refund(client) for _ in range(count)))

    return asyncio.run(act())


def reconcile(mesh: Mesh, *arguments: str) -> Done:
    return tillmesh("reconcile", "--settled-s", "0", *arguments, mesh=mesh.addresses)


def tamper(mesh: Mesh, server: ServerName, statements: list[str]) -> None:
    """Writes what no server would, while the servers run."""
    with closing(sqlite3.connect(mesh.data_dir / f"{server}.db", timeout=30)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_payments_that_run_are_no_difference(own_mesh: Mesh) -> None:
    async def act() -> None:
        async with Client(own_mesh.addresses) as client:
            running = asyncio.gather(*(sell_and_refund(client) for _ in range(40)))
            while not running.done():
                command = (TILLMESH, "reconcile", "--settled-s", str(GRACE_S))
                process = await asyncio.create_subprocess_exec(*command, env=environment(own_mesh.addresses))
                assert await process.wait() == 0
            await running

    asyncio.run(act())
    wait_until(lambda: reconcile(own_mesh).returncode == 0)
    assert "agree" in reconcile(own_mesh).stdout


def test_each_difference_is_named_with_its_records_and_nothing_else(own_mesh: Mesh) -> None:
    assert {difference for difference, _, _ in PLANTED} | MENDED == set(Difference)
    good, *tampered = sales(own_mesh, len(PLANTED) + 1)
    wait_until(lambda: reconcile(own_mesh).returncode == 0)
    wait_until(lambda: is_compared(own_mesh))
    expected = []
    statements: dict[ServerName, list[str]] = {server: [] for server in ServerName}
    for (difference, told, planted), sale in zip(PLANTED, tampered, strict=True):
        ids = vars(sale) | {"new": new_request_id(), "new_order": good.order, "terminal": own_mesh.addresses.terminal}
        for server, statement in planted:
            statements[server].append(statement.format(**ids))
        expected.append((difference.name, {ids[name] for name in told.split()}))
    for server, planned in statements.items():
        tamper(own_mesh, server, planned)
    done = reconcile(own_mesh, "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    names = ("order_id", "payment_id", "refund_id", "terminal")
    told_of = [(each["difference"], {each[name] for name in names if name in each}) for each in found]
    assert sorted(told_of, key=str) == sorted(expected, key=str)
    assert all(each["next_step"] and each["seen"] for each in found)
    assert done.returncode == 1
    for_people = reconcile(own_mesh, "--limit", "1")
    assert for_people.returncode == 1
    assert f"and {len(PLANTED) - 1} more" in for_people.stdout
    assert all(f"1 × {difference.name}: " in for_people.stdout for difference, _, _ in PLANTED)


def is_compared(mesh: Mesh) -> bool:
    """True once the payment server rests: all is added up, and all balances are compared."""
    query = """SELECT through_transfer_id = (SELECT max(transfer_id) FROM transfers) AND compared_account_id = ''
      AND began_transfer_id = through_transfer_id FROM ledger_progress"""
    with closing(sqlite3.connect(mesh.data_dir / f"{PAY}.db")) as connection:
        return bool(connection.execute(query).fetchone()[0])


def test_what_a_running_server_would_end_is_told_by_the_same_rules() -> None:
    order = ("o-1", "s", "p", 0, "GBP", 1, 1, "LOCKED", "p-1", 0, "", 1_000)
    with open_copy(settled_ms=2_000) as copy:
        copy.keep("orders", order)
        copy.keep("orders", ("o-2", *order[1:9], 1, "", 1_000))  # its lease runs
        copy.keep("orders", ("o-3", *order[1:7], "PAID", "", 0, "", 1_000))
        copy.keep("orders", ("o-4", *order[1:7], "PAID", "", 0, "", 2_001))  # the till has not looked yet
        for order_id in ("o-3", "o-4"):
            copy.keep("checkouts", (order_id, "till", "", "", 0, "GBP", 1, "SUBMITTED", 1_000))
        copy.keep("till_refunds", ("r-1", "till", "", 0, "", "PENDING", 1_000))
        copy.keep("till_refunds", ("r-2", "till", "", 0, "", "PENDING", 2_001))  # under way
        assert copy.suspect() == len(MENDED)
        for number, suspect in copy.suspects():
            copy.confirm(number, suspect)
        assert copy.counts() == dict.fromkeys(MENDED, 1)


def test_a_difference_that_is_gone_when_read_anew_is_not_told() -> None:
    payment = ("p-1", "o-1", "s", "p", "ada", 1, "GBP", 1, 1, "PENDING", 0, 1_000)
    with open_copy(settled_ms=2_000) as copy:
        copy.keep("payments", payment)
        ((number, suspect),) = (copy.suspect(), list(copy.suspects()))[1]
        copy.keep("payments", (*payment[:9], "VOIDED", 0, 3_000))
        copy.confirm(number, suspect)
        assert copy.counts() == {}


@pytest.mark.parametrize("server", ["--orders", "--payments", "--terminal"])
def test_a_server_that_does_not_answer_ends_it_with_status_2_and_nothing_told(own_mesh: Mesh, server: str) -> None:
    done = reconcile(own_mesh, server, "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "127.0.0.1:1 cannot be reached" in line


def test_one_terminal_of_several_that_does_not_answer_ends_it_as_well(own_mesh: Mesh) -> None:
    done = reconcile(own_mesh, "--terminal", own_mesh.addresses.terminal, "--terminal", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")


class Record:
    """Something that a list has."""


async def test_reading_holds_no_list_of_all_records() -> None:
    alive: weakref.WeakSet[Record] = weakref.WeakSet()
    most = 0

    async def listed() -> AsyncIterator[Record]:
        for _ in range(10 * PAGE_SIZE + 1):
            record = Record()
            alive.add(record)
            yield record

    def keep(_record: Record) -> None:
        nonlocal most
        most = max(most, len(alive))

    advanced: list[int] = []
    await keep_all(listed(), keep, advanced.append)
    assert most <= 2
    assert sum(advanced) == 10 * PAGE_SIZE + 1
