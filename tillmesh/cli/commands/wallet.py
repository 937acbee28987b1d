"""`tillmesh wallet`: wallets of identities, and up to which limits they pay without a confirmation."""

from typing import Annotated

import typer

from tillmesh.api.payment.v1 import account_pb2, wallet_pb2
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallet_api
from tillmesh.cli.display import amount, say, show_json, show_table
from tillmesh.cli.limits import (
    PER_DAY_MAX,
    THRESHOLD,
    ConfirmAbove,
    NewConfirmAbove,
    NewPerDayMax,
    PerDayMax,
    limits_sentence,
    set_limits,
)
from tillmesh.cli.options import DEFAULT, CurrencyCode, Json, OwnCurrency, Payments, money, run_async
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.wallets import find_wallet, list_wallets, read_account
from tillmesh.runtime.ids import new_request_id

wallet = typer.Typer(
    help="Wallets of identities. A payment is deducted from the wallet of its currency.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
IdentityId = Annotated[str, typer.Argument(help="Whose wallet.")]


@wallet.command(
    "open", epilog="**Examples**\n\ntillmesh wallet open ada --currency EUR --confirm-above 20 --per-day-max 5"
)
def open_(
    identity_id: IdentityId,
    currency: CurrencyCode,
    confirm_above: ConfirmAbove = None,
    per_day_max: PerDayMax = None,
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Open a wallet in another currency.

    Without --confirm-above the payer confirms every payment from it.
    """
    request = wallet_api.OpenWalletRequest(
        request_id=new_request_id(),
        identity_id=identity_id,
        currency_code=currency,
        confirmation_threshold=None if confirm_above is None else money(confirm_above, currency),
        unconfirmed_payments_per_day_max=per_day_max,
    )

    async def act() -> wallet_pb2.Wallet:
        async with Client(Addresses(payments=payments)) as client:
            return await client.call(client.wallets.OpenWallet, request)

    opened = run_async(act())
    if not show_json([opened]):
        say(f"Opened {opened.account_id}. {limits_sentence(opened)}")


@wallet.command(epilog="**Example**\n\ntillmesh wallet show ada")
def show(
    identity_id: IdentityId,
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Show an identity's wallets: what is in them, and what is paid without a confirmation."""

    async def look() -> list[tuple[wallet_pb2.Wallet, account_pb2.Account]]:
        async with Client(Addresses(payments=payments)) as client:
            return [
                (each, await read_account(client, each.account_id))
                for each in await list_wallets(client, client.wallets, identity_id)
            ]

    found = run_async(look())
    if show_json(each for each, _ in found):
        return
    rows = [
        (
            each.account_id,
            amount(account.posted),
            amount(account.held),
            amount(each.confirmation_threshold) if each.HasField(THRESHOLD) else "nothing",
            str(each.unconfirmed_payments_per_day_max) if each.HasField(PER_DAY_MAX) else "any number",
        )
        for each, account in found
    ]
    columns = ["wallet", "has", "on hold", "unconfirmed up to", "of them a day"]
    show_table(f"Wallets of {identity_id}", columns, rows, right=columns[1:])


@wallet.command(
    epilog="**Examples**\n\ntillmesh wallet limits ada\n\n"
    "tillmesh wallet limits ada --currency EUR --confirm-above 20 --per-day-max none"
)
def limits(
    identity_id: IdentityId,
    currency: OwnCurrency = "",
    confirm_above: NewConfirmAbove = None,
    per_day_max: NewPerDayMax = None,
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Show or set up to which limits a wallet pays without a confirmation. What is not named stays as it is."""

    async def act() -> wallet_pb2.Wallet:
        async with Client(Addresses(payments=payments)) as client:
            found = await find_wallet(client, client.wallets, identity_id, currency)
            return await set_limits(client, client.wallets, found, confirm_above, per_day_max)

    found = run_async(act())
    if not show_json([found]):
        say(limits_sentence(found))
