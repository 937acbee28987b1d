"""The payment server inside a test: its real database file, the real order service, a clock that the test moves."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from google.protobuf.message import Message
from grpc import aio

from tests.clocks import ManualClock
from tests.trust.secrets import keep_bytes
from thirdparty_server import operations, payers
from thirdparty_server.account_servicer import AccountServicer, IdentityServicer
from thirdparty_server.payer_servicer import PayerServicer
from thirdparty_server.resolver import Orders, PaymentResolver
from thirdparty_server.server import PaymentSettings, assemble
from thirdparty_server.servicer import PaymentServicer, RefundServicer
from thirdparty_server.tables import METADATA
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.callers import Role
from tillmesh.runtime.database import Database, open_database
from tillmesh.runtime.driver import Progress
from tillmesh.runtime.errors import ErrorReason, Refusal
from tillmesh.runtime.handlers import SignIn
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money as ModelMoney
from tillmesh.runtime.peers import Peer, open_channel
from tillmesh.runtime.settings import load_settings

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceAsyncStub

STORE = "store-1"
DEADLINE_S = 30.0


def gbp(minor: int) -> Money:
    return Money(currency_code="GBP", minor_units=minor)


def line(minor: int) -> line_item_pb2.LineItem:
    return line_item_pb2.LineItem(sku="85123A", title="HEART T-LIGHT HOLDER", quantity=1, unit_price_minor=minor)


def asked(order: order_pb2.Order, request_id: str = "") -> payments_api.CreatePaymentRequest:
    """What a till or phone sends to pay the order as it was shown."""
    return payments_api.CreatePaymentRequest(
        request_id=request_id or new_request_id(),
        order_id=order.order_id,
        order_version=order.version,
        payer_id=order.payer_id,
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
    accounts: AccountServicer
    payers: PayerServicer
    sign_in: SignIn

    async def shopper(
        self,
        funds: int = 0,
        currency: str = "GBP",
        instant_limit: int | None = None,
        instant_count_max: int | None = None,
    ) -> str:
        """A new identity with money in its wallet."""
        limit = None if instant_limit is None else Money(currency_code=currency, minor_units=instant_limit)
        identity = await self.identities.CreateIdentity(
            identities_api.CreateIdentityRequest(
                request_id=new_request_id(),
                identity_id=new_request_id(),
                display_name="Ada",
                currency_code=currency,
                instant_limit=limit,
                instant_count_max=instant_count_max,
            )
        )
        if funds:
            await self.deposit(identity.identity_id, funds, currency)
        return identity.identity_id

    async def deposit(self, identity_id: str, minor: int, currency: str = "GBP") -> accounts_api.Account:
        return await self.accounts.CreateDeposit(
            accounts_api.CreateDepositRequest(
                request_id=new_request_id(),
                identity_id=identity_id,
                amount=Money(currency_code=currency, minor_units=minor),
            )
        )

    async def order(self, payer_id: str, minor: int = 1000, currency: str = "GBP") -> order_pb2.Order:
        """A new pending order at the order service."""
        return await self.orders.CreateOrder(
            orders_api.CreateOrderRequest(
                request_id=new_request_id(),
                store_id=STORE,
                payer_id=payer_id,
                currency_code=currency,
                lines=[line(minor)],
            )
        )

    async def order_now(self, order: order_pb2.Order) -> order_pb2.Order:
        """The order as it is, also while the order service is still coming up."""
        request = orders_api.GetOrderRequest(order_id=order.order_id)
        return await self.orders.GetOrder(request, wait_for_ready=True, timeout=DEADLINE_S)

    async def record(self, order: order_pb2.Order) -> str:
        """Step A alone: the payment is recorded and nobody drives it; returns its id."""
        payment_id = new_request_id()
        await self.database.run(
            lambda connection: operations.create_payment(
                connection,
                payment_id=payment_id,
                order_id=order.order_id,
                order_version=order.version,
                payer_id=order.payer_id,
                payer=payers.find_payer(
                    connection,
                    payer_id=order.payer_id,
                    order_id=order.order_id,
                    shown=None,
                    now_ms=self.clock.now_ms(),
                ),
                amount=ModelMoney(order.amount.currency_code, order.amount.minor_units),
                now_ms=self.clock.now_ms(),
            )
        )
        return payment_id

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

    async def payment(self, payment_id: str) -> payments_api.Payment:
        return await self.payments.GetPayment(payments_api.GetPaymentRequest(payment_id=payment_id))

    async def state(self, payment_id: str) -> tuple[str, str]:
        """State and reason of a payment."""
        return state_and_reason(await self.payment(payment_id))

    async def events(self, payment_id: str) -> list[str]:
        listed = await self.payments.ListPaymentEvents(payments_api.ListPaymentEventsRequest(payment_id=payment_id))
        assert [event.number for event in listed.events] == list(range(1, len(listed.events) + 1))
        return [event.event for event in listed.events]

    async def pay(self, order: order_pb2.Order, request_id: str = "") -> payments_api.Payment:
        return await self.payments.CreatePayment(asked(order, request_id))

    async def captured(self, payer_id: str, minor: int = 1000, currency: str = "GBP") -> payments_api.Payment:
        """A payment that went through."""
        payment = await self.pay(await self.order(payer_id, minor, currency))
        assert state_and_reason(payment) == ("CAPTURED", "")
        return payment

    async def refund(self, payment_id: str, minor: int | None, request_id: str = "") -> refunds_api.Refund:
        return await self.refunds.CreateRefund(
            refunds_api.CreateRefundRequest(
                request_id=request_id or new_request_id(),
                payment_id=payment_id,
                amount=None if minor is None else gbp(minor),
            )
        )

    async def balance(self, account_id: str) -> tuple[int, int]:
        """Posted and held of an account, in minor units."""
        account = await self.accounts.GetAccount(accounts_api.GetAccountRequest(account_id=account_id))
        return account.posted.minor_units, account.held.minor_units

    async def wallet(self, identity_id: str) -> tuple[int, int]:
        return await self.balance(f"wallet/{identity_id}")

    async def books(self) -> dict[str, accounts_api.TrialBalance]:
        """The trial balance of each currency, having checked that it balances."""
        listed = await self.accounts.ListTrialBalances(accounts_api.ListTrialBalancesRequest())
        for balance in listed.trial_balances:
            assert balance.sum_minor == 0
            assert not balance.differing_account_ids
        return {balance.currency_code: balance for balance in listed.trial_balances}


def state_and_reason(payment: payments_api.Payment) -> tuple[str, str]:
    return payments_api.Payment.State.Name(payment.state).removeprefix("STATE_"), payment.reason


def secret_file(folder: Path) -> Path:
    """A payment server's secret."""
    path = folder / "payments.secret"
    if not path.exists():
        path.touch(0o600)
        path.write_bytes(keep_bytes(secrets.token_bytes(32)).value)
    return path


