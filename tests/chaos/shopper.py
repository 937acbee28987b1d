"""Shoppers with a till and a phone, who keep asking until they are answered."""

import asyncio
import random
import time
from collections.abc import Awaitable
from typing import TypeVar, cast

from google.protobuf.message import Message
from grpc import aio

from tests.chaos.asking import Observed, ask, gbp
from tests.chaos.witness import Witness
from tillmesh import paycode
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import phone_pb2, store_pb2
from tillmesh.api.payment.v1 import phone_service_pb2 as phones_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.payment.v1 import store_service_pb2 as stores_api
from tillmesh.client import Item, Line, Money, Refusal, Sale, Till
from tillmesh.client.connections import Client, DeviceConnections
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

STORE = "store-1"
THRESHOLD = 2_000
RETURNS_LIMIT = 50_000


class Shopper:
    """One identity; every request has its id before it is sent."""

    def __init__(self, name: str, client: Client, witness: Witness, rng: random.Random) -> None:
        self.name = name
        self._client = client
        self._witness = witness
        self._rng = rng

    async def shop(self, closed: asyncio.Event) -> None:
        """One checkout after the other until the shop closes."""
        store = store_pb2.Store(
            store_id=STORE,
            name="Store",
            time_zone="Europe/London",
            currency_code="GBP",
            unreferenced_refund_limit=gbp(RETURNS_LIMIT),
        )
        await self._ask(self._client.stores.CreateStore, stores_api.CreateStoreRequest(store=store))
        request = identities_api.CreateIdentityRequest(
            identity_id=self.name,
            display_name=self.name,
            currency_code="GBP",
            confirmation_threshold=gbp(THRESHOLD),
        )
        await self._ask(self._client.identities.CreateIdentity, request)
        observed = cast(DeviceConnections, Observed(self._client, self._witness, self._rng))
        async with Till.over(observed) as till:
            while not closed.is_set():
                await self._visit(till)

    async def _visit(self, till: Till) -> None:
        await self._deposit(self._rng.randrange(1, 4_000))
        sale = await self._fill_basket(till)
        for _ in range(4):
            await self._pay(sale)
            sale = await till.take_up(sale.checkout_id)  # what the order service says: a phone may have paid as well
            if (await sale.ended()).hands_over:
                return await self._give_back(till, sale)
            if self._chance(0.15) and await self._allowed(sale.cancel()):
                return None
            if self._chance(0.6):
                await self._allowed(self._change(sale))
            sale = await till.take_up(sale.checkout_id)
        return None

    async def _deposit(self, minor: int) -> None:
        request = accounts_api.CreateDepositRequest(
            deposit_id=new_request_id(), identity_id=self.name, amount=gbp(minor)
        )
        await self._ask(self._client.accounts.CreateDeposit, request)

    async def _fill_basket(self, till: Till) -> Sale:
        free, named = self._chance(0.1), self._chance(0.7)
        sale = await till.open(
            [self._line(free=free) for _ in range(2)],
            payer=self.name if named else "",
            prices_include_tax=self._chance(0.5),
        )
        if self._chance(0.3):
            await self._change(sale)
        await sale.submit()
        return sale

    async def _pay(self, sale: Sale) -> None:
        """Pays at the till, and perhaps from the phone too; changes their mind meanwhile, or not."""
        payment_id, amount = new_request_id(), sale.said.amount
        acts: list[Awaitable[object]] = [self._pay_at_till(sale, payment_id)]
        if amount.minor:
            if self._chance(0.2):
                acts.append(self._pay_by_phone(sale))
            if self._chance(0.25):
                acts.append(self._cancel_payment(sale))
            if self._chance(0.8):
                acts.append(self._confirm(payment_id, amount))
        await asyncio.gather(*(self._allowed(act) for act in acts))
        await sale.ended()

    async def _pay_at_till(self, sale: Sale, payment_id: str) -> None:
        has_code = bool(sale.said.checkout.payer.reference and sale.said.amount.minor)
        await sale.pay(await self._pay_code() if has_code else "", payment_id=payment_id)

    async def _pay_code(self) -> str:
        """What this shopper's phone shows, with a new key each time: no code of it was used before."""
        bind = phones_api.BindPhoneRequest(
            request_id=new_request_id(), identity_id=self.name, phone_id=f"phone-{self.name}"
        )
        bound: phone_pb2.Phone = await self._ask(self._client.phones.BindPhone, bind)
        key = bound.pay_code_key
        step = paycode.step_at(time.time_ns() // 1_000_000)
        return paycode.make(key.handle, Secret(key.key), step).value.decode()

    async def _pay_by_phone(self, sale: Sale) -> None:
        checkout, amount = sale.said.checkout, sale.said.amount
        await asyncio.sleep(self._rng.uniform(0, 0.3))
        request = payments_api.CreatePaymentRequest(
            payment_id=new_request_id(),
            order_id=checkout.checkout_id,
            order_version=checkout.order_version,
            payer=checkout.payer,
            amount=checkout.amount,
        )
        payment = await self._ask(self._client.payments.CreatePayment, request)
        if self._chance(0.8):
            await self._confirm(payment.payment_id, amount)

    async def _confirm(self, payment_id: str, amount: Money) -> None:
        """The payer's yes, which may come before anybody waits for it, or too late."""
        if amount.minor > THRESHOLD:
            await asyncio.sleep(self._rng.uniform(0.2, 3.2))
            request = payments_api.ConfirmPaymentRequest(
                request_id=new_request_id(), payment_id=payment_id, store_id=STORE, amount=gbp(amount.minor)
            )
            await self._ask(self._client.payments.ConfirmPayment, request)

    async def _cancel_payment(self, sale: Sale) -> None:
        await asyncio.sleep(self._rng.uniform(0, 1.0))
        await sale.cancel_payment()

    async def _change(self, sale: Sale) -> None:
        """Adds something, or gets a discount of the whole basket."""
        if self._chance(0.3) and sale.said.amount.minor:
            await sale.adjust(-1, code="STAFF")
        else:
            await sale.add(self._line())

    async def _give_back(self, till: Till, sale: Sale) -> None:
        """Refunds that may race each other to more than there is, and a return without its sale."""
        checkout = sale.said.checkout
        if not checkout.paid_by_payment_id:
            return
        half = Money("GBP", sale.said.amount.minor // 2 + 1)
        for _ in range(self._rng.choice((0, 0, 1, 2))):
            if self._chance(0.5):
                await self._allowed(sale.refund(half))
            else:
                await self._allowed(sale.refund(lines={checkout.lines[0].line_number: 1}))
        if self._chance(0.2):
            office = refunds_api.RefundPaymentRequest(
                refund_id=new_request_id(), payment_id=checkout.paid_by_payment_id, amount=gbp(1)
            )
            await self._allowed(self._ask(self._client.refunds.RefundPayment, office))
        if self._chance(0.2):
            cup = Item(sku="CUP", title="Cup", quantity=1, unit_price_minor=20)
            await self._allowed(till.take_back([cup], payee=self.name))

    async def _ask(self, method: aio.UnaryUnaryMultiCallable[Req, Res], request: Req) -> Res:
        return await ask(self._client, self._witness, self._rng, method, request)

    async def _allowed(self, act: Awaitable[object]) -> bool:
        """True unless it was refused for one of the expected reasons; `ask` has noted any other."""
        try:
            await act
        except Refusal:
            return False
        return True

    def _line(self, *, free: bool = False) -> Line:
        price = 0 if free else self._rng.randrange(1, 900)
        return Line(
            sku=f"A{price}",
            quantity=self._rng.randrange(1, 4),
            unit_price_minor=price,
            title="Goods",
            tax_code="STANDARD",
            tax_rate_ppm=200_000,
        )

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share
