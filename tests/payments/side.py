"""The payment server inside a test: its real database file, the real order service, a clock that the test moves."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest
from google.protobuf.message import Message
from grpc import aio

from tests.clocks import ManualClock
from tests.processes import DEADLINE_S
from tests.trust.secrets import keep_bytes
from thirdparty_server.claims.servicer import ClaimServicer
from thirdparty_server.ledger.servicer import AccountServicer
from thirdparty_server.ledger.upkeep import Upkeep
from thirdparty_server.payers.identity_servicer import IdentityServicer
from thirdparty_server.payers.payer_servicer import PayerServicer
from thirdparty_server.payers.phone_servicer import PhoneServicer
from thirdparty_server.payers.wallet_servicer import WalletServicer
from thirdparty_server.payments import operations as payment_operations
from thirdparty_server.payments import payer_search
from thirdparty_server.payments.model import Lock, Payment
from thirdparty_server.payments.orders import Orders
from thirdparty_server.payments.refunds.servicer import RefundServicer
from thirdparty_server.payments.resolver import PaymentResolver
from thirdparty_server.payments.servicer import PaymentServicer
from thirdparty_server.server import PaymentSettings, assemble
from thirdparty_server.stores.servicer import StoreServicer
from thirdparty_server.tables import METADATA
from tillmesh import payer as payers_of_orders
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import account_pb2, deposit_pb2, payment_pb2, refund_pb2, store_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.payment.v1 import store_service_pb2 as stores_api
from tillmesh.api.type.v1 import line_item_pb2, payer_pb2
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.auth.callers import Role
from tillmesh.origin import NOWHERE
from tillmesh.rpc.handlers import SignIn
from tillmesh.rpc.peers import Peer, open_channel
from tillmesh.rpc.server import Wiring
from tillmesh.rpc.settings import load_settings
from tillmesh.runtime.driver import Progress
from tillmesh.runtime.errors import ErrorReason, Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money as ModelMoney
from tillmesh.storage.database import Database, open_database

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceAsyncStub

STORE = "store-1"
Kind = TypeVar("Kind")
INSTANT = 10**9
"""A threshold below which every payment of a test is."""


def gbp(minor: int) -> Money:
    return Money(currency_code="GBP", minor_units=minor)


def line(minor: int) -> line_item_pb2.LineItem:
    return line_item_pb2.LineItem(sku="85123A", title="HEART T-LIGHT HOLDER", quantity=1, unit_price_minor=minor)


def named(who: str) -> payer_pb2.Payer:
    """A payer on the wire: a reference where it has the form of one, else an identity."""
    if payers_of_orders.is_reference(who):
        return payer_pb2.Payer(reference=who)
    return payer_pb2.Payer(identity_id=who)


def model_payer(message: payer_pb2.Payer) -> payers_of_orders.Payer:
    """The same in the model."""
    if message.reference:
        return payers_of_orders.reference(message.reference)
    return payers_of_orders.identity(message.identity_id)


def asked(order: order_pb2.Order, payment_id: str = "") -> payments_api.CreatePaymentRequest:
    """What a till or phone sends to pay the order as it was shown."""
    return payments_api.CreatePaymentRequest(
        payment_id=payment_id or new_request_id(),
        order_id=order.order_id,
        order_version=order.version,
        payer=order.payer,
        amount=order.amount,
    )


@contextmanager
def refused(reason: ErrorReason) -> Iterator[list[Refusal]]:
    """Expects that refusal and no other; it is put into the list."""
    seen: list[Refusal] = []
    with pytest.raises(Refusal) as raised:
        yield seen
    seen.append(raised.value)
    assert raised.value.reason == reason.name
    assert raised.value.code == reason.code


class Patient:
    """A channel on which a call has a deadline also where a test does not care for one."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """A callable that makes calls of a method."""
        method: Any = self._channel.unary_unary(*arguments, **options)

        def call(request: Message, timeout: float = DEADLINE_S, **details: Any) -> Any:
            return method(request, timeout=timeout, **details)

        return call

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """A callable that opens streams of a method, which need no deadline."""
        return self._channel.unary_stream(*arguments, **options)


@dataclass
class Side:
    """Plain classes of the payment server, put together as the process puts them together."""

    settings: PaymentSettings
    database: Database
    clock: ManualClock
    orders: "OrderServiceAsyncStub"
    resolver: PaymentResolver
    payments: PaymentServicer
    refunds: RefundServicer
    identities: IdentityServicer
    wallets: WalletServicer
    phones: PhoneServicer
    stores: StoreServicer
    accounts: AccountServicer
    payers: PayerServicer
    claims: ClaimServicer
    sign_in: SignIn

    async def shopper(
        self,
        funds: int = 0,
        currency: str = "GBP",
        threshold: int | None = INSTANT,
        unconfirmed_max: int | None = None,
    ) -> str:
        """A new identity with money in its wallet; without a threshold it is asked for each payment."""
        limit = None if threshold is None else Money(currency_code=currency, minor_units=threshold)
        identity = await self.identities.CreateIdentity(
            identities_api.CreateIdentityRequest(
                identity_id=f"shopper-{new_request_id()}",
                display_name="Ada",
                currency_code=currency,
                confirmation_threshold=limit,
                unconfirmed_payments_per_day_max=unconfirmed_max,
            )
        )
        if funds:
            await self.deposit(identity.identity_id, funds, currency)
        return identity.identity_id

    async def deposit(self, identity_id: str, minor: int, currency: str = "GBP") -> deposit_pb2.Deposit:
        return await self.accounts.CreateDeposit(
            accounts_api.CreateDepositRequest(
                deposit_id=new_request_id(),
                identity_id=identity_id,
                amount=Money(currency_code=currency, minor_units=minor),
            )
        )

    async def store(self, limit: int | None = None, store_id: str = STORE, currency: str = "GBP") -> store_pb2.Store:
        """The record of a store, which may give so much back without a sale."""
        store = store_pb2.Store(
            store_id=store_id,
            name="Corner shop",
            address_lines=["1 High Street", "London"],
            tax_number="GB 123 4567 89",
            time_zone="Europe/London",
            currency_code=currency,
        )
        if limit is not None:
            store.unreferenced_refund_limit.CopyFrom(Money(currency_code=currency, minor_units=limit))
        return await self.stores.CreateStore(stores_api.CreateStoreRequest(store=store))

    async def order(self, payer: str, minor: int = 1000, currency: str = "GBP") -> order_pb2.Order:
        """A new pending order at the order service, of an identity or under a reference."""
        return await self.order_of(payer, [line(minor)], currency)

    async def order_of(
        self,
        payer: str,
        lines: Sequence[line_item_pb2.LineItem],
        currency: str = "GBP",
        *,
        prices_include_tax: bool = True,
    ) -> order_pb2.Order:
        """The same with these lines."""
        return await self.orders.CreateOrder(
            orders_api.CreateOrderRequest(
                request_id=new_request_id(),
                store_id=STORE,
                payer=named(payer),
                currency_code=currency,
                lines=lines,
                prices_include_tax=prices_include_tax,
            )
        )

    async def order_now(self, order: order_pb2.Order) -> order_pb2.Order:
        """The order as it is, also while the order service is still coming up."""
        request = orders_api.GetOrderRequest(order_id=order.order_id)
        return await self.orders.GetOrder(request, wait_for_ready=True, timeout=DEADLINE_S)

    async def record(self, order: order_pb2.Order) -> str:
        """Step A alone: the payment is recorded and nobody drives it; returns its id."""
        now_ms = self.clock.now_ms()
        asked = Payment(
            payment_id=new_request_id(),
            order_id=order.order_id,
            order_version=order.version,
            payer=model_payer(order.payer),
            amount=ModelMoney(order.amount.currency_code, order.amount.minor_units),
            origin=NOWHERE,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        found = await self.database.run(payer_search.find_payer, asked, None)
        return (await self.database.run(payment_operations.create_payment, asked, found)).payment_id

    async def locked(self, payment_id: str, epoch: int) -> None:
        """Step C alone, with an epoch that nobody asked the order service for."""
        now_ms = self.clock.now_ms()
        lock = Lock(epoch, STORE, now_ms + self.settings.timing().window_ms(60_000))
        await self.database.run(payment_operations.record_lock, payment_id, lock, now_ms)

    async def step(self, payment_id: str) -> str:
        """One step of the resolver; returns the state that it led to."""
        await self.resolver.step(await self.resolver.get(payment_id))
        return (await self.state(payment_id))[0]

    async def finish(self, payment_id: str) -> tuple[str, str]:
        """Steps until nothing is left to do; returns state and reason."""
        payment, progress = await self.resolver.get(payment_id), Progress.STEPPED
        while progress is Progress.STEPPED:
            payment, progress = await self.resolver.step(payment)
        return await self.state(payment_id)

    async def payment(self, payment_id: str) -> payment_pb2.Payment:
        return await self.payments.GetPayment(payments_api.GetPaymentRequest(payment_id=payment_id))

    async def state(self, payment_id: str) -> tuple[str, str]:
        """State and reason of a payment."""
        return state_and_reason(await self.payment(payment_id))

    async def events(self, payment_id: str) -> list[str]:
        listed = await self.payments.ListPaymentEvents(payments_api.ListPaymentEventsRequest(payment_id=payment_id))
        assert [event.number for event in listed.events] == list(range(1, len(listed.events) + 1))
        return [payment_pb2.PaymentEvent.Type.Name(event.type).removeprefix("TYPE_") for event in listed.events]

    async def pay(self, order: order_pb2.Order, payment_id: str = "") -> payment_pb2.Payment:
        return await self.payments.CreatePayment(asked(order, payment_id))

    async def captured(self, payer: str, minor: int = 1000, currency: str = "GBP") -> payment_pb2.Payment:
        """A payment that went through."""
        payment = await self.pay(await self.order(payer, minor, currency))
        assert state_and_reason(payment) == ("CAPTURED", "")
        return payment

    async def refund(self, payment_id: str, minor: int | None, refund_id: str = "") -> refund_pb2.Refund:
        """Gives back an amount, or all that is left."""
        return await self.refunds.RefundPayment(
            refunds_api.RefundPaymentRequest(
                refund_id=refund_id or new_request_id(),
                payment_id=payment_id,
                amount=None if minor is None else gbp(minor),
            )
        )

    async def refund_lines(
        self, payment_id: str, quantities: Mapping[int, int], refund_id: str = ""
    ) -> refund_pb2.Refund:
        """Gives back quantities by line number."""
        lines = [
            refund_pb2.RefundLine(line_number=number, quantity=quantity) for number, quantity in quantities.items()
        ]
        return await self.refunds.RefundPayment(
            refunds_api.RefundPaymentRequest(
                refund_id=refund_id or new_request_id(), payment_id=payment_id, lines=lines
            )
        )

    async def give_back(
        self, payee: str, minor: int, currency: str = "GBP", store_id: str = STORE, refund_id: str = ""
    ) -> refund_pb2.Refund:
        """Goods came back whose sale nobody finds."""
        return await self.refunds.CreateUnreferencedRefund(
            refunds_api.CreateUnreferencedRefundRequest(
                refund_id=refund_id or new_request_id(),
                store_id=store_id,
                identity_id=payee,
                amount=Money(currency_code=currency, minor_units=minor),
            )
        )

    async def balance(self, account_id: str) -> tuple[int, int]:
        """Posted and held of an account, in minor units."""
        account = await self.accounts.GetAccount(accounts_api.GetAccountRequest(account_id=account_id))
        return account.posted.minor_units, account.held.minor_units

    async def wallet(self, identity_id: str, currency: str = "GBP") -> tuple[int, int]:
        return await self.balance(f"wallet/{identity_id}/{currency}")

    async def books(self) -> dict[str, account_pb2.TrialBalance]:
        """The trial balance of each currency, having checked that it balances."""
        await Upkeep(self.database, self.clock, "").round()
        listed = await self.accounts.ListTrialBalances(accounts_api.ListTrialBalancesRequest())
        for balance in listed.trial_balances:
            assert balance.sum.minor_units == 0
            assert not balance.differing_account_ids
        return {balance.currency_code: balance for balance in listed.trial_balances}


def state_and_reason(payment: payment_pb2.Payment) -> tuple[str, str]:
    return payment_pb2.Payment.State.Name(payment.state).removeprefix("STATE_"), payment.reason


def secret_file(folder: Path) -> Path:
    """A payment server's secret."""
    path = folder / "payments.secret"
    if not path.exists():
        path.touch(0o600)
        path.write_bytes(keep_bytes(secrets.token_bytes(32)).value)
    return path


