"""Plays the simulated payers: their phones, and others who touch their orders, over the servers' own calls."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from itertools import cycle
from uuid import NAMESPACE_URL, uuid5

import structlog

from tillmesh import paycode
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identity_api
from tillmesh.api.payment.v1 import payment_pb2, store_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1 import phone_service_pb2 as phone_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refund_api
from tillmesh.api.payment.v1 import store_service_pb2 as store_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.client.asking import Asker
from tillmesh.client.connections import Client
from tillmesh.client.failures import Failure
from tillmesh.client.requests import consent_to, payment_for
from tillmesh.local.mesh import StoreOptions
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret
from tillmesh.sandbox.faults import LOST_CODE
from tillmesh.sandbox.payers import BY_IDENTITY, LATER_S, PAYERS, Answer, Code, Deed, SimulatedPayer

FUNDS_MINOR = 10**11
CALL_S = 30.0
CODES_AT_A_TIME = 100
"""So many codes of a payer count side by side: each is of a phone of its own, and then the phones begin anew."""
WRONG_CODES_MAX = 5
"""After so many the payment server locks the codes of a phone."""
PREPARED_AT_A_TIME = 4
ANOTHER_CURRENCY = {"USD": "EUR"}
log = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
"""As the process configured structlog, but warnings alone: a sandbox may run in the process of somebody's tests."""


