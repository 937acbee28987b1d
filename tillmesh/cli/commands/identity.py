"""`tillmesh identity`."""

from typing import Annotated

import typer

from tillmesh.api.payment.v1 import identity_service_pb2 as identity_api
from tillmesh.api.payment.v1 import wallet_pb2
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallet_api
from tillmesh.cli.display import say, show_json
from tillmesh.cli.limits import ConfirmAbove, PerDayMax, limits_sentence
from tillmesh.cli.options import DEFAULT, CurrencyCode, Json, Payments, money, run_async
from tillmesh.client.connections import Addresses, Client


def identity(
    identity_id: Annotated[str, typer.Argument(help="The user's id on the online platform.")],
    name: Annotated[str, typer.Option(help="What a till may show. [default: the id]")] = "",
    confirm_above: ConfirmAbove = None,
    per_day_max: PerDayMax = None,
    currency: CurrencyCode = "GBP",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Register an identity, with an empty wallet.

    Without --confirm-above the payer confirms every payment.
    """
    request = identity_api.CreateIdentityRequest(
        identity_id=identity_id,
        display_name=name or identity_id,
        currency_code=currency,
        confirmation_threshold=None if confirm_above is None else money(confirm_above, currency),
        unconfirmed_payments_per_day_max=per_day_max,
    )

    async def act() -> wallet_pb2.Wallet:
        async with Client(Addresses(payments=payments)) as client:
            await client.call(client.identities.CreateIdentity, request)
            get = wallet_api.GetWalletRequest(identity_id=identity_id, currency_code=currency)
            return await client.call(client.wallets.GetWallet, get)

    wallet = run_async(act())
    if not show_json([wallet]):
        say(f"{wallet.identity_id} pays from {wallet.account_id}. {limits_sentence(wallet)}")
