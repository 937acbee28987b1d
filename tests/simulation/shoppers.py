"""What shoppers do: pay, cancel, confirm late, change and pay again, on a till and on their own phone."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from tests.simulation.invariants import Violation
from tests.simulation.network import ORDERS, PAYMENTS, TERMINAL
from tests.simulation.world import STORE, World
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceStub
from tillmesh.api.payment.v1.identity_service_pb2_grpc import IdentityServiceStub
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceStub
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import terminal_service_pb2 as terminal_api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as till_refunds_api
from tillmesh.api.terminal.v1.terminal_service_pb2_grpc import TerminalServiceStub
from tillmesh.api.terminal.v1.till_refund_service_pb2_grpc import TillRefundServiceStub
from tillmesh.api.type.v1 import money_pb2
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.peers import Peer, Unanswered

# A shopper who does something at the wrong moment is told so. Anything else that a server
# refuses, such as an order that exists already or a request id used twice, is its own mistake.
EXPECTED = {
    "CHECKOUT_BUSY", "PAYMENT_UNDER_WAY", "CHECKOUT_PAID", "CHECKOUT_NOT_PAID", "NO_PAYMENT", "VERSION_MISMATCH",
    "AMOUNT_MISMATCH", "ORDER_LOCKED", "ORDER_ALREADY_PAID", "PAYMENT_NOT_WAITING", "PAYMENT_NOT_CAPTURED",
    "REFUND_EXCEEDS_PAYMENT", "RETURN_LIMIT_EXCEEDED", "CHECKOUT_NOT_SUBMITTED", "CHECKOUT_CANCELED", "ORDER_CANCELED",
}  # fmt: skip
PATIENCE_S = 8.0
Deed = Callable[[], Coroutine[Any, Any, object]]


def gbp(minor: int) -> money_pb2.Money:
    """An amount of pence."""
    return money_pb2.Money(currency_code="GBP", minor_units=minor)


class Shopper:
    """One person with a wallet, a phone and a basket at the till."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.rng = random.Random(world.rng.getrandbits(64))
        self.checkout_id = ""
        self.price = self.rng.randint(1, 500)
        self.asked_to_confirm = False
        till, phone = f"hardware-{name}", f"phone-{name}"
        self.peer = Peer()
        self.till = TerminalServiceStub(world.channel(till, TERMINAL))
        self.till_refunds = TillRefundServiceStub(world.channel(till, TERMINAL))
        self.orders = OrderServiceStub(world.channel(phone, ORDERS))
        self.payments = PaymentServiceStub(world.channel(phone, PAYMENTS))
        self.refunds = RefundServiceStub(world.channel(phone, PAYMENTS))
        self.identities = IdentityServiceStub(world.channel(phone, PAYMENTS))
        self.accounts = AccountServiceStub(world.channel(phone, PAYMENTS))

    async def prepare(self) -> None:
        """Joins the platform, and in half of the worlds fills the basket while all is well."""
        price = self.price
        await self.join(funds=price * self.rng.choice((1, 1, 2, 10)), limit=self.rng.choice((None, None, 0, price)))
        if self.rng.random() < 0.5:
            await self.raise_order()

    async def shop(self) -> None:
        """Buys in one way or another."""
        if not self.checkout_id:
            await self.raise_order()
        await self.rng.choice((self._wander, self._race, self._race, self._lose_patience, self._lose_patience))()
        await self.look()

    async def join(self, funds: int, limit: int | None) -> None:
        """Opens a wallet with money in it."""
        create = identities_api.CreateIdentityRequest(
            request_id=self.new_id(), identity_id=self.name, display_name=self.name, currency_code="GBP"
        )
        self.asked_to_confirm = limit is not None
        if limit is not None:
            create.instant_limit.CopyFrom(gbp(limit))
        await self.insist(self.identities.CreateIdentity, create)
        deposit = accounts_api.CreateDepositRequest(request_id=self.new_id(), identity_id=self.name, amount=gbp(funds))
        await self.insist(self.accounts.CreateDeposit, deposit)

    async def raise_order(self) -> None:
        """Fills a basket at the till and makes it a pending transaction."""
        request = terminal_api.CreateCheckoutRequest(request_id=self.new_id(), payer_id=self.name, currency_code="GBP")
        request.lines.add(sku="a", quantity=1, unit_price_minor=self.price)
        checkout = await self.insist(self.till.CreateCheckout, request)
        self.checkout_id = checkout.checkout_id
        submit = terminal_api.SubmitCheckoutRequest(request_id=self.new_id(), checkout_id=self.checkout_id)
        await self.insist(self.till.SubmitCheckout, submit)

    async def _wander(self) -> None:
        """Whatever comes to mind, on both devices at once."""
        at_till = [
            self.pay_at_till, self.pay_at_till, self.pay_at_till, self._cancel_at_till, self._change_at_till,
            self._resume, self._leave, self._give_back, self._return_goods,
        ]  # fmt: skip
        by_phone = [
            self.confirm, self.confirm, self.confirm, self.pay_by_phone, self.pay_by_phone, self._cancel_by_phone,
            self._cancel_at_order, self._change_on_web,
        ]  # fmt: skip
        await self._at_once(self._some_of(at_till), self._some_of(by_phone))

    async def _some_of(self, deeds: Sequence[Deed]) -> None:
        for _ in range(self.rng.randint(3, 6)):
            await self.rng.choice(deeds)()
            await self._pause(12)

    async def _race(self) -> None:
        """Both devices pay the same order at about the same time, change it under the lock, confirm what waits."""
        ends = self._cancel_at_order, self._cancel_by_phone, self._cancel_at_till, self.look
        changes = self._change_on_web, self._change_at_till
        for _ in range(self.rng.randint(1, 3)):
            change = self.rng.choice(changes)
            await self._at_once(*map(self._after, (self.pay_at_till, self.pay_by_phone, self.confirm, change)))
            await self._at_once(self.confirm(), self._after(self.rng.choice(ends)))
        await self._give_back()

    async def _lose_patience(self) -> None:
        """Pays, ends it after a moment, changes the order perhaps, and pays again."""
        for _ in range(self.rng.randint(2, 4)):
            pay = self.rng.choice((self.pay_by_phone, self.pay_by_phone, self.pay_at_till))
            end = self.rng.choice((self._cancel_at_order, self._cancel_at_order, self._cancel_by_phone, self._no))
            paying = asyncio.ensure_future(pay())
            await self._pause(3)
            await self._at_once(self.confirm(), self._after(end))
            if self.rng.random() < 0.5:
                await self.rng.choice((self._change_on_web, self._change_at_till))()
            if self.rng.random() < 0.5:
                await self.rng.choice((self.pay_by_phone, self.pay_at_till))()
            await paying
        await self.rng.choice((self.confirm, self._give_back))()

    async def pay_at_till(self) -> None:
        """Agrees to what the till shows."""
        if (checkout := await self.look()) is None or checkout.amount.minor_units == 0:
            return  # what comes to nothing is not to be paid
        request = terminal_api.PayCheckoutRequest(
            request_id=self.new_id(),
            checkout_id=self.checkout_id,
            order_version=checkout.order_version,
            amount=checkout.amount,
        )
        clicks = self.rng.choice((1, 1, 2))
        await self._at_once(*(self.ask(self.till.PayCheckout, request) for _ in range(clicks)))

    async def pay_by_phone(self) -> None:
        """Agrees to what the phone shows, once or twice, with one payment id or two."""
        if (order := await self._pending_order()) is None or order.amount.minor_units == 0:
            return
        request = payments_api.CreatePaymentRequest(
            request_id=self.new_id(),
            order_id=order.order_id,
            order_version=order.version,
            payer_id=self.name,
            amount=order.amount,
        )
        other = payments_api.CreatePaymentRequest()
        other.CopyFrom(request)
        if self.rng.random() < 0.5:
            other.request_id = self.new_id()
        clicks = (request, other)[: self.rng.choice((1, 2))]
        await self._at_once(*(self.ask(self.payments.CreatePayment, click) for click in clicks))

    async def confirm(self, pauses_s: Sequence[float] = (0.0, 0.0, 1.0, 7.5, 7.9)) -> None:
        """Says yes to what waits for it, perhaps at the last moment."""
        for payment in await self._waiting_for_me():
            await asyncio.sleep(self.rng.choice(pauses_s))
            confirm = payments_api.ConfirmPaymentRequest(
                request_id=self.new_id(), payment_id=payment.payment_id, store_id=STORE, amount=payment.amount
            )
            await self._at_once(*(self.ask(self.payments.ConfirmPayment, confirm) for _ in range(2)))

    async def look(self) -> checkout_pb2.Checkout | None:
        """Reads the verdict."""
        answer: checkout_pb2.Checkout | None = await self.ask(
            self.till.GetCheckout, terminal_api.GetCheckoutRequest(checkout_id=self.checkout_id)
        )
        return answer

    async def _cancel_at_till(self) -> None:
        request = terminal_api.CancelCheckoutPaymentRequest(request_id=self.new_id(), checkout_id=self.checkout_id)
        await self.ask(self.till.CancelCheckoutPayment, request)

    async def _resume(self) -> None:
        request = terminal_api.ResumeCheckoutRequest(request_id=self.new_id(), order_id=self.checkout_id)
        await self.ask(self.till.ResumeCheckout, request)

    async def _leave(self) -> None:
        if self.rng.random() < 0.5:
            request = terminal_api.CancelCheckoutRequest(request_id=self.new_id(), checkout_id=self.checkout_id)
            await self.ask(self.till.CancelCheckout, request)

    async def _cancel_by_phone(self) -> None:
        if payment_id := await self._last_payment():
            request = payments_api.CancelPaymentRequest(request_id=self.new_id(), payment_id=payment_id)
            await self.ask(self.payments.CancelPayment, request)

    async def _cancel_at_order(self) -> None:
        if payment_id := await self._last_payment():
            request = orders_api.CancelOrderPaymentRequest(payment_id=payment_id, order_id=self.checkout_id)
            await self.ask(self.orders.CancelOrderPayment, request)

    async def _change_at_till(self) -> None:
        request = terminal_api.AddLinesRequest(request_id=self.new_id(), checkout_id=self.checkout_id)
        # A swap with the same total is another order, too.
        request.lines.add(sku="b", quantity=1, unit_price_minor=self.rng.choice((0, 0, 5, -1)))
        await self.ask(self.till.AddLines, request)

    async def _change_on_web(self) -> None:
        if (order := await self._pending_order()) is None:
            return
        request = orders_api.UpdateOrderRequest(
            request_id=self.new_id(), order_id=order.order_id, version=order.version, lines=order.lines
        )
        request.lines.add(sku="c", quantity=1, unit_price_minor=self.rng.choice((0, 0, 7)))
        await self._at_once(*(self.ask(self.orders.UpdateOrder, request) for _ in range(self.rng.choice((1, 2)))))

    async def _give_back(self) -> None:
        """Refunds that race with each other, in part and in full."""
        requests = [
            till_refunds_api.RefundCheckoutRequest(request_id=self.new_id(), checkout_id=self.checkout_id)
            for _ in range(2)
        ]
        if self.rng.random() < 0.7:
            requests[0].amount.CopyFrom(gbp(self.rng.randint(1, self.price)))
        calls = [self.ask(self.till_refunds.RefundCheckout, request) for request in requests]
        if payment_id := await self._last_payment():
            direct = refunds_api.CreateRefundRequest(request_id=self.new_id(), payment_id=payment_id)
            calls += [self.ask(self.refunds.CreateRefund, direct) for _ in range(2)]
        await self._at_once(*calls)

    async def _return_goods(self) -> None:
        request = till_refunds_api.ReturnGoodsRequest(request_id=self.new_id(), payer_id=self.name, currency_code="GBP")
        request.lines.add(sku="old", quantity=1, unit_price_minor=self.rng.randint(1, 400))
        await self.ask(self.till_refunds.ReturnGoods, request)

    async def _waiting_for_me(self) -> Sequence[payments_api.Payment]:
        """Payments that wait for a yes; looks again a few times if there is none."""
        states = [payments_api.Payment.STATE_AWAITING_PAYER]
        for pause_s in (0.5, 2.0, 0.0):
            request = payments_api.ListPaymentsRequest(payer_id=self.name, states=states)
            listed = await self.ask(self.payments.ListPayments, request)
            if not self.asked_to_confirm or (listed and listed.payments):
                return listed.payments if listed else ()
            await asyncio.sleep(pause_s)
        return ()

    async def _no(self) -> None:
        """Does nothing about it."""

    async def _pending_order(self) -> order_pb2.Order | None:
        states = [order_pb2.Order.STATE_OPEN, order_pb2.Order.STATE_LOCKED]
        listed = await self.ask(self.orders.ListOrders, orders_api.ListOrdersRequest(payer_id=self.name, states=states))
        return self.rng.choice(listed.orders) if listed and listed.orders else None

    async def _last_payment(self) -> str:
        """Mostly the newest of this shopper's payments."""
        listed = await self.ask(self.payments.ListPayments, payments_api.ListPaymentsRequest(payer_id=self.name))
        payments = listed.payments if listed else []
        return payments[0 if self.rng.random() < 0.7 else -1].payment_id if payments else ""

    async def _pause(self, at_most_s: float) -> None:
        await asyncio.sleep(self.rng.choice((0.0, 0.02, 0.1, 1.0, self.rng.uniform(0, at_most_s))))

    async def _after(self, deed: Deed) -> None:
        await self._pause(4)
        await deed()

    async def ask(self, method: Any, request: Any) -> Any:
        """The answer, or None where there is none or where the moment was wrong."""
        try:
            answer = await self.peer.call(method, request, timeout_s=PATIENCE_S)
        except Unanswered:
            return None
        except Refusal as refusal:
            if refusal.reason not in EXPECTED:
                raise Violation(f"invariant 6: unexpected refusal of {type(request).__name__}: {refusal}") from refusal
            self.world.answers.note_refusal(request, refusal)
            return None
        self.world.answers.note(request, answer)
        return answer

    async def insist(self, method: Any, request: Any) -> Any:
        """The answer, however long it takes: the same request again and again."""
        while True:
            try:
                answer = await self.peer.call(method, request, timeout_s=PATIENCE_S)
            except Unanswered:
                await asyncio.sleep(self.rng.uniform(0.1, 3))
            except Refusal as refusal:
                raise Violation(f"invariant 6: unexpected refusal of {type(request).__name__}: {refusal}") from refusal
            else:
                self.world.answers.note(request, answer)
                return answer

    async def _at_once(self, *calls: Awaitable[Any]) -> None:
        await asyncio.gather(*calls)

    def new_id(self) -> str:
        """A request id."""
        return new_request_id(self.rng)


async def two_shoppers(world: World) -> list[Coroutine[Any, Any, None]]:
    """The story of most seeds."""
    shoppers = [Shopper(world, name) for name in ("ada", "bob")]
    await asyncio.gather(*(shopper.prepare() for shopper in shoppers))
    return [shopper.shop() for shopper in shoppers]
