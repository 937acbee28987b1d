"""Accounts: protobuf to model and back, nothing else."""

from collections.abc import Callable

from thirdparty_server.ledger import accounts, entries, messages, operations
from thirdparty_server.ledger.model import Account, AccountRef, Entry, TrialBalance
from thirdparty_server.ledger.trial_balances import trial_balances
from thirdparty_server.once import run_once
from tillmesh.api.payment.v1 import account_pb2, deposit_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as api
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.paging import Page
from tillmesh.runtime.clock import Clock
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Transaction


class AccountServicer:
    """tillmesh.api.payment.v1.AccountService."""

    def __init__(
        self, database: Database, clock: Clock, wallet_account: Callable[[Transaction, str, str], AccountRef]
    ) -> None:
        """`wallet_account` is the account of an identity's wallet in a currency; it refuses what there is not."""
        self._database = database
        self._clock = clock
        self._wallet_account = wallet_account

    async def GetAccount(self, request: api.GetAccountRequest) -> account_pb2.Account:
        """Reads one account."""
        account = await self._database.run(lambda transaction: operations.get_account(transaction, request.account_id))
        return messages.to_account(account)

    async def ListAccounts(self, request: api.ListAccountsRequest) -> api.ListAccountsResponse:
        """Lists accounts by id."""
        page = Page[Account](self._database.seal, request.page_size, request.page_token, ["ListAccounts"])
        after = page.after[0] if page.after else ""
        rows = await self._database.run(lambda transaction: accounts.list_accounts(transaction, after, page.at_most))
        shown, token = page.cut(rows, lambda account: [account.account_id], messages.to_account)
        return api.ListAccountsResponse(accounts=shown, next_page_token=token)

    async def ListAccountEntries(self, request: api.ListAccountEntriesRequest) -> api.ListAccountEntriesResponse:
        """Lists an account's statement."""
        seal, account_id = self._database.seal, request.account_id
        page = Page[Entry](seal, request.page_size, request.page_token, ["ListAccountEntries", account_id])

        def read(transaction: Transaction) -> list[Entry]:
            operations.get_account(transaction, account_id)
            after = page.after[0] if page.after else 0
            return entries.list_entries(transaction, account_id, after, page.at_most)

        shown, token = page.cut(
            await self._database.run(read),
            lambda entry: [entry.transfer_id],
            lambda entry: messages.to_entry(entry, account_id, seal),
        )
        return api.ListAccountEntriesResponse(entries=shown, next_page_token=token)

    async def CreateDeposit(self, request: api.CreateDepositRequest) -> deposit_pb2.Deposit:
        """Puts money from outside into a wallet."""
        fields = Fields()
        deposit_id = fields.identifier("deposit_id", request.deposit_id)
        amount = fields.money("amount", request.amount)
        fields.check()
        now_ms = self._clock.now_ms()
        deposit = await run_once(
            self._database,
            IdempotencyKey.of(request, deposit_id, now_ms),
            deposit_id,
            effect=lambda transaction: operations.create_deposit(
                transaction,
                deposit_id=deposit_id,
                credit=self._wallet_account(transaction, request.identity_id, amount.currency),
                amount=amount,
                now_ms=now_ms,
            ),
            read=lambda transaction: operations.get_deposit(transaction, deposit_id),
        )
        return messages.to_deposit(deposit)

    async def ListTrialBalances(self, request: api.ListTrialBalancesRequest) -> api.ListTrialBalancesResponse:
        """Adds up every currency."""
        seal = self._database.seal
        page = Page[TrialBalance](seal, request.page_size, request.page_token, ["ListTrialBalances"])
        after = page.after[0] if page.after else ""
        rows = await self._database.run(lambda transaction: trial_balances(transaction, after, page.at_most))
        shown, token = page.cut(rows, lambda balance: [balance.currency], messages.to_trial_balance)
        return api.ListTrialBalancesResponse(trial_balances=shown, next_page_token=token)
