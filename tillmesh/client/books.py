"""What the payment server's ledger says."""

from typing import TYPE_CHECKING

from tillmesh.api.payment.v1 import account_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.client.connections import Client, Connections

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceAsyncStub
Statement = tuple[account_pb2.Account, list[account_pb2.AccountEntry]]


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


async def read_balances(client: Client) -> list[account_pb2.TrialBalance]:
    """The trial balance of every currency."""
    request = account_api.ListTrialBalancesRequest()
    listed = client.listed(client.accounts.ListTrialBalances, request, lambda page: page.trial_balances)
    return [balance async for balance in listed]


def is_balanced(balance: account_pb2.TrialBalance) -> bool:
    """True if the currency sums to zero and every balance is the sum of its entries."""
    return balance.sum.minor_units == 0 and not balance.differing_account_ids
