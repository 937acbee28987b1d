"""Checkouts: protobuf to model and back, nothing else."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from store_terminal.checkouts import messages, moves, operations, parking, queries
from store_terminal.checkouts.calls import checked
from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.messages import new_lines, to_event
from store_terminal.checkouts.model import Checkout, LineChange, NewCheckout, NewPayment
from store_terminal.checkouts.named_orders import named_order
from store_terminal.checkouts.sales import SaleCalls
from store_terminal.errors import Reason
from store_terminal.outbox import requests
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import NOTE_MAX, adjustment_of
from tillmesh.rpc.messages import state_names, to_payer
from tillmesh.rpc.streams import Streams
from tillmesh.runtime.ids import new_transaction_number
from tillmesh.runtime.money import MINOR_UNITS_MAX
from tillmesh.storage.feeds import EVERYTHING, Only
from tillmesh.storage.requests import answer_once
from tillmesh.storage.statements import Row


@dataclass(frozen=True)
class CheckoutServicer(SaleCalls):
    """tillmesh.api.terminal.v1.CheckoutService."""

    streams: Streams

    async def CreateCheckout(self, request: api.CreateCheckoutRequest) -> checkout_pb2.Checkout:
        """Opens a basket."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            fields.identity("identity_id", request.identity_id, optional=True)
            currency = fields.currency("currency_code", request.currency_code or self.till.currency)
            lines = new_lines(fields, request.lines, least=0)
            labels = fields.labels("labels", request.labels)
            origin = messages.origin(fields, self.till.terminal_id, request.lane, request.cashier_id)
            exchanged = fields.identifier("exchanged_refund_id", request.exchanged_refund_id, optional=True)
            messages.approval(fields, request.approval_id)
        taxed, payer = self._prices_include_tax(request), self._payer(request)
        checkout_id = new_transaction_number(self.rng)
        store_id = self.till.store_id
        new = NewCheckout(checkout_id, store_id, origin, payer, currency, lines, taxed, labels, exchanged)
        effect = partial(operations.create_checkout, new=new)
        return await self._change(request, request.request_id, checkout_id, effect)

    async def ResumeCheckout(self, request: api.ResumeCheckoutRequest) -> checkout_pb2.Checkout:
        """Takes up a pending transaction that was raised elsewhere."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            named = named_order(fields, "order_id", request.order_id)
        key = self._key(request, request.request_id)
        return self._message(await self.outbox.resume(key, named))

    async def GetCheckout(self, request: api.GetCheckoutRequest) -> checkout_pb2.Checkout:
        """Reads one checkout, with the verdict as its order says now."""
        checkout = await self._get(request.checkout_id)
        if checkout.state not in (CheckoutState.SUBMITTED, CheckoutState.PAYING):
            return self._message(checkout)
        if self.outbox.exchanges.orders.start(checkout) and checkout.unanswered:  # once a second, whoever asks
            self.outbox.poke(checkout.unanswered)
        if await self.outbox.exchanges.orders.refresh(checkout):
            checkout = await self._get(request.checkout_id)
        return self._message(checkout)

    async def ListCheckouts(self, request: api.ListCheckoutsRequest) -> api.ListCheckoutsResponse:
        """Lists checkouts, newest first."""
        states = [CheckoutState(name) for name in state_names(checkout_pb2.Checkout.State, request.states)]
        with Fields() as fields:
            payer = fields.payer_filter(request)
        filters = payer, states, request.lane, request.cashier_id, request.parked
        shown, token, cursor = await self._found_to_watch(
            self.streams, request, queries.list_checkouts, self._message, *filters
        )
        return api.ListCheckoutsResponse(checkouts=shown, next_page_token=token, cursor=cursor)

    async def ListPendingOrders(self, request: api.ListPendingOrdersRequest) -> api.ListPendingOrdersResponse:
        """Lists what a payer still has to pay in this store (CN109598490A)."""
        with Fields() as fields:
            payer = fields.payer("payer", request.payer)
        pending = order_api.ListOrdersRequest(
            store_id=self.till.store_id,
            payer=to_payer(payer),
            states=[order_pb2.Order.STATE_OPEN, order_pb2.Order.STATE_LOCKED],
            page_size=request.page_size,
            page_token=request.page_token,
        )
        answer = await self.outbox.peers.list_orders(pending)
        return api.ListPendingOrdersResponse(orders=answer.orders, next_page_token=answer.next_page_token)

    async def AddLines(self, request: api.AddLinesRequest) -> checkout_pb2.Checkout:
        """Adds lines."""
        with checked(request) as fields:
            lines = new_lines(fields, request.lines, least=1)
            messages.approval(fields, request.approval_id)
        return await self._change_lines(request, operations.add_lines, lines=lines)

    async def UpdateLine(self, request: api.UpdateLineRequest) -> checkout_pb2.Checkout:
        """Changes quantity, price or note of a line."""
        quantity = request.quantity if request.HasField("quantity") else None
        price = request.unit_price_minor if request.HasField("unit_price_minor") else None
        note = request.note if request.HasField("note") else None
        with checked(request) as fields:
            for name, value, minimum in (("quantity", quantity, 1), ("unit_price_minor", price, 0)):
                ok = value is None or minimum <= value <= MINOR_UNITS_MAX
                fields.require(ok, name, f"must be {minimum} to {MINOR_UNITS_MAX}, was {value}")
            changes = quantity is not None or price is not None or note is not None
            fields.require(changes, "quantity", "unit_price_minor or note must be set, or nothing changes")
            fields.text("note", request.note, length_max=NOTE_MAX)
            messages.override_reason(fields, "override_reason", request.override_reason)
            messages.approval(fields, request.approval_id)
        change = LineChange(request.line_number, quantity, price, request.override_reason, note)
        return await self._change_lines(request, operations.update_line, change=change)

    async def RemoveLine(self, request: api.RemoveLineRequest) -> checkout_pb2.Checkout:
        """Removes a line."""
        checked(request).check()
        return await self._change_lines(request, operations.remove_line, line_number=request.line_number)

    async def AdjustCheckout(self, request: api.AdjustCheckoutRequest) -> checkout_pb2.Checkout:
        """Adjusts the price of a line, or of the basket."""
        with checked(request) as fields:
            fields.require(request.line_number >= 0, "line_number", f"must not be below 0, was {request.line_number}")
            adjustment = adjustment_of(fields, "adjustment", request.adjustment)
            messages.approval(fields, request.approval_id)
        return await self._change_lines(
            request, operations.adjust_checkout, line_number=request.line_number, adjustment=adjustment
        )

    async def SubmitCheckout(self, request: api.SubmitCheckoutRequest) -> checkout_pb2.Checkout:
        """Raises the pending transaction."""
        checked(request).check()
        return await self._change_lines(request, operations.submit_checkout)

    async def CancelCheckout(self, request: api.CancelCheckoutRequest) -> checkout_pb2.Checkout:
        """Abandons a checkout."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
        effect = partial(operations.cancel_checkout, checkout_id=request.checkout_id)
        return await self._change(request, request.request_id, request.checkout_id, effect)

    async def PayCheckout(self, request: api.PayCheckoutRequest) -> checkout_pb2.Checkout:
        """Pays what the shopper was shown."""
        payment_id = request.payment_id
        with Fields() as fields:
            fields.identifier("payment_id", payment_id)
            fields.positive("order_version", request.order_version)
            amount = fields.money("amount", request.amount, minimum=0)
            code = messages.pay_code(fields, request.pay_code)
            origin = messages.origin(fields, self.till.terminal_id, request.lane, request.cashier_id)

        wait_ms = self.till.payment_wait_ms
        new = NewPayment(request.checkout_id, request.order_version, amount, origin, code, wait_ms)
        effect = partial(operations.pay_checkout, new=new, pay_codes=self.outbox.exchanges.pay_codes)
        return await self._change(request, payment_id, request.checkout_id, effect)

    async def EnterPin(self, request: api.EnterPinRequest) -> checkout_pb2.Checkout:
        """Passes on the PIN that the shopper keyed in."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            amount = fields.money("amount", request.amount)
            secret = fields.pin(request.pin)
        checkout = await self._get(request.checkout_id)
        if checkout.attempt is None:
            raise Reason.NO_PAYMENT(checkout_id=request.checkout_id)
        # The payment server alone keeps the request's id. It alone knows what became of the PIN, so a repeat has to
        # reach it anyway; and it compares the payment as well, so no repeat is a yes to a later one.
        consent = requests.confirm_payment(request.request_id, checkout, checkout.attempt, amount, secret)
        await self.outbox.confirm_payment(consent)
        settled = await self.outbox.settle(consent.payment_id)
        return self._message(settled.of_checkout())

    async def CancelCheckoutPayment(self, request: api.CancelCheckoutPaymentRequest) -> checkout_pb2.Checkout:
        """Cancels the payment under way."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
        key = self._key(request, request.request_id)

        checkout = await answer_once(
            self.database,
            key,
            request.checkout_id,
            moves.get_checkout,  # a later payment is not what a repeat is about
            moves.give_up_payment,
            checkout_id=request.checkout_id,
            reason="",
            now_ms=key.at_ms,
        )
        if checkout.attempt and checkout.attempt.canceling and checkout.state is CheckoutState.PAYING:
            await self.outbox.cancel_payment(checkout)
        return self._message(await self._get(request.checkout_id))

    async def Sell(self, request: api.SellRequest) -> checkout_pb2.Checkout:
        """Sells in one call."""
        return await self._sell(request)

    async def VoidCheckout(self, request: api.VoidCheckoutRequest) -> api.VoidCheckoutResponse:
        """Undoes a sale."""
        return await self._void(request)

    async def ParkCheckout(self, request: api.ParkCheckoutRequest) -> checkout_pb2.Checkout:
        """Puts a checkout aside."""
        with checked(request) as fields:
            for name in ("owner", "label"):
                fields.text(name, getattr(request, name), length_max=messages.PARKING_TEXT_MAX)
        what = {"owner": request.owner, "label": request.label, "parked_ms": self.till.parked_ms}
        return await self._change_lines(request, parking.park_checkout, **what)

    async def RecallCheckout(self, request: api.RecallCheckoutRequest) -> checkout_pb2.Checkout:
        """Takes a parked checkout up again."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
        effect = partial(parking.recall_checkout, checkout_id=request.checkout_id)
        return await self._change(request, request.request_id, request.checkout_id, effect)

    async def ListCheckoutEvents(self, request: api.ListCheckoutEventsRequest) -> api.ListCheckoutEventsResponse:
        """Lists a checkout's history."""
        shown, token = await self._listed(
            request, moves.list_events, lambda entry: (entry.number,), to_event, request.checkout_id
        )
        return api.ListCheckoutEventsResponse(events=shown, next_page_token=token)

    async def WatchCheckouts(self, request: api.WatchCheckoutsRequest) -> AsyncGenerator[api.WatchCheckoutsResponse]:
        """Sends what happens to checkouts."""
        of_lane = Only("lane", request.lane) if request.lane else EVERYTHING
        only = Only("checkout_id", request.checkout_id) if request.checkout_id else of_lane
        types = checkout_pb2.CheckoutEvent.Type
        async with aclosing(self._watched(self.streams, request, only, types, of_lane)) as answers:
            async for rows, cursor in answers:
                wanted = () if request.events_only else rows
                checkouts = await self.streams.read(queries.checkouts_of, wanted) if wanted else {}
                updates = [self._update(row, checkouts.get(row["checkout_id"])) for row in rows]
                yield api.WatchCheckoutsResponse(updates=updates, cursor=cursor)

    def _update(self, row: Row, checkout: Checkout | None) -> api.CheckoutUpdate:
        event = to_event(queries.HISTORY.entry(row))
        return api.CheckoutUpdate(event=event, checkout=self._message(checkout) if checkout else None)
