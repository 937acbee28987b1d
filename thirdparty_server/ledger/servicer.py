"""Accounts: protobuf to model and back, nothing else."""

from dataclasses import dataclass

from thirdparty_server.ledger import accounts, entries, messages, operations
from thirdparty_server.ledger.model import Deposit
from thirdparty_server.ledger.operations import FindAccount
from thirdparty_server.ledger.trial_balances import trial_balances
from tillmesh.api.payment.v1 import account_pb2, deposit_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as api
from tillmesh.auth.callers import actor
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.servicer import Servicer


@dataclass(frozen=True)
class AccountServicer(Servicer):
    """tillmesh.api.payment.v1.AccountService."""

    wallet_account: FindAccount

    async def GetAccount(self, request: api.GetAccountRequest) -> account_pb2.Account:
        """Reads one account."""
        return messages.to_account(await self.database.run(operations.get_account, request.account_id))

    async def ListAccounts(self, request: api.ListAccountsRequest) -> api.ListAccountsResponse:
        """Lists accounts by id."""
        shown, token = await self._listed(
            request, accounts.list_accounts, lambda account: (account.account_id,), messages.to_account
        )
        return api.ListAccountsResponse(accounts=shown, next_page_token=token)

    async def ListAccountEntries(self, request: api.ListAccountEntriesRequest) -> api.ListAccountEntriesResponse:
        """Lists an account's statement."""
        shown, token = await self._listed(
            request,
            operations.list_entries,
            lambda entry: (entry.xact_id, entry.transfer_id),
            lambda entry: messages.to_entry(entry, request.account_id, self.database.seal),
            request.account_id,
        )
        return api.ListAccountEntriesResponse(entries=shown, next_page_token=token)

    async def CreateDeposit(self, request: api.CreateDepositRequest) -> deposit_pb2.Deposit:
        """Puts money from outside into a wallet."""
        with Fields() as fields:
            deposit_id = fields.identifier("deposit_id", request.deposit_id)
            amount = fields.money("amount", request.amount)
        new = Deposit(deposit_id, request.identity_id, amount, actor(), self.clock.now_ms())
        deposit = await self._once(
            request, deposit_id, deposit_id, entries.get_deposit, operations.create_deposit, new, self.wallet_account
        )
        return messages.to_deposit(deposit)

    async def ListTrialBalances(self, request: api.ListTrialBalancesRequest) -> api.ListTrialBalancesResponse:
        """The totals of every currency."""
        shown, token = await self._listed(
            request, trial_balances, lambda balance: (balance.currency,), messages.to_trial_balance
        )
        return api.ListTrialBalancesResponse(trial_balances=shown, next_page_token=token)
