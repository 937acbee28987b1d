"""Identities and accounts: protobuf to model and back, nothing else."""

from collections.abc import Callable

from thirdparty_server import account_operations, ledger, store
from thirdparty_server.errors import Reason
from thirdparty_server.model import Account, AccountKind, Entry, Identity, TrialBalance, wallet
from thirdparty_server.tables import REQUESTS
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.convert import to_money, to_timestamp
from tillmesh.runtime.database import Database
from tillmesh.runtime.fields import Fields
from tillmesh.runtime.money import Money
from tillmesh.runtime.paging import Page
from tillmesh.runtime.statements import Connection

DISPLAY_NAME_MAX = 128


class IdentityServicer:
    """tillmesh.api.payment.v1.IdentityService."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def CreateIdentity(self, request: identities_api.CreateIdentityRequest) -> identities_api.Identity:
        """Registers an identity and opens its account."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("identity_id", request.identity_id)
        fields.text("display_name", request.display_name, length_max=DISPLAY_NAME_MAX)
        fields.currency("currency_code", request.currency_code)
        limit = _instant_limit(fields, request)
        if limit:
            same = limit.currency == request.currency_code
            fields.require(same, "instant_limit.currency_code", f"must be {request.currency_code[:16]!r} as well")
        fields.check()
        identity = Identity(
            identity_id=request.identity_id,
            display_name=request.display_name,
            currency=request.currency_code,
            instant_limit_minor=limit.minor if limit else None,
            created_at_ms=self._clock.now_ms(),
        )
        return await self._once(request, lambda connection: account_operations.create_identity(connection, identity))

    async def GetIdentity(self, request: identities_api.GetIdentityRequest) -> identities_api.Identity:
        """Reads one identity."""
        identity = await self._database.run(
            lambda connection: account_operations.get_identity(connection, request.identity_id)
        )
        return _identity(identity)

    async def ListIdentities(
        self, request: identities_api.ListIdentitiesRequest
    ) -> identities_api.ListIdentitiesResponse:
        """Lists identities by id."""
        page = Page[Identity](request.page_size, request.page_token, [], [str])
        after = page.after[0] if page.after else ""
        rows = await self._database.run(lambda connection: store.list_identities(connection, after, page.at_most))
        shown, token = page.cut(rows, lambda identity: [identity.identity_id])
        return identities_api.ListIdentitiesResponse(
            identities=[_identity(identity) for identity in shown], next_page_token=token
        )

    async def UpdateIdentity(self, request: identities_api.UpdateIdentityRequest) -> identities_api.Identity:
        """Changes display name and instant limit."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.text("display_name", request.display_name, length_max=DISPLAY_NAME_MAX)
        limit = _instant_limit(fields, request)
        fields.check()
        return await self._once(
            request,
            lambda connection: account_operations.update_identity(
                connection,
                identity_id=request.identity_id,
                display_name=request.display_name,
                instant_limit=limit,
            ),
        )

    async def SetPin(self, request: identities_api.SetPinRequest) -> identities_api.Identity:
        """Sets an identity's PIN."""
        raise Reason.SECRET_MISSING()

    async def BindDevice(self, request: identities_api.BindDeviceRequest) -> identities_api.PayerDevice:
        """Binds a payer's terminal to an identity."""
        raise Reason.SECRET_MISSING()

    async def UnbindDevice(self, request: identities_api.UnbindDeviceRequest) -> identities_api.PayerDevice:
        """Ends what a payer's terminal may do."""
        raise Reason.SECRET_MISSING()

    async def _once(
        self,
        request: identities_api.CreateIdentityRequest | identities_api.UpdateIdentityRequest,
        operation: Callable[[Connection], Identity],
    ) -> identities_api.Identity:
        return await REQUESTS.run(
            self._database,
            request,
            lambda connection: REQUESTS.once(
                connection, request, identities_api.Identity, lambda: _identity(operation(connection))
            ),
        )


