"""What the payment server's ledger says."""

import asyncio
import time
from typing import TYPE_CHECKING

from tillmesh.api.payment.v1 import account_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.client.connections import Client, Connections
from tillmesh.client.failures import Failure

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceAsyncStub
_POLL_S = 0.2
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


async def read_verified_balances(client: Client, within_s: float) -> list[account_pb2.TrialBalance]:
    """The same, once the server has compared every balance with its transfers as they are now; Failure if it has not.

    The server compares some accounts every few seconds, so where there are many this is no way to find out.
    """
    end = time.monotonic() + within_s
    found = await read_balances(client)
    newest = max((balance.through_time.ToNanoseconds() for balance in found), default=0)
    while any(balance.balances_verified_time.ToNanoseconds() < newest for balance in found):
        if time.monotonic() >= end:
            told = "tillmesh audit verify adds the whole ledger up"
            raise Failure(f"The payment server has not compared all balances within {within_s:g} s; {told}.")
        await asyncio.sleep(_POLL_S)
        found = await read_balances(client)
    return found


def is_balanced(balance: account_pb2.TrialBalance) -> bool:
    """True if the currency sums to zero and every balance is the sum of its entries."""
    return balance.sum.minor_units == 0 and not balance.differing_account_ids
