"""`tillmesh wallet`: wallets of identities, and up to which limits they pay without a confirmation."""

from typing import TYPE_CHECKING, Annotated, Final

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from tillmesh.api.payment.v1 import account_pb2, wallet_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallet_api
from tillmesh.cli.client import Addresses, Client, Connections
from tillmesh.cli.display import amount, out, show_table
from tillmesh.cli.failures import CliError
from tillmesh.cli.options import DEFAULT, CurrencyCode, OwnCurrency, Payments, money, run_async
from tillmesh.runtime.ids import new_request_id

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.payment.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub

NONE = "none"
THRESHOLD: Final = "confirmation_threshold"
PER_DAY_MAX: Final = "unconfirmed_payments_per_day_max"

wallet = typer.Typer(
    help="Wallets of identities. A payment is deducted from the wallet of its currency.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
IdentityId = Annotated[str, typer.Argument(help="Whose wallet.")]
ConfirmAbove = Annotated[
    str | None,
    typer.Option(
        "--confirm-above",
        metavar="AMOUNT",
        help="Payments up to this amount need no confirmation. [default: the payer confirms every payment]",
    ),
]
PerDayMax = Annotated[
    int | None,
    typer.Option(
        "--per-day-max",
        min=0,
        max=10_000,
        help="So many payments a day at most go without a confirmation. [default: any number]",
    ),
]
NewConfirmAbove = Annotated[
    str | None,
    typer.Option(
        "--confirm-above",
        metavar="AMOUNT",
        help="Payments up to this amount need no confirmation; none: every payment needs one.",
    ),
]
NewPerDayMax = Annotated[
    str | None,
    typer.Option(
        "--per-day-max",
        metavar="NUMBER",
        help="So many payments a day at most go without a confirmation; none: any number.",
    ),
]


@wallet.command(
    "open", epilog="**Examples**\n\ntillmesh wallet open ada --currency EUR --confirm-above 20 --per-day-max 5"
)
def open_(
    identity_id: IdentityId,
    currency: CurrencyCode,
    confirm_above: ConfirmAbove = None,
    per_day_max: PerDayMax = None,
    payments: Payments = DEFAULT.payments,
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
    out.print(f"Opened {opened.account_id}. {limits_sentence(opened)}")


@wallet.command(epilog="**Example**\n\ntillmesh wallet show ada")
def show(identity_id: IdentityId, payments: Payments = DEFAULT.payments) -> None:
    """Show an identity's wallets: what is in them, and what is paid without a confirmation."""

    async def look() -> list[tuple[wallet_pb2.Wallet, account_pb2.Account]]:
        async with Client(Addresses(payments=payments)) as client:
            return [
                (each, await read_account(client, each.account_id))
                for each in await list_wallets(client, client.wallets, identity_id)
            ]

    rows = [
        (
            each.account_id,
            amount(account.posted),
            amount(account.held),
            amount(each.confirmation_threshold) if each.HasField(THRESHOLD) else "nothing",
            str(each.unconfirmed_payments_per_day_max) if each.HasField(PER_DAY_MAX) else "any number",
        )
        for each, account in run_async(look())
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
) -> None:
    """Show or set up to which limits a wallet pays without a confirmation. What is not named stays as it is."""

    async def act() -> wallet_pb2.Wallet:
        async with Client(Addresses(payments=payments)) as client:
            found = await find_wallet(client, client.wallets, identity_id, currency)
            return await set_limits(client, client.wallets, found, confirm_above, per_day_max)

    out.print(limits_sentence(run_async(act())))


async def list_wallets(
    connections: Connections, wallets: "WalletServiceAsyncStub", identity_id: str
) -> list[wallet_pb2.Wallet]:
    """All wallets of an identity, by currency."""
    request = wallet_api.ListWalletsRequest(identity_id=identity_id)
    return [each async for each in connections.listed(wallets.ListWallets, request, lambda page: page.wallets)]


async def find_wallet(
    connections: Connections, wallets: "WalletServiceAsyncStub", identity_id: str, currency: str
) -> wallet_pb2.Wallet:
    """An identity's wallet in that currency; without a currency the only wallet there is."""
    if currency:
        request = wallet_api.GetWalletRequest(identity_id=identity_id, currency_code=currency)
        return await connections.call(wallets.GetWallet, request)
    found = await list_wallets(connections, wallets, identity_id)
    if not found:
        raise CliError(f"There is no wallet of {identity_id}.")
    if len(found) > 1:
        raise CliError(f"Which wallet? Say --currency with one of: {', '.join(each.currency_code for each in found)}")
    return found[0]


async def set_limits(
    connections: Connections,
    wallets: "WalletServiceAsyncStub",
    found: wallet_pb2.Wallet,
    confirm_above: str | None,
    per_day_max: str | None,
) -> wallet_pb2.Wallet:
    """Sets those limits that are given; `none` removes one."""
    new = wallet_pb2.Wallet(identity_id=found.identity_id, currency_code=found.currency_code)
    if confirm_above not in (None, NONE):
        new.confirmation_threshold.CopyFrom(money(confirm_above, found.currency_code))
    if per_day_max not in (None, NONE):
        new.unconfirmed_payments_per_day_max = _number(per_day_max)
    given = {THRESHOLD: confirm_above, PER_DAY_MAX: per_day_max}
    mask = FieldMask(paths=[name for name, value in given.items() if value is not None])
    if not mask.paths:
        return found
    request = wallet_api.UpdateWalletRequest(
        request_id=new_request_id(), wallet=new, update_mask=mask, version=found.version
    )
    return await connections.call(wallets.UpdateWallet, request)


async def read_account(client: Client, account_id: str) -> account_pb2.Account:
    """An account of the ledger."""
    return await client.call(client.accounts.GetAccount, account_api.GetAccountRequest(account_id=account_id))


def limits_sentence(of: wallet_pb2.Wallet) -> str:
    """The payments that the owner has to confirm."""
    if not of.HasField(THRESHOLD):
        return f"{of.identity_id} confirms every payment in {of.currency_code}."
    above = f"{of.identity_id} confirms every payment above {amount(of.confirmation_threshold)}."
    if not of.HasField(PER_DAY_MAX):
        return f"{above} Others need no confirmation."
    return f"{above} Of the others, {of.unconfirmed_payments_per_day_max} a day need no confirmation."


def wallet_account_id(identity_id: str, currency: str) -> str:
    """A wallet's account in the ledger."""
    return f"wallet/{identity_id}/{currency}"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise typer.BadParameter(f"{text!r} is neither a whole number nor {NONE}", param_hint="--per-day-max")
    return int(text)