@cache
def usual_settings() -> PaymentSettings:
    """What is the same for all; to read flags takes longer than many a test."""
    return load_settings(PaymentSettings, ["--insecure"])


def servicer(wiring: Wiring, kind: type[Kind]) -> Kind:
    """The servicer of that class."""
    return next(one for one in wiring.servicers.values() if isinstance(one, kind))


@asynccontextmanager
async def payment_side(
    database_url: str, folder: Path, orders_address: str, clock: ManualClock, *, secret: bool = True, **others: object
) -> AsyncIterator[Side]:
    """The payment server without its own port; its background loop does not run, so nothing moves by itself."""
    others |= {"database_url": database_url, "orders": orders_address}
    settings = usual_settings().model_copy(update={"secret_file": secret_file(folder) if secret else None, **others})
    database = open_database(settings.database_url, METADATA)
    channel = open_channel(orders_address, Role.ORDERS, None)
    stub = OrderServiceStub(cast(aio.Channel, Patient(channel)))
    wiring = assemble(settings, database, channel, clock, random.Random(20261121))
    resolver = PaymentResolver(database, Orders(stub, Peer()), clock, settings.timing(), random.Random(20261121), "")
    yield Side(
        settings=settings,
        database=database,
        clock=clock,
        orders=stub,
        resolver=resolver,
        payments=servicer(wiring, PaymentServicer),
        refunds=servicer(wiring, RefundServicer),
        identities=servicer(wiring, IdentityServicer),
        wallets=servicer(wiring, WalletServicer),
        phones=servicer(wiring, PhoneServicer),
        stores=servicer(wiring, StoreServicer),
        accounts=servicer(wiring, AccountServicer),
        payers=servicer(wiring, PayerServicer),
        claims=servicer(wiring, ClaimServicer),
        sign_in=wiring.sign_in,
    )
    for close in wiring.on_stop:
        await close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what other tasks or processes bring about by themselves."""
    end = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)
