"""Identities and accounts: protobuf to model and back, nothing else."""

from collections.abc import Callable

from thirdparty_server import account_operations, ledger, messages, payers, store
from thirdparty_server.model import Account, Entry, Identity
from thirdparty_server.tables import REQUESTS
from thirdparty_server.vault import Vault
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.runtime.callers import Role
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.database import Database
from tillmesh.runtime.fields import Fields, shown
from tillmesh.runtime.paging import Page
from tillmesh.runtime.statements import Connection

DISPLAY_NAME_MAX = 128


class IdentityServicer:
    """tillmesh.api.payment.v1.IdentityService."""

    def __init__(self, database: Database, clock: Clock, vault: Vault, mesh: str) -> None:
        self._database = database
        self._clock = clock
        self._vault = vault
        self._mesh = mesh

    async def CreateIdentity(self, request: identities_api.CreateIdentityRequest) -> identities_api.Identity:
        """Registers an identity and opens its account."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("identity_id", request.identity_id)
        fields.text("display_name", request.display_name, length_max=DISPLAY_NAME_MAX)
        fields.currency("currency_code", request.currency_code)
        limit = messages.instant_limit(fields, request)
        count_max = messages.instant_count_max(fields, request)
        if limit:
            same = limit.currency == request.currency_code
            fields.require(same, "instant_limit.currency_code", f"must be {shown(request.currency_code)} as well")
        fields.check()
        identity = Identity(
            identity_id=request.identity_id,
            display_name=request.display_name,
            currency=request.currency_code,
            instant_limit_minor=limit.minor if limit else None,
            instant_count_max=count_max,
            created_at_ms=self._clock.now_ms(),
        )
        return await self._once(request, lambda connection: account_operations.create_identity(connection, identity))

    async def GetIdentity(self, request: identities_api.GetIdentityRequest) -> identities_api.Identity:
        """Reads one identity."""
        identity = await self._database.run(
            lambda connection: account_operations.get_identity(connection, request.identity_id)
        )
        return messages.to_identity(identity)

    async def ListIdentities(
        self, request: identities_api.ListIdentitiesRequest
    ) -> identities_api.ListIdentitiesResponse:
        """Lists identities by id."""
        page = Page[Identity](request.page_size, request.page_token, [], [str])
        after = page.after[0] if page.after else ""
        rows = await self._database.run(lambda connection: store.list_identities(connection, after, page.at_most))
        shown, token = page.cut(rows, lambda identity: [identity.identity_id])
        return identities_api.ListIdentitiesResponse(
            identities=[messages.to_identity(identity) for identity in shown], next_page_token=token
        )

    async def UpdateIdentity(self, request: identities_api.UpdateIdentityRequest) -> identities_api.Identity:
        """Changes display name and instant limits."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.text("display_name", request.display_name, length_max=DISPLAY_NAME_MAX)
        limit = messages.instant_limit(fields, request)
        count_max = messages.instant_count_max(fields, request)
        fields.check()
        return await self._once(
            request,
            lambda connection: account_operations.update_identity(
                connection,
                identity_id=request.identity_id,
                display_name=request.display_name,
                instant_limit=limit,
                instant_count_max=count_max,
            ),
        )

    async def SetPin(self, request: identities_api.SetPinRequest) -> identities_api.Identity:
        """Sets an identity's PIN."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        pin = messages.pin(fields, request.pin)
        fields.check()
        pin_hash = await self._vault.hash_pin(request.identity_id, pin)
        return await self._once(
            request,
            lambda connection: payers.set_pin(connection, identity_id=request.identity_id, pin_hash=pin_hash),
        )

    async def BindDevice(self, request: identities_api.BindDeviceRequest) -> identities_api.PayerDevice:
        """Binds a payer's terminal to an identity."""
        self._vault.require()
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("device_id", request.device_id)
        fields.check()
        now_ms = self._clock.now_ms()

        def bind(connection: Connection) -> identities_api.PayerDevice:
            device = payers.bind_device(
                connection,
                request_id=request.request_id,
                identity_id=request.identity_id,
                device_uri=self._uri_of(request.device_id),
                now_ms=now_ms,
            )
            answer = messages.to_device(device)
            answer.pay_code_key.CopyFrom(messages.to_key(device))
            return answer

        answer = await REQUESTS.run(
            self._database,
            request,
            lambda connection: REQUESTS.once(connection, request, identities_api.PayerDevice, lambda: bind(connection)),
        )
        answer.pay_code_key.key = self._vault.pay_code_key(answer.pay_code_key.handle, request.request_id).value
        return answer

    async def UnbindDevice(self, request: identities_api.UnbindDeviceRequest) -> identities_api.PayerDevice:
        """Ends what a payer's terminal may do."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("device_id", request.device_id)
        fields.check()
        device_uri = self._uri_of(request.device_id)
        return await REQUESTS.run(
            self._database,
            request,
            lambda connection: REQUESTS.once(
                connection,
                request,
                identities_api.PayerDevice,
                lambda: messages.to_device(payers.unbind_device(connection, device_uri=device_uri)),
            ),
        )

    def _uri_of(self, device_id: str) -> str:
        return f"spiffe://{self._mesh}/{Role.PAYER}/{device_id}"

    async def _once(
        self,
        request: identities_api.CreateIdentityRequest
        | identities_api.UpdateIdentityRequest
        | identities_api.SetPinRequest,
        operation: Callable[[Connection], Identity],
    ) -> identities_api.Identity:
        return await REQUESTS.run(
            self._database,
            request,
            lambda connection: REQUESTS.once(
                connection, request, identities_api.Identity, lambda: messages.to_identity(operation(connection))
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
        return messages.to_account(account)

    async def ListAccounts(self, request: accounts_api.ListAccountsRequest) -> accounts_api.ListAccountsResponse:
        """Lists accounts by id."""
        page = Page[Account](request.page_size, request.page_token, [], [str])
        after = page.after[0] if page.after else ""
        rows = await self._database.run(lambda connection: ledger.list_accounts(connection, after, page.at_most))
        shown, token = page.cut(rows, lambda account: [account.account_id])
        return accounts_api.ListAccountsResponse(
            accounts=[messages.to_account(account) for account in shown], next_page_token=token
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
            entries=[messages.to_entry(entry) for entry in shown], next_page_token=token
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
        return accounts_api.ListTrialBalancesResponse(
            trial_balances=[messages.to_trial_balance(row) for row in balances]
        )

    async def _once(
        self,
        request: accounts_api.CreateDepositRequest | accounts_api.SetReturnLimitRequest,
        operation: Callable[[Connection], Account],
    ) -> accounts_api.Account:
        return await REQUESTS.run(
            self._database,
            request,
            lambda connection: REQUESTS.once(
                connection, request, accounts_api.Account, lambda: messages.to_account(operation(connection))
            ),
        )