class People:
    """All simulated payers of a sandbox, in the currency of its store."""

    def __init__(self, client: Client, store: StoreOptions, clock: Clock) -> None:
        self._client = client
        self._asker = Asker(client, timeout_s=CALL_S, patience_s=CALL_S)
        self._store = store
        self._currency = store.currency
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._phone_numbers = cycle(range(CODES_AT_A_TIME))

    async def prepare(self) -> None:
        """Makes the payers with their money, and the store's record; what is there already stays."""
        store = store_pb2.Store(
            store_id=self._store.store_id, name="Sandbox", time_zone="UTC", currency_code=self._store.currency
        )
        request = store_api.CreateStoreRequest(store=store)
        await self._asker.ask(self._client.stores.CreateStore, request)
        places = asyncio.Semaphore(PREPARED_AT_A_TIME)

        async def prepare(payer: SimulatedPayer) -> None:
            async with places:
                await self._prepare(payer)

        await asyncio.gather(*(prepare(payer) for payer in PAYERS if payer.is_known))

    async def start(self) -> None:
        """Acts as the payers do, until it is stopped; returns once it hears of all that happens."""
        begun = [asyncio.Event(), asyncio.Event()]
        watches = self._watch_payments, self._watch_orders
        self._tasks.update(asyncio.create_task(watch(event)) for watch, event in zip(watches, begun, strict=True))
        async with asyncio.timeout(CALL_S):
            await asyncio.gather(*(event.wait() for event in begun))

    async def stop(self) -> None:
        """Leaves all that is begun."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    async def show_code(self, payer: SimulatedPayer) -> Secret:
        """The pay code that the payer's phone shows now."""
        match payer.code:
            case Code.LOST:
                return LOST_CODE
            case Code.WRONG:
                return paycode.make("9" * paycode.HANDLE_DIGITS, Secret(b"made up"), self._step())
            case Code.USED:
                code = await self._fresh_code(payer)
                await self._use(code)
                return code
            case Code.LOCKED:
                return await self._locked_code(payer)
            case Code.FRESH:
                return await self._fresh_code(payer)

    async def _prepare(self, payer: SimulatedPayer) -> None:
        client = self._client
        create = identity_api.CreateIdentityRequest(
            identity_id=payer.identity_id,
            display_name=payer.identity_id,
            currency_code=self._currency if payer.has_wallet else ANOTHER_CURRENCY.get(self._currency, "USD"),
        )
        if payer.answer is Answer.YES:
            create.confirmation_threshold.CopyFrom(Money(currency_code=create.currency_code, minor_units=FUNDS_MINOR))
        await self._asker.ask(client.identities.CreateIdentity, create)
        if payer.is_rich:
            deposit = account_api.CreateDepositRequest(
                deposit_id=_id("deposit", payer.identity_id),
                identity_id=payer.identity_id,
                amount=Money(currency_code=create.currency_code, minor_units=FUNDS_MINOR),
            )
            await self._asker.ask(client.accounts.CreateDeposit, deposit)
        if payer.pin:
            set_pin = identity_api.SetPinRequest(
                request_id=_id("pin", payer.identity_id), identity_id=payer.identity_id, pin=payer.pin
            )
            await self._asker.ask(client.identities.SetPin, set_pin)

    async def _locked_code(self, payer: SimulatedPayer) -> Secret:
        code = await self._fresh_code(payer)
        parts = paycode.parse(code)
        assert parts is not None
        for _ in range(WRONG_CODES_MAX):
            await self._use(paycode.make(parts.handle, Secret(b"made up"), self._step()))
        return code

    async def _fresh_code(self, payer: SimulatedPayer) -> Secret:
        """A code of a new key, so that none was shown before."""
        phone_id = f"phone-{next(self._phone_numbers)}-of-{payer.identity_id}"
        bind = phone_api.BindPhoneRequest(request_id=new_request_id(), identity_id=payer.identity_id, phone_id=phone_id)
        key = (await self._asker.ask(self._client.phones.BindPhone, bind)).pay_code_key
        return paycode.make(key.handle, Secret(key.key), self._step())

    async def _use(self, code: Secret) -> None:
        """Somebody else pays with the code first."""
        price = Money(currency_code=self._currency, minor_units=1)
        sell = checkout_api.SellRequest(
            checkout_id=new_request_id(),
            payment_id=new_request_id(),
            lines=[checkout_api.NewLine(sku="SANDBOX", quantity=1, unit_price_minor=price.minor_units)],
            amount=price,
            pay_code=code.value.decode(),
        )
        await self._asker.ask(self._client.till.Sell, sell)

    def _step(self) -> int:
        return paycode.step_at(self._clock.now_ms())

    async def _watch_payments(self, begun: asyncio.Event) -> None:
        request = payment_api.WatchPaymentsRequest(types=[_Payment.TYPE_LOCKED_FOR_PAYER, _Payment.TYPE_ORDER_PAID])
        async with aclosing(self._client.watch(self._client.payments.WatchPayments, request)) as answers:
            async for answer in answers:
                begun.set()
                for update in answer.updates:
                    if payer := BY_IDENTITY.get(update.payment.identity_id):
                        self._begin(_PAYMENT_DEEDS[update.event.type](self, payer, update.payment))

    async def _watch_orders(self, begun: asyncio.Event) -> None:
        request = order_api.WatchOrdersRequest(types=[order_pb2.OrderEvent.TYPE_CREATED])
        async with aclosing(self._client.watch(self._client.orders.WatchOrders, request)) as answers:
            async for answer in answers:
                begun.set()
                for update in answer.updates:
                    payer = BY_IDENTITY.get(update.order.payer.identity_id)
                    if payer and (act := _ORDER_DEEDS.get(payer.deed)):
                        self._begin(act(self, update.order))

    def _begin(self, deed: Awaitable[None]) -> None:
        task = asyncio.ensure_future(_done(deed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, payer: SimulatedPayer, payment: payment_pb2.Payment) -> None:
        if payer.answer in (Answer.YES_LATER, Answer.NO_LATER):
            await asyncio.sleep(LATER_S)
        if payer.answer in (Answer.YES, Answer.YES_LATER):
            await self._asker.ask(self._client.payments.ConfirmPayment, consent_to(payment))
        elif payer.answer is Answer.NO_LATER:
            cancel = payment_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment.payment_id)
            await self._asker.ask(self._client.payments.CancelPayment, cancel)

    async def _give_back(self, payer: SimulatedPayer, payment: payment_pb2.Payment) -> None:
        if payer.deed is Deed.REFUNDED:
            refund = refund_api.RefundPaymentRequest(
                refund_id=_id("refund", payment.payment_id), payment_id=payment.payment_id, amount=payment.amount
            )
            await self._asker.ask(self._client.refunds.RefundPayment, refund)

    async def _change(self, order: order_pb2.Order) -> None:
        lines = [*order.lines, order.lines[0]]
        replace = order_api.ReplaceOrderLinesRequest(
            request_id=new_request_id(), order_id=order.order_id, version=order.version, lines=lines
        )
        await self._asker.ask(self._client.orders.ReplaceOrderLines, replace)

    async def _cancel(self, order: order_pb2.Order) -> None:
        cancel = order_api.CancelOrderRequest(
            request_id=new_request_id(), order_id=order.order_id, version=order.version
        )
        await self._asker.ask(self._client.orders.CancelOrder, cancel)

    async def _pay(self, order: order_pb2.Order) -> None:
        await self._asker.ask(self._client.payments.CreatePayment, payment_for(order))


async def _done(deed: Awaitable[None]) -> None:
    """A payer whose deed fails goes on: a till may have been faster, or a server may be away on purpose."""
    try:
        await deed
    except (Failure, Refusal) as error:
        log.info("deed_failed", error=str(error))


def _id(*of: str) -> str:
    """The same for the same things, so that what is done twice has its effect once."""
    return str(uuid5(NAMESPACE_URL, "/".join(of)))


_Payment = payment_pb2.PaymentEvent
_PAYMENT_DEEDS = {_Payment.TYPE_LOCKED_FOR_PAYER: People._answer, _Payment.TYPE_ORDER_PAID: People._give_back}
_ORDER_DEEDS: Mapping[Deed | None, Callable[[People, order_pb2.Order], Awaitable[None]]] = {
    Deed.CHANGED: People._change,
    Deed.CANCELED: People._cancel,
    Deed.PAID_BY_PHONE: People._pay,
}
