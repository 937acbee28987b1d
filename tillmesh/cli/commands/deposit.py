"""`tillmesh deposit`."""

from typing import Annotated

import typer

from tillmesh.api.payment.v1 import account_pb2, deposit_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.cli.display import amount, say, show_json
from tillmesh.cli.options import DEFAULT, CurrencyCode, DepositId, Json, Payments, money, repeat_with, run_async
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.wallets import read_account, wallet_account_id
from tillmesh.runtime.ids import new_request_id


def deposit(
    identity_id: Annotated[str, typer.Argument(help="Whose wallet.")],
    how_much: Annotated[str, typer.Argument(metavar="AMOUNT", help="A decimal such as 25.00.")],
    deposit_id: DepositId = "",
    currency: CurrencyCode = "GBP",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Put money into a wallet."""
    request = account_api.CreateDepositRequest(
        deposit_id=deposit_id or new_request_id(), identity_id=identity_id, amount=money(how_much, currency)
    )

    async def act() -> tuple[deposit_pb2.Deposit, account_pb2.Account]:
        async with Client(Addresses(payments=payments)) as client:
            made = await client.call(client.accounts.CreateDeposit, request)
            return made, await read_account(client, wallet_account_id(identity_id, currency))

    made, account = run_async(act(), repeat_with("--deposit-id", request.deposit_id))
    if show_json([made]):
        return
    say(f"Deposit {made.deposit_id} of {amount(made.amount)} for {made.identity_id}.")
    say(f"{account.account_id} has {amount(account.posted)}.")