@asynccontextmanager
async def payment_side(
    database_url: str, folder: Path, orders_address: str, clock: ManualClock, *, secret: bool = True
) -> AsyncIterator[Side]:
    """The payment server without its own port; its background loop does not run, so nothing moves by itself."""
    flags = ["--insecure", "--database-url", database_url, "--orders", orders_address]
    if secret:
        flags += ["--secret-file", str(secret_file(folder))]
    settings = load_settings(PaymentSettings, flags)
    database = open_database(settings.database_url, METADATA)
    channel = open_channel(orders_address, Role.ORDERS, None)
    stub = OrderServiceStub(cast(aio.Channel, Patient(channel)))
    wiring = assemble(settings, database, channel, clock, random.Random(20261121))
    payments, refunds, identities, accounts, payers_ = wiring.servicers.values()
    assert isinstance(payments, PaymentServicer)
    assert isinstance(refunds, RefundServicer)
    assert isinstance(identities, IdentityServicer)
    assert isinstance(accounts, AccountServicer)
    assert isinstance(payers_, PayerServicer)
    resolver = PaymentResolver(database, Orders(stub, Peer()), clock, settings.timing())
    yield Side(
        settings, database, clock, stub, resolver, payments, refunds, identities, accounts, payers_, wiring.sign_in
    )
    for close in wiring.on_stop:
        await close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what other tasks or processes bring about by themselves."""
    end = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)