class AccountServicer:
    """tillmesh.api.payment.v1.AccountService."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def GetAccount(self, request: accounts_api.GetAccountRequest) -> accounts_api.Account:
        """Reads one account."""
        account = await self._database.run(
            lambda connection: account_operations.get_account(connection, request.account_id)
        )
        return _account(account)

    async def ListAccounts(self, request: accounts_api.ListAccountsRequest) -> accounts_api.ListAccountsResponse:
        """Lists accounts by id."""
        page = Page[Account](request.page_size, request.page_token, [], [str])
        after = page.after[0] if page.after else ""
        rows = await self._database.run(lambda connection: ledger.list_accounts(connection, after, page.at_most))
        shown, token = page.cut(rows, lambda account: [account.account_id])
        return accounts_api.ListAccountsResponse(
            accounts=[_account(account) for account in shown], next_page_token=token
        )

    async def ListAccountEntries(
        self, request: accounts_api.ListAccountEntriesRequest
    ) -> accounts_api.ListAccountEntriesResponse:
        """Lists an account's statement."""
        page = Page[Entry](request.page_size, request.page_token, [request.account_id], [int])

        def read(connection: Connection) -> list[Entry]:
            account_operations.get_account(connection, request.account_id)
            after = page.after[0] if page.after else 0
            return ledger.list_entries(connection, request.account_id, after, page.at_most)

        shown, token = page.cut(await self._database.run(read), lambda entry: [entry.transfer_id])
        return accounts_api.ListAccountEntriesResponse(
            entries=[_entry(entry) for entry in shown], next_page_token=token
        )

    async def CreateDeposit(self, request: accounts_api.CreateDepositRequest) -> accounts_api.Account:
        """Puts money from outside into a wallet."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        amount = fields.money("amount", request.amount)
        fields.check()
        now_ms = self._clock.now_ms()
        return await self._once(
            request,
            lambda connection: account_operations.create_deposit(
                connection,
                request_id=request.request_id,
                identity_id=request.identity_id,
                amount=amount,
                now_ms=now_ms,
            ),
        )

    async def SetReturnLimit(self, request: accounts_api.SetReturnLimitRequest) -> accounts_api.Account:
        """Sets a store's limit for returns without their sale."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("store_id", request.store_id)
        limit = fields.money("limit", request.limit, minimum=0)
        fields.check()
        return await self._once(
            request,
            lambda connection: account_operations.set_return_limit(connection, store_id=request.store_id, limit=limit),
        )

    async def ListTrialBalances(
        self, request: accounts_api.ListTrialBalancesRequest
    ) -> accounts_api.ListTrialBalancesResponse:
        """Adds up every currency."""
        balances = await self._database.run(ledger.trial_balances)
        return accounts_api.ListTrialBalancesResponse(trial_balances=[_trial_balance(row) for row in balances])

    async def _once(
        self,
        request: accounts_api.CreateDepositRequest | accounts_api.SetReturnLimitRequest,
        operation: Callable[[Connection], Account],
    ) -> accounts_api.Account:
        return await REQUESTS.run(
            self._database,
            request,
            lambda connection: REQUESTS.once(
                connection, request, accounts_api.Account, lambda: _account(operation(connection))
            ),
        )


def _instant_limit(
    fields: Fields, request: identities_api.CreateIdentityRequest | identities_api.UpdateIdentityRequest
) -> Money | None:
    if not request.HasField("instant_limit"):
        return None
    return fields.money("instant_limit", request.instant_limit, minimum=0)


def _identity(identity: Identity) -> identities_api.Identity:
    message = identities_api.Identity(
        identity_id=identity.identity_id,
        display_name=identity.display_name,
        account_id=wallet(identity.identity_id, identity.currency).account_id,
        create_time=to_timestamp(identity.created_at_ms),
    )
    if identity.instant_limit_minor is not None:
        message.instant_limit.CopyFrom(to_money(Money(identity.currency, identity.instant_limit_minor)))
    return message


def _account(account: Account) -> accounts_api.Account:
    message = accounts_api.Account(
        account_id=account.account_id,
        kind=accounts_api.Account.Kind.Value(f"KIND_{account.kind}"),
        posted=to_money(Money(account.currency, account.posted_minor)),
        held=to_money(Money(account.currency, account.held_minor)),
    )
    if account.credit_limit_minor is not None:
        message.credit_limit.CopyFrom(to_money(Money(account.currency, account.credit_limit_minor)))
    return message


def _entry(entry: Entry) -> accounts_api.AccountEntry:
    return accounts_api.AccountEntry(
        transfer_id=entry.transfer_id,
        phase=accounts_api.AccountEntry.Phase.Value(f"PHASE_{entry.phase}"),
        purpose=entry.purpose,
        reference=entry.reference,
        counterparty_account_id=entry.counterparty_account_id,
        amount=to_money(entry.amount),
        entry_time=to_timestamp(entry.at_ms),
    )


def _trial_balance(balance: TrialBalance) -> accounts_api.TrialBalance:
    by_kind = balance.minor_by_kind
    return accounts_api.TrialBalance(
        currency_code=balance.currency,
        sum_minor=sum(by_kind.values()),
        wallets_minor=by_kind[AccountKind.WALLET],
        stores_minor=by_kind[AccountKind.STORE_SALES] + by_kind[AccountKind.STORE_RETURNS],
        external_minor=by_kind[AccountKind.EXTERNAL],
        held_minor=balance.held_minor,
        differing_account_ids=balance.differing_account_ids,
    )
