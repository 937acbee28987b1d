"""Single things that a shopper does, at a till and on their own phone."""

import asyncio
from collections.abc import Sequence
from functools import partial

from tests.simulation.baskets import gbp, one_thing
from tests.simulation.customer import Customer
from tests.simulation.world import STORE, World
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkouts_api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as till_refunds_api
from tillmesh.api.type.v1 import line_item_pb2, payer_pb2
from tillmesh.rpc.line_messages import to_line_item

ANY_AMOUNT = 1_000_000


class Deeds(Customer):
    """A customer with a basket at the till."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.basket = one_thing(self.rng.randint(1, 500))
        self.checkout_id = ""
        self.named = True
        """False for an order without a name on it, for whoever shows a pay code."""
        self.says_yes = False
        """True if payments may wait for a yes."""
        self._shown = checkout_pb2.Checkout()

    async def raise_order(self) -> None:
        """Fills a basket at the till and makes it a pending transaction."""
        create = self.basket.request(self.new_id(), self.name if self.named else "")
        self._shown = await self.insist(self.till.CreateCheckout, create)
        self.checkout_id = self._shown.checkout_id
        submit = checkouts_api.SubmitCheckoutRequest(
            request_id=self.new_id(), checkout_id=self.checkout_id, basket_version=self._shown.basket_version
        )
        submitted = await self.insist(self.till.SubmitCheckout, submit, unless=["CHECKOUT_CANCELED"])
        if submitted:
            self._shown = submitted
        else:  # the basket expired meanwhile
            await self.raise_order()

    async def look(self) -> checkout_pb2.Checkout | None:
        """Reads the verdict."""
        request = checkouts_api.GetCheckoutRequest(checkout_id=self.checkout_id)
        answer: checkout_pb2.Checkout | None = await self.ask(self.till.GetCheckout, request)
        self._shown = answer or self._shown
        return answer

    async def wait_for_outcome(self) -> None:
        """Looks until a payment is no longer under way, for as long as one may take."""
        for _ in range(8):
            checkout = await self.look()
            if checkout and checkout.state != checkout_pb2.Checkout.STATE_PAYING:
                return
            await asyncio.sleep(2)

    async def pay_at_till(self, payer: "Deeds | None" = None) -> None:
        """Agrees to what the till shows; with a payer, by the code that their phone shows."""
        if (checkout := await self.look()) is None or not checkout.order_version:
            return
        request = checkouts_api.PayCheckoutRequest(
            payment_id=self.new_id(),
            checkout_id=self.checkout_id,
            order_version=checkout.order_version,
            amount=checkout.amount,
        )
        consents = self.world.consents
        if checkout.amount.minor_units == 0:
            consents.free_versions[self.checkout_id].add(checkout.order_version)
        if payer:
            request.pay_code = payer.show_code_for(request.payment_id)
        clicks = self.rng.choice((1, 1, 2))
        await self.at_once(*(self.ask(self.till.PayCheckout, request) for _ in range(clicks)))

    async def sell_at_once(self, payer: "Deeds | None" = None) -> None:
        """Sells the basket in one call, which is repeated until it is answered, and perhaps comes twice at once."""
        request = self.sale(payer)
        calls = [self.insist(self.till.Sell, request, unless=self.expected)]
        if self.rng.random() < 0.4:
            calls.append(self.after(partial(self.ask, self.till.Sell, request)))
        if self.rng.random() < 0.2:
            calls.append(self._order_elsewhere())
        await self.at_once(*calls)

    def sale(self, payer: "Deeds | None") -> checkouts_api.SellRequest:
        """A request to sell the basket, to whoever has the basket's name, or shows a code."""
        self.checkout_id, amount = self.new_id(), gbp(self.basket.amount_minor)
        basket = self.basket.request("", "")
        request = checkouts_api.SellRequest(
            checkout_id=self.checkout_id,
            payment_id=self.new_id(),
            identity_id=self.name if self.named else "",
            lines=basket.lines,
            prices_include_tax=basket.prices_include_tax,
            amount=amount,
            labels={"sale": self.checkout_id},
        )
        consents = self.world.consents
        if amount.minor_units == 0:
            consents.free_versions[self.checkout_id].add(1)
        elif payer:
            request.pay_code = payer.show_code_for(request.payment_id)
        return request

    async def _order_elsewhere(self) -> None:
        """Somebody else has the same number for an order of their own."""
        await self.pause(0.1)
        request = orders_api.CreateOrderRequest(
            request_id=self.new_id(),
            order_id=self.checkout_id,
            store_id=STORE,
            payer=payer_pb2.Payer(identity_id=self.name),
            currency_code="GBP",
            lines=map(to_line_item, self.basket.lines),
            prices_include_tax=self.basket.prices_include_tax,
        )
        await self.ask(self.orders.CreateOrder, request)

    async def void_sale(self) -> None:
        """Undoes the sale, and asks a few times what became of that."""
        request = checkouts_api.VoidCheckoutRequest(refund_id=self.new_id(), checkout_id=self.checkout_id)
        for _ in range(self.rng.randint(1, 3)):
            clicks = [self.ask(self.till.VoidCheckout, request) for _ in range(self.rng.choice((1, 1, 2)))]
            meanwhile = [self.pay_by_phone()] if self.rng.random() < 0.4 else []
            await self.at_once(*clicks, *meanwhile)
            await self.pause(5)

    async def pay_by_phone(self) -> None:
        """Agrees to what the phone shows, once or twice, with one payment id or two."""
        if (order := await self._pending_order()) is None or order.amount.minor_units == 0:
            return
        request = payments_api.CreatePaymentRequest(
            payment_id=self.new_id(),
            order_id=order.order_id,
            order_version=order.version,
            payer=order.payer,
            amount=order.amount,
        )
        other = payments_api.CreatePaymentRequest()
        other.CopyFrom(request)
        if self.rng.random() < 0.5:
            other.payment_id = self.new_id()
        clicks = (request, other)[: self.rng.choice((1, 2))]
        await self.at_once(*(self.ask(self.payments.CreatePayment, click) for click in clicks))

    async def confirm(self, pauses_s: Sequence[float] = (0.0, 0.0, 1.0, 7.5, 7.9)) -> None:
        """Says yes to what waits for it, perhaps at the last moment."""
        for payment in await self._waiting_for_me():
            await asyncio.sleep(self.rng.choice(pauses_s))
            await self._say_yes(payment)

    async def confirm_too_early(self) -> None:
        """Says yes to the newest payment, whether or not it waits for that already."""
        for payment in (await self.my_payments())[:1]:
            await self._say_yes(payment)

    async def take_for_nothing(self) -> None:
        """Another device of the store completes what comes to nothing, as it was a moment ago."""
        if (order := await self._pending_order()) is None:
            return
        await self.pause(3)
        if order.amount.minor_units == 0:
            self.world.consents.free_versions[order.order_id].add(order.version)
        request = orders_api.CompleteFreeOrderRequest(
            request_id=self.new_id(), order_id=order.order_id, version=order.version
        )
        await self.ask(self.orders.CompleteFreeOrder, request)

    async def cancel_at_till(self) -> None:
        """Gives up the payment under way."""
        request = checkouts_api.CancelCheckoutPaymentRequest(request_id=self.new_id(), checkout_id=self.checkout_id)
        await self.ask(self.till.CancelCheckoutPayment, request)

    async def resume(self) -> None:
        """Takes the checkout up anew."""
        request = checkouts_api.ResumeCheckoutRequest(request_id=self.new_id(), order_id=self.checkout_id)
        await self.ask(self.till.ResumeCheckout, request)

    async def park(self) -> None:
        """Has the checkout put aside."""
        request = checkouts_api.ParkCheckoutRequest(
            request_id=self.new_id(), checkout_id=self.checkout_id, basket_version=self._shown.basket_version
        )
        await self.ask(self.till.ParkCheckout, request)

    async def recall(self) -> None:
        """Comes back to what was put aside: two tills take it up at once, and one gets it."""
        requests = [
            checkouts_api.RecallCheckoutRequest(request_id=self.new_id(), checkout_id=self.checkout_id)
            for _ in range(2)
        ]
        await self.at_once(*(self.ask(self.till.RecallCheckout, request) for request in requests))

    async def leave(self) -> None:
        """Abandons the checkout, perhaps."""
        if self.rng.random() < 0.5:
            request = checkouts_api.CancelCheckoutRequest(request_id=self.new_id(), checkout_id=self.checkout_id)
            await self.ask(self.till.CancelCheckout, request)

    async def cancel_by_phone(self) -> None:
        """Gives up a payment at the payment server."""
        if payment := await self._last_payment():
            request = payments_api.CancelPaymentRequest(request_id=self.new_id(), payment_id=payment.payment_id)
            await self.ask(self.payments.CancelPayment, request)

    async def cancel_at_order(self, payment: payment_pb2.Payment | None = None) -> None:
        """Gives up a payment at the order service."""
        if payment := payment or await self._last_payment():
            request = orders_api.CancelOrderPaymentRequest(payment_id=payment.payment_id, order_id=payment.order_id)
            await self.ask(self.orders.CancelOrderPayment, request)

    async def change_at_till(self) -> None:
        """Adds something, or gets a discount. A swap with the same total is another order, too."""
        request_id, seen = self.new_id(), self._shown.basket_version
        if self.rng.random() < 0.2:
            adjust = checkouts_api.AdjustCheckoutRequest(
                request_id=request_id, checkout_id=self.checkout_id, basket_version=seen
            )
            adjust.adjustment.reason_code, adjust.adjustment.amount_minor = "STAFF", -1
            await self.ask(self.till.AdjustCheckout, adjust)
        else:
            add = checkouts_api.AddLinesRequest(
                request_id=request_id, checkout_id=self.checkout_id, basket_version=seen
            )
            add.lines.add(sku="b", quantity=1, unit_price_minor=self.rng.choice((0, 0, 5)))
            await self.ask(self.till.AddLines, add)

    async def change_on_web(self) -> None:
        """Somebody else replaces the order's lines."""
        if (order := await self._pending_order()) is None:
            return
        request = orders_api.ReplaceOrderLinesRequest(
            request_id=self.new_id(), order_id=order.order_id, version=order.version, lines=order.lines
        )
        more = self.rng.choice((0, 0, 7))
        request.lines.append(line_item_pb2.LineItem(sku="c", quantity=1, price_quantity=1, unit_price_minor=more))
        await self.at_once(*(self.ask(self.orders.ReplaceOrderLines, request) for _ in range(self.rng.choice((1, 2)))))

    async def give_back(self) -> None:
        """Refunds by two tills that race with each other, in part and in full."""
        requests = [
            till_refunds_api.RefundCheckoutRequest(refund_id=self.new_id(), checkout_id=self.checkout_id)
            for _ in range(2)
        ]
        if self.rng.random() < 0.7:
            requests[0].amount.CopyFrom(gbp(self.rng.randint(1, max(1, self.basket.amount_minor))))
        payment = await self._last_payment()
        calls = [self.ask(self.till_refunds.RefundCheckout, request) for request in requests]
        if payment:
            direct = refunds_api.RefundPaymentRequest(refund_id=self.new_id(), payment_id=payment.payment_id)
            calls += [self.ask(self.refunds.RefundPayment, direct) for _ in range(2)]
        await self.at_once(*calls)

    async def bring_back(self) -> None:
        """The same things are brought back at two tills at once."""
        at_till = till_refunds_api.RefundCheckoutRequest(refund_id=self.new_id(), checkout_id=self.checkout_id)
        elsewhere = refunds_api.RefundPaymentRequest(refund_id=self.new_id(), payment_id=self._shown.paid_by_payment_id)
        for position, line in enumerate(self._shown.lines, 1):
            quantity = self.rng.randint(1, line.item.quantity)
            if self.rng.random() < 0.7:
                at_till.lines.add(line_number=line.line_number, quantity=quantity)
            if self.rng.random() < 0.7:
                elsewhere.lines.add(line_number=position, quantity=quantity)
        calls = [self.ask(self.till_refunds.RefundCheckout, at_till)]
        if elsewhere.payment_id:
            calls.append(self.ask(self.refunds.RefundPayment, elsewhere))
        await self.at_once(*calls)

    async def return_goods(self) -> None:
        """Brings back what this till never sold."""
        request = till_refunds_api.ReturnGoodsRequest(
            refund_id=self.new_id(), identity_id=self.name, currency_code="GBP", prices_include_tax=True
        )
        request.lines.add(sku="old", quantity=1, unit_price_minor=self.rng.randint(1, 400))
        await self.ask(self.till_refunds.ReturnGoods, request)

    def show_code_for(self, payment_id: str) -> str:
        """The shopper's pay code, shown for one payment."""
        self.world.consents.codes[payment_id] = self.name
        return self.pay_code()

    async def no(self) -> None:
        """Does nothing about it."""

    async def _say_yes(self, payment: payment_pb2.Payment) -> None:
        confirm = payments_api.ConfirmPaymentRequest(
            request_id=self.new_id(), payment_id=payment.payment_id, store_id=STORE, amount=payment.amount
        )
        await self.at_once(*(self.ask(self.payments.ConfirmPayment, confirm) for _ in range(2)))

    async def _waiting_for_me(self) -> Sequence[payment_pb2.Payment]:
        """Payments that wait for a yes; looks again a few times if there is none."""
        for pause_s in (0.5, 2.0, 0.0):
            waiting = await self.my_payments(payment_pb2.Payment.STATE_AWAITING_PAYER)
            if waiting or not self.says_yes:
                return waiting
            await asyncio.sleep(pause_s)
        return ()

    async def my_payments(self, *states: "payment_pb2.Payment.State.ValueType") -> Sequence[payment_pb2.Payment]:
        """From this shopper's wallet, newest first."""
        request = payments_api.ListPaymentsRequest(identity_id=self.name, states=states)
        listed = await self.ask(self.payments.ListPayments, request)
        return listed.payments if listed else ()

    async def _pending_order(self) -> order_pb2.Order | None:
        """One of those in this shopper's name; an order in nobody's name is known by its number alone."""
        if not self.named:
            order: order_pb2.Order = await self.ask(
                self.orders.GetOrder, orders_api.GetOrderRequest(order_id=self.checkout_id)
            )
            return order
        states = [order_pb2.Order.STATE_OPEN, order_pb2.Order.STATE_LOCKED]
        request = orders_api.ListOrdersRequest(payer=payer_pb2.Payer(identity_id=self.name), states=states)
        listed = await self.ask(self.orders.ListOrders, request)
        return self.rng.choice(listed.orders) if listed and listed.orders else None

    async def _last_payment(self) -> payment_pb2.Payment | None:
        """Mostly the newest of this shopper's payments."""
        payments = await self.my_payments()
        return payments[0 if self.rng.random() < 0.7 else -1] if payments else None
