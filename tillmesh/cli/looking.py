"""Commands that look at a running mesh and change nothing."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import account_pb2, payment_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.client import Addresses, Client, Connections
from tillmesh.cli.display import amount, clock_time, date_time, out, payer_name, seconds, show_table
from tillmesh.cli.options import DEFAULT, Orders, OwnCurrency, Payments, payer_of, run_async
from tillmesh.cli.wallets import find_wallet

SHOWN = 50
Statement = tuple[account_pb2.Account, list[account_pb2.AccountEntry]]

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceAsyncStub

Item = TypeVar("Item")

Payer = Annotated[str, typer.Option("--payer", help="Only of this identity, or under this reference.")]
StoreId = Annotated[str, typer.Option("--store", help="Only of this store.")]
State = Annotated[list[str] | None, typer.Option("--state", help="Only in this state; may be given several times.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Show at most this many.")]


def orders(
    payer: Payer = "",
    store: StoreId = "",
    state: State = None,
    limit: Limit = SHOWN,
    orders: Orders = DEFAULT.orders,
) -> None:
    """List orders, newest first: with --payer, the pending and past transactions of an identity."""
    known = order_pb2.Order.State
    states = [known.Value(_state_name(known.keys(), name)) for name in state or ()]
    request = order_api.ListOrdersRequest(store_id=store, payer=payer_of(payer), states=states)

    async def look() -> list[order_pb2.Order]:
        async with Client(Addresses(orders=orders)) as client:
            listed = client.listed(client.orders.ListOrders, request, lambda page: page.orders)
            return await _first(listed, limit)

    rows = [
        (
            order.order_id,
            date_time(order.create_time),
            order.store_id,
            payer_name(order.payer),
            str(len(order.lines)),
            amount(order.amount),
            str(order.version),
            order_state(order),
        )
        for order in run_async(look())
    ]
    columns = ["order", "raised", "store", "payer", "lines", "amount", "version", "state"]
    show_table("Orders", columns, rows, right=["lines", "amount", "version"])


def payments(
    order: Annotated[str, typer.Option("--order", help="Only of this order.")] = "",
    payer: Payer = "",
    store: StoreId = "",
    state: State = None,
    limit: Limit = SHOWN,
    payments: Payments = DEFAULT.payments,
) -> None:
    """List payment attempts, newest first, with what became of each."""
    known = payment_pb2.Payment.State
    states = [known.Value(_state_name(known.keys(), name)) for name in state or ()]
    request = payment_api.ListPaymentsRequest(order_id=order, payer=payer_of(payer), store_id=store, states=states)

    async def look() -> list[payment_pb2.Payment]:
        async with Client(Addresses(payments=payments)) as client:
            listed = client.listed(client.payments.ListPayments, request, lambda page: page.payments)
            return await _first(listed, limit)

    show_payments(run_async(look()))


def show_payments(payments: Sequence[payment_pb2.Payment]) -> None:
    """Prints payment attempts."""
    rows = [
        (
            payment.payment_id,
            clock_time(payment.create_time),
            f"{payment.order_id} v{payment.order_version}",
            payment.identity_id or payer_name(payment.payer),
            amount(payment.amount),
            amount(payment.refunded) if payment.refunded.minor_units else "",
            " ".join((payment_pb2.Payment.State.Name(payment.state).removeprefix("STATE_"), payment.reason)),
        )
        for payment in payments
    ]
    columns = ["payment", "started", "order", "payer", "amount", "refunded", "state"]
    show_table("Payments", columns, rows, right=["amount", "refunded"])


def statement(
    account: Annotated[str, typer.Argument(help="An identity such as ada, or an account such as sales/store-1/GBP.")],
    currency: OwnCurrency = "",
    payments: Payments = DEFAULT.payments,
) -> None:
    """Show everything that moved on an account, oldest first, with the balance after each entry."""

    async def look() -> Statement:
        async with Client(Addresses(payments=payments)) as client:
            account_id = account
            if "/" not in account:
                account_id = (await find_wallet(client, client.wallets, account, currency)).account_id
            return await read_statement(client, client.accounts, account_id)

    show_statement(run_async(look()))


async def read_statement(connections: Connections, accounts: "AccountServiceAsyncStub", account_id: str) -> Statement:
    """An account with all its entries, oldest first."""
    request = account_api.GetAccountRequest(account_id=account_id)
    found = await connections.call(accounts.GetAccount, request)
    entries = connections.listed(
        accounts.ListAccountEntries,
        account_api.ListAccountEntriesRequest(account_id=account_id),
        lambda page: page.entries,
    )
    return found, [entry async for entry in entries]


def show_statement(statement: Statement) -> None:
    """Prints the entries with the balance after each, and the account's own."""
    found, entries = statement
    rows = []
    balance_minor = 0
    for entry in entries:
        moves = entry.phase in (account_pb2.AccountEntry.PHASE_SINGLE, account_pb2.AccountEntry.PHASE_POST)
        balance_minor += entry.amount.minor_units if moves else 0
        phase = account_pb2.AccountEntry.Phase.Name(entry.phase).removeprefix("PHASE_").lower()
        balance = money_pb2.Money(currency_code=entry.amount.currency_code, minor_units=balance_minor)
        rows.append(
            (
                date_time(entry.entry_time),
                _purpose(entry) + ("" if phase == "single" else f", {phase}"),
                entry.counterparty_account_id,
                entry.reference,
                amount(entry.amount),
                amount(balance) if moves else "",
            )
        )
    columns = ["time", "what", "other account", "reference", "amount", "balance"]
    show_table(f"Statement of {found.account_id}", columns, rows, right=["amount", "balance"])
    out.print(f"Posted {amount(found.posted)}, on hold {amount(found.held)}.")


