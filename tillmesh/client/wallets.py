"""Wallets and their accounts."""

from typing import TYPE_CHECKING

from tillmesh.api.payment.v1 import account_pb2, wallet_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallet_api
from tillmesh.client.connections import Client, Connections
from tillmesh.client.failures import Failure
from tillmesh.runtime.foreign_text import named

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.payment.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub


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
        raise Failure(f"There is no wallet of {named(identity_id)}.")
    if len(found) > 1:
        raise Failure(f"Which wallet? Say --currency with one of: {', '.join(each.currency_code for each in found)}")
    return found[0]


async def read_account(client: Client, account_id: str) -> account_pb2.Account:
    """An account of the ledger."""
    return await client.call(client.accounts.GetAccount, account_api.GetAccountRequest(account_id=account_id))


def wallet_account_id(identity_id: str, currency: str) -> str:
    """A wallet's account in the ledger."""
    return f"wallet/{identity_id}/{currency}"
