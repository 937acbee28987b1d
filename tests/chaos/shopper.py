"""Shoppers with a till and a phone, who keep asking until they are answered."""

import asyncio
import random
import time
from collections.abc import Awaitable
from typing import TypeVar

from google.protobuf.message import Message
from grpc import aio

from tests.chaos.asking import ask, gbp, poll
from tests.chaos.hearing import follow_checkout, heard
from tests.chaos.witness import Checkout, TillRefund, Witness
from tillmesh import paycode
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import phone_pb2, store_pb2
from tillmesh.api.payment.v1 import phone_service_pb2 as phones_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.payment.v1 import store_service_pb2 as stores_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as till_api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as till_refunds_api
from tillmesh.api.type.v1.line_item_pb2 import Adjustment, LineItem
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.client.connections import Client
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

STORE = "store-1"
THRESHOLD = 2_000
RETURNS_LIMIT = 50_000
DECIDED = (
    checkout_pb2.VERDICT_HAND_OVER_GOODS,
    checkout_pb2.VERDICT_SAFE_TO_RETRY,
    checkout_pb2.VERDICT_CLOSED,
)


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
        while not closed.is_set():
            await self._visit()

    async def _visit(self) -> None:
        await self._deposit(self._rng.randrange(1, 4_000))
        checkout = await self._fill_basket()
        for _ in range(4):
            checkout = await self._pay(checkout)
            if checkout.state == Checkout.STATE_PAID:
                return await self._give_back(checkout)
            if self._chance(0.15) and await self._leave(checkout):
                return None
            if self._chance(0.6):
                await self._allowed(self._change(checkout))
            checkout = await self._look(checkout)
        return None

    async def _deposit(self, minor: int) -> None:
        request = accounts_api.CreateDepositRequest(
            deposit_id=new_request_id(), identity_id=self.name, amount=gbp(minor)
        )
        await self._ask(self._client.accounts.CreateDeposit, request)

    async def _fill_basket(self) -> Checkout:
        free, named = self._chance(0.1), self._chance(0.7)
        create = till_api.CreateCheckoutRequest(
            request_id=new_request_id(),
            identity_id=self.name if named else "",
            lines=[self._line(free=free) for _ in range(2)],
            prices_include_tax=self._chance(0.5),
        )
        checkout = await self._ask(self._client.till.CreateCheckout, create)
        if self._chance(0.3):
            checkout = await self._change(checkout)
        submit = till_api.SubmitCheckoutRequest(
            request_id=new_request_id(), checkout_id=checkout.checkout_id, basket_version=checkout.basket_version
        )
        return await self._ask(self._client.till.SubmitCheckout, submit)

    async def _pay(self, checkout: Checkout) -> Checkout:
        """Pays at the till, and perhaps from the phone too; changes their mind meanwhile, or not."""
        payment_id = new_request_id()
        acts: list[Awaitable[object]] = [self._pay_at_till(checkout, payment_id)]
        if checkout.amount.minor_units:
            if self._chance(0.2):
                acts.append(self._pay_by_phone(checkout))
            if self._chance(0.25):
                acts.append(self._cancel_payment(checkout))
            if self._chance(0.8):
                acts.append(self._confirm(payment_id, checkout.amount))
        await asyncio.gather(*(self._allowed(act) for act in acts))
        return await self._outcome(checkout)

    async def _pay_at_till(self, checkout: Checkout, payment_id: str) -> None:
        request = till_api.PayCheckoutRequest(
            payment_id=payment_id,
            checkout_id=checkout.checkout_id,
            order_version=checkout.order_version,
            amount=checkout.amount,
        )
        if checkout.payer.reference and checkout.amount.minor_units:
            request.pay_code = await self._pay_code()
        await self._ask(self._client.till.PayCheckout, request)

    async def _pay_code(self) -> str:
        """What this shopper's phone shows, with a new key each time: no code of it was used before."""
        bind = phones_api.BindPhoneRequest(
            request_id=new_request_id(), identity_id=self.name, phone_id=f"phone-{self.name}"
        )
        bound: phone_pb2.Phone = await self._ask(self._client.phones.BindPhone, bind)
        key = bound.pay_code_key
        step = paycode.step_at(time.time_ns() // 1_000_000)
        return paycode.make(key.handle, Secret(key.key), step).value.decode()

    async def _pay_by_phone(self, checkout: Checkout) -> None:
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
            await self._confirm(payment.payment_id, checkout.amount)

    async def _confirm(self, payment_id: str, amount: Money) -> None:
        """The payer's yes, which may come before anybody waits for it, or too late."""
        if amount.minor_units > THRESHOLD:
            await asyncio.sleep(self._rng.uniform(0.2, 3.2))
            request = payments_api.ConfirmPaymentRequest(
                request_id=new_request_id(), payment_id=payment_id, store_id=STORE, amount=amount
            )
            await self._ask(self._client.payments.ConfirmPayment, request)

    async def _cancel_payment(self, checkout: Checkout) -> None:
        await asyncio.sleep(self._rng.uniform(0, 1.0))
        request = till_api.CancelCheckoutPaymentRequest(request_id=new_request_id(), checkout_id=checkout.checkout_id)
        await self._ask(self._client.till.CancelCheckoutPayment, request)

    async def _outcome(self, checkout: Checkout) -> Checkout:
        """What the till says in the end, then what the order service does: a phone may have paid as well."""
        request = till_api.GetCheckoutRequest(checkout_id=checkout.checkout_id)
        seen = follow_checkout(
            self._client,
            self._witness,
            checkout.checkout_id,
            lambda: self._ask(self._client.till.GetCheckout, request),
        )
        said = await heard(seen, lambda said: said.verdict in DECIDED)
        return await self._look(said)

    async def _look(self, checkout: Checkout) -> Checkout:
        request = till_api.ResumeCheckoutRequest(request_id=new_request_id(), order_id=checkout.checkout_id)
        return await self._ask(self._client.till.ResumeCheckout, request)

    async def _change(self, checkout: Checkout) -> Checkout:
        """Adds something, or gets a discount of the whole basket."""
        request_id, version = new_request_id(), checkout.basket_version
        if self._chance(0.3) and checkout.amount.minor_units:
            discount = Adjustment(reason_code="STAFF", amount_minor=-1)
            adjust = till_api.AdjustCheckoutRequest(
                request_id=request_id, checkout_id=checkout.checkout_id, basket_version=version, adjustment=discount
            )
            return await self._ask(self._client.till.AdjustCheckout, adjust)
        add = till_api.AddLinesRequest(
            request_id=request_id, checkout_id=checkout.checkout_id, basket_version=version, lines=[self._line()]
        )
        return await self._ask(self._client.till.AddLines, add)

    async def _leave(self, checkout: Checkout) -> bool:
        request = till_api.CancelCheckoutRequest(request_id=new_request_id(), checkout_id=checkout.checkout_id)
        return await self._allowed(self._ask(self._client.till.CancelCheckout, request))

    async def _give_back(self, checkout: Checkout) -> None:
        """Refunds that may race each other to more than there is, and a return without its sale."""
        if not checkout.paid_by_payment_id:
            return
        half = gbp(checkout.amount.minor_units // 2 + 1)
        for _ in range(self._rng.choice((0, 0, 1, 2))):
            refund = till_refunds_api.RefundCheckoutRequest(
                refund_id=new_request_id(), checkout_id=checkout.checkout_id
            )
            if self._chance(0.5):
                refund.amount.CopyFrom(half)
            else:
                refund.lines.add(line_number=checkout.lines[0].line_number, quantity=1)
            await self._refund(self._client.till_refunds.RefundCheckout, refund)
        if self._chance(0.2):
            office = refunds_api.RefundPaymentRequest(
                refund_id=new_request_id(), payment_id=checkout.paid_by_payment_id, amount=gbp(1)
            )
            await self._allowed(self._ask(self._client.refunds.RefundPayment, office))
        if self._chance(0.2):
            goods = till_refunds_api.ReturnGoodsRequest(
                refund_id=new_request_id(),
                identity_id=self.name,
                lines=[LineItem(sku="CUP", title="Cup", quantity=1, unit_price_minor=20)],
            )
            await self._refund(self._client.till_refunds.ReturnGoods, goods)

    async def _refund(self, method: aio.UnaryUnaryMultiCallable[Req, TillRefund], request: Req) -> None:
        """Asks until the shopper has the money or a no."""
        try:
            refund = await self._ask(method, request)
            again = till_refunds_api.GetTillRefundRequest(refund_id=refund.refund_id)
            await poll(
                lambda: self._ask(self._client.till_refunds.GetTillRefund, again),
                lambda refund: refund.state != TillRefund.STATE_PENDING,
            )
        except Refusal:
            return

    async def _ask(self, method: aio.UnaryUnaryMultiCallable[Req, Res], request: Req) -> Res:
        return await ask(self._client, self._witness, self._rng, method, request)

    async def _allowed(self, act: Awaitable[object]) -> bool:
        """True unless it was refused for one of the expected reasons; `ask` has noted any other."""
        try:
            await act
        except Refusal:
            return False
        return True

    def _line(self, *, free: bool = False) -> till_api.NewLine:
        price = 0 if free else self._rng.randrange(1, 900)
        return till_api.NewLine(
            sku=f"A{price}",
            quantity=self._rng.randrange(1, 4),
            unit_price_minor=price,
            title="Goods",
            tax_code="STANDARD",
            tax_rate_ppm=200_000,
        )

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share
