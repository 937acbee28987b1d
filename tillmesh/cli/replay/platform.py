"""Prepares the platform for a replay: identities, wallets, phones, money, and the store's limit."""

from dataclasses import dataclass

from google.protobuf.field_mask_pb2 import FieldMask

from tillmesh.api.payment.v1 import account_service_pb2 as accounts
from tillmesh.api.payment.v1 import identity_service_pb2 as identities
from tillmesh.api.payment.v1 import phone_service_pb2 as phones
from tillmesh.api.payment.v1 import store_pb2
from tillmesh.api.payment.v1 import store_service_pb2 as stores
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallets
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.phone.device import Phone
from tillmesh.cli.replay.calls import call
from tillmesh.cli.replay.invoices import WALK_IN
from tillmesh.client.connections import Client
from tillmesh.client.wallets import wallet_account_id
from tillmesh.runtime.clock import SystemClock
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import MINOR_UNITS_MAX
from tillmesh.runtime.secret import Secret

TIME_ZONE = "UTC"
"""Of a store that nobody registered before."""


@dataclass
class Wallet:
    """A customer's wallet as a replay uses it."""

    account_id: str
    opening_minor: int
    deposits_minor: int = 0


class Platform:
    """The platform, in one currency."""

    def __init__(self, client: Client, currency: str) -> None:
        self.wallets: dict[str, Wallet] = {}
        """Those that were opened or found, by customer."""
        self._client = client
        self._currency = currency

    async def pay_code(self, customer_id: str, phone_id: str) -> Secret:
        """The pay code on the customer's phone.

        A key is good for one payment in half a minute, and here days pass in that: the phone gets another each time.
        """
        request = phones.BindPhoneRequest(request_id=new_request_id(), identity_id=customer_id, phone_id=phone_id)
        key = (await call(self._client, self._client.phones.BindPhone, request)).pay_code_key
        return Phone(phone_id, customer_id, key.handle, Secret(key.key)).code(SystemClock().now_ms())

    async def allow_returns(self, store_id: str, returns_minor: int) -> None:
        """Lets the store give back so much without a sale, beside what it already has.

        A store has one limit, in its own currency. In another one it gives nothing back without a sale.
        """
        store = await self._find_or_register_store(store_id, returns_minor)
        if store.currency_code != self._currency:
            return
        used_minor = -await self._posted_minor(f"returns/{store.store_id}/{self._currency}")
        limit_minor = min(used_minor + returns_minor, MINOR_UNITS_MAX)
        if limit_minor > store.unreferenced_refund_limit.minor_units:
            update = stores.UpdateStoreRequest(
                request_id=new_request_id(),
                store=store_pb2.Store(store_id=store.store_id, unreferenced_refund_limit=self._money(limit_minor)),
                update_mask=FieldMask(paths=["unreferenced_refund_limit"]),
                version=store.version,
            )
            await call(self._client, self._client.stores.UpdateStore, update)

    async def _find_or_register_store(self, store_id: str, limit_minor: int) -> store_pb2.Store:
        try:
            return await call(self._client, self._client.stores.GetStore, stores.GetStoreRequest(store_id=store_id))
        except Refusal as refusal:
            if refusal.reason != "STORE_NOT_FOUND":
                raise
        store = store_pb2.Store(
            store_id=store_id,
            name=store_id,
            time_zone=TIME_ZONE,
            currency_code=self._currency,
            unreferenced_refund_limit=self._money(min(limit_minor, MINOR_UNITS_MAX)),
        )
        return await call(self._client, self._client.stores.CreateStore, stores.CreateStoreRequest(store=store))

    async def open_wallet(self, customer_id: str) -> None:
        """Registers the identity, or finds it with what its wallet holds. Its payments need no confirmation."""
        create = identities.CreateIdentityRequest(
            identity_id=customer_id,
            display_name="Walk-in shopper" if customer_id == WALK_IN else f"Customer {customer_id}",
            currency_code=self._currency,
            confirmation_threshold=self._money(MINOR_UNITS_MAX),
        )
        try:
            await call(self._client, self._client.identities.CreateIdentity, create)
        except Refusal as refusal:
            if refusal.reason != "IDENTITY_EXISTS":
                raise
            await self._open_another_wallet(customer_id)
        account_id = wallet_account_id(customer_id, self._currency)
        self.wallets[customer_id] = Wallet(account_id, await self._posted_minor(account_id))

    async def _open_another_wallet(self, customer_id: str) -> None:
        """Opens the wallet of this currency, unless there is one; that keeps its limits."""
        request = wallets.OpenWalletRequest(
            request_id=new_request_id(),
            identity_id=customer_id,
            currency_code=self._currency,
            confirmation_threshold=self._money(MINOR_UNITS_MAX),
        )
        try:
            await call(self._client, self._client.wallets.OpenWallet, request)
        except Refusal as refusal:
            if refusal.reason != "WALLET_EXISTS":
                raise

    async def _posted_minor(self, account_id: str) -> int:
        """The balance of an account; 0 where there is none yet."""
        try:
            request = accounts.GetAccountRequest(account_id=account_id)
            return (await call(self._client, self._client.accounts.GetAccount, request)).posted.minor_units
        except Refusal as refusal:
            if refusal.reason != "ACCOUNT_NOT_FOUND":
                raise
            return 0

    async def deposit(self, customer_id: str, amount_minor: int) -> None:
        """Puts in what is due."""
        request = accounts.CreateDepositRequest(
            deposit_id=new_request_id(), identity_id=customer_id, amount=self._money(amount_minor)
        )
        await call(self._client, self._client.accounts.CreateDeposit, request)
        self.wallets[customer_id].deposits_minor += amount_minor

    def _money(self, minor: int) -> money_pb2.Money:
        return money_pb2.Money(currency_code=self._currency, minor_units=minor)