def balances(payments: Payments = DEFAULT.payments) -> None:
    """Add up the whole ledger, per currency: the books balance, or it shows where they do not."""

    async def look() -> list[account_pb2.TrialBalance]:
        async with Client(Addresses(payments=payments)) as client:
            return await read_balances(client)

    found = run_async(look())
    show_balances(found)
    if not all(is_balanced(balance) for balance in found):
        raise typer.Exit(1)


async def read_balances(client: Client) -> list[account_pb2.TrialBalance]:
    """The trial balance of every currency."""
    request = account_api.ListTrialBalancesRequest()
    listed = client.listed(client.accounts.ListTrialBalances, request, lambda page: page.trial_balances)
    return [balance async for balance in listed]


def is_balanced(balance: account_pb2.TrialBalance) -> bool:
    """True if the currency sums to zero and every balance is the sum of its entries."""
    return balance.sum.minor_units == 0 and not balance.differing_account_ids


def show_balances(balances: list[account_pb2.TrialBalance]) -> None:
    """Prints trial balances."""
    rows = []
    for balance in balances:
        parts = (balance.wallets, balance.stores, balance.external, balance.sum, balance.held)
        verdict = "balanced" if is_balanced(balance) else " ".join(("BROKEN", *balance.differing_account_ids))
        rows.append((balance.currency_code, *map(amount, parts), verdict))
    columns = ["currency", "wallets", "stores", "outside", "sum", "on hold", "books"]
    show_table("Trial balance", columns, rows, right=["wallets", "stores", "outside", "sum", "on hold"])


def _purpose(entry: account_pb2.AccountEntry) -> str:
    name = account_pb2.AccountEntry.Purpose.Name(entry.purpose)
    return name.removeprefix("PURPOSE_").lower().replace("_", " ")


async def _first(items: AsyncIterator[Item], limit: int) -> list[Item]:
    found: list[Item] = []
    async for item in items:
        found.append(item)
        if len(found) == limit:
            break
    return found


def _state_name(names: Iterable[str], wanted: str) -> str:
    known = [name for name in names if not name.endswith("UNSPECIFIED")]
    full = f"STATE_{wanted.upper()}"
    if full not in known:
        choice = ", ".join(name.removeprefix("STATE_") for name in known)
        raise typer.BadParameter(f"{wanted!r} is not one of {choice}", param_hint="--state")
    return full


def order_state(order: order_pb2.Order) -> str:
    """Its state in a word, and how long it stays locked."""
    state = order_pb2.Order.State.Name(order.state).removeprefix("STATE_")
    if order.state != order_pb2.Order.STATE_LOCKED:
        return state
    return f"{state}, {seconds(order.lease_remaining)} s left"
