"""`tillmesh statement`."""

from typing import Annotated

import typer

from tillmesh.cli.options import DEFAULT, Json, OwnCurrency, Payments, run_async
from tillmesh.cli.records import show_statement
from tillmesh.client.books import Statement, read_statement
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.wallets import find_wallet


def statement(
    account: Annotated[str, typer.Argument(help="An identity such as ada, or an account such as sales/store-1/GBP.")],
    currency: OwnCurrency = "",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Show everything that moved on an account, oldest first, with the balance after each entry."""

    async def look() -> Statement:
        async with Client(Addresses(payments=payments)) as client:
            account_id = account
            if "/" not in account:
                account_id = (await find_wallet(client, client.wallets, account, currency)).account_id
            return await read_statement(client, client.accounts, account_id)

    show_statement(run_async(look()))
