"""`tillmesh balances`."""

import typer

from tillmesh.api.payment.v1 import account_pb2
from tillmesh.cli.options import DEFAULT, Json, Payments, run_async
from tillmesh.cli.records import show_balances
from tillmesh.client.books import is_balanced, read_balances
from tillmesh.client.connections import Addresses, Client


def balances(
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Show what each currency adds up to: the books balance, or it shows where they do not.

    The server compares balances with their transfers in the background. To add the whole ledger up now, from its
    database: tillmesh audit verify.
    """

    async def look() -> list[account_pb2.TrialBalance]:
        async with Client(Addresses(payments=payments)) as client:
            return await read_balances(client)

    found = run_async(look())
    show_balances(found)
    if not all(is_balanced(balance) for balance in found):
        raise typer.Exit(1)
