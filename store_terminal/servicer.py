"""Checkouts: protobuf to model and back, nothing else."""

import random
from collections.abc import Callable, Sequence

from store_terminal import journal_store, messages, operations, outward, store
from store_terminal.errors import Reason
from store_terminal.journal import Journal
from store_terminal.lifecycle import CheckoutState
from store_terminal.messages import checkout_message, event_message, new_lines
from store_terminal.model import Asked, Call, Checkout, HistoryEntry, Kind, Till, TillRefund
from store_terminal.receipt import receipt
from store_terminal.tables import REQUESTS
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.terminal.v1 import checkout_pb2, receipt_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.payer import identity, reference
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import adjustment_of
from tillmesh.rpc.messages import state_names, to_payer, to_timestamp
from tillmesh.rpc.paging import Page
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.ids import new_request_id, new_transaction_number
from tillmesh.runtime.money import MINOR_UNITS_MAX
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Transaction

_Versioned = (
    api.AddLinesRequest
    | api.UpdateLineRequest
    | api.RemoveLineRequest
    | api.AdjustCheckoutRequest
    | api.SubmitCheckoutRequest
)
_Change = _Versioned | api.CreateCheckoutRequest | api.PayCheckoutRequest | api.CancelCheckoutRequest


class CheckoutServicer:
    """tillmesh.api.terminal.v1.CheckoutService."""

    def __init__(self, database: Database, journal: Journal, clock: Clock, rng: random.Random, till: Till) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._rng = rng
        self._till = till

    async def CreateCheckout(self, request: api.CreateCheckoutRequest) -> checkout_pb2.Checkout:
        """Opens a basket."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identity("identity_id", request.identity_id, optional=True)
        currency = fields.currency("currency_code", request.currency_code or self._till.currency)
        lines = new_lines(fields, request.lines, least=0)
        labels = fields.labels("labels", request.labels)
        origin = messages.origin(fields, self._till.terminal_id, request.lane, request.cashier_id)
        messages.approval(fields, request.approval_id)
        fields.check()
        unset = not request.HasField("prices_include_tax")
        prices_include_tax = self._till.prices_include_tax if unset else request.prices_include_tax
        checkout_id = new_transaction_number(self._rng)
        named = identity(request.identity_id) if request.identity_id else None
        payer = named or reference(new_request_id(self._rng))  # which says nothing about anybody
        return await self._change(
            request,
            request.request_id,
            lambda transaction, call: operations.create_checkout(
                transaction,
                call,
                checkout_id=checkout_id,
                store_id=self._till.store_id,
                origin=origin,
                payer=payer,
                currency=currency,
                lines=lines,
                prices_include_tax=prices_include_tax,
                labels=labels,
            ),
        )

    async def ResumeCheckout(self, request: api.ResumeCheckoutRequest) -> checkout_pb2.Checkout:
        """Takes up a pending transaction that was raised elsewhere."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("order_id", request.order_id)
        fields.check()
        key = self._key(request, request.request_id)
        return self._message(await self._journal.resume(key, request.order_id))

    async def GetCheckout(self, request: api.GetCheckoutRequest) -> checkout_pb2.Checkout:
        """Reads one checkout, with the verdict as its order says now."""
        checkout = await self._get(request.checkout_id)
        if checkout.state not in (CheckoutState.SUBMITTED, CheckoutState.PAYING):
            return self._message(checkout)
        if self._journal.orders.start(checkout) and checkout.unanswered:  # once a second, whoever asks
            self._journal.poke(checkout.unanswered)
        if await self._journal.orders.refresh(checkout):
            checkout = await self._get(request.checkout_id)
        return self._message(checkout)

    async def ListCheckouts(self, request: api.ListCheckoutsRequest) -> api.ListCheckoutsResponse:
        """Lists checkouts, newest first."""
        states = [CheckoutState(name) for name in state_names(checkout_pb2.Checkout.State, request.states)]
        fields = Fields()
        payer = fields.payer_filter(request)
        fields.check()
        lane, cashier_id = request.lane, request.cashier_id
        filters = ["ListCheckouts", payer, states, lane, cashier_id]
        page = Page[Checkout](self._database.seal, request.page_size, request.page_token, filters)
        rows = await self._database.run(
            lambda transaction: store.list_checkouts(
                transaction,
                payer=payer,
                states=states,
                lane=lane,
                cashier_id=cashier_id,
                before=page.after,
                at_most=page.at_most,
            )
        )
        shown, token = page.cut(rows, lambda checkout: [checkout.created_at_ms, checkout.checkout_id], self._message)
        return api.ListCheckoutsResponse(checkouts=shown, next_page_token=token)

    async def ListPendingOrders(self, request: api.ListPendingOrdersRequest) -> api.ListPendingOrdersResponse:
        """Lists what a payer still has to pay in this store (CN109598490A)."""
        fields = Fields()
        payer = fields.payer("payer", request.payer)
        fields.check()
        pending = order_api.ListOrdersRequest(
            store_id=self._till.store_id,
            payer=to_payer(payer),
            states=[order_pb2.Order.STATE_OPEN, order_pb2.Order.STATE_LOCKED],
            page_size=request.page_size,
            page_token=request.page_token,
        )
        answer = await self._journal.list_orders(pending)
        return api.ListPendingOrdersResponse(orders=answer.orders, next_page_token=answer.next_page_token)

    async def AddLines(self, request: api.AddLinesRequest) -> checkout_pb2.Checkout:
        """Adds lines."""
        fields = _checked(request)
        lines = new_lines(fields, request.lines, least=1)
        messages.approval(fields, request.approval_id)
        fields.check()
        return await self._change(
            request,
            request.request_id,
            lambda transaction, call: operations.add_lines(
                transaction,
                call,
                checkout_id=request.checkout_id,
                basket_version=request.basket_version,
                lines=lines,
            ),
        )

    async def UpdateLine(self, request: api.UpdateLineRequest) -> checkout_pb2.Checkout:
        """Changes quantity or price of a line."""
        quantity = request.quantity if request.HasField("quantity") else None
        price = request.unit_price_minor if request.HasField("unit_price_minor") else None
        fields = _checked(request)
        for name, value, minimum in (("quantity", quantity, 1), ("unit_price_minor", price, 0)):
            ok = value is None or minimum <= value <= MINOR_UNITS_MAX
            fields.require(ok, name, f"must be {minimum} to {MINOR_UNITS_MAX}, was {value}")
        changes = quantity is not None or price is not None
        fields.require(changes, "quantity", "or unit_price_minor must be set, or nothing changes")
        messages.override_reason(fields, "override_reason", request.override_reason)
        messages.approval(fields, request.approval_id)
        fields.check()
        return await self._change(
            request,
            request.request_id,
            lambda transaction, call: operations.update_line(
                transaction,
                call,
                checkout_id=request.checkout_id,
                basket_version=request.basket_version,
                line_number=request.line_number,
                quantity=quantity,
                unit_price_minor=price,
                override_reason=request.override_reason,
            ),
        )

    async def RemoveLine(self, request: api.RemoveLineRequest) -> checkout_pb2.Checkout:
        """Removes a line."""
        _checked(request).check()
        return await self._change(
            request,
            request.request_id,
            lambda transaction, call: operations.remove_line(
                transaction,
                call,
                checkout_id=request.checkout_id,
                basket_version=request.basket_version,
                line_number=request.line_number,
            ),
        )

    async def AdjustCheckout(self, request: api.AdjustCheckoutRequest) -> checkout_pb2.Checkout:
        """Adjusts the price of a line, or of the basket."""
        fields = _checked(request)
        fields.require(request.line_number >= 0, "line_number", f"must not be below 0, was {request.line_number}")
        adjustment = adjustment_of(fields, "adjustment", request.adjustment)
        messages.approval(fields, request.approval_id)
        fields.check()
        return await self._change(
            request,
            request.request_id,
            lambda transaction, call: operations.adjust_checkout(
                transaction,
                call,
                checkout_id=request.checkout_id,
                basket_version=request.basket_version,
                line_number=request.line_number,
                adjustment=adjustment,
            ),
        )

    async def SubmitCheckout(self, request: api.SubmitCheckoutRequest) -> checkout_pb2.Checkout:
        """Raises the pending transaction."""
        _checked(request).check()
        return await self._change(
            request,
            request.request_id,
            lambda transaction, call: operations.submit_checkout(
                transaction, call, checkout_id=request.checkout_id, basket_version=request.basket_version
            ),
        )

    async def CancelCheckout(self, request: api.CancelCheckoutRequest) -> checkout_pb2.Checkout:
        """Abandons a checkout."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.check()
        return await self._change(
            request,
            request.request_id,
            lambda transaction, call: operations.cancel_checkout(transaction, call, checkout_id=request.checkout_id),
        )

    async def PayCheckout(self, request: api.PayCheckoutRequest) -> checkout_pb2.Checkout:
        """Pays what the shopper was shown."""
        payment_id = request.payment_id
        fields = Fields()
        fields.identifier("payment_id", payment_id)
        fields.positive("order_version", request.order_version)
        amount = fields.money("amount", request.amount, minimum=0)
        code = messages.pay_code(fields, request.pay_code)
        origin = messages.origin(fields, self._till.terminal_id, request.lane, request.cashier_id)
        fields.check()

        def pay(transaction: Transaction, call: Call) -> Asked:
            asked = operations.pay_checkout(
                transaction,
                call,
                checkout_id=request.checkout_id,
                order_version=request.order_version,
                amount=amount,
                origin=origin,
                pay_code_shown=code is not None,
                wait_ms=self._till.payment_wait_ms,
            )
            if code and asked.entry.pay_code_shown:  # before the row is there to be taken up
                self._journal.pay_codes.keep(payment_id, code)
            return asked

        return await self._change(request, payment_id, pay)

    async def EnterPin(self, request: api.EnterPinRequest) -> checkout_pb2.Checkout:
        """Passes on the PIN that the shopper keyed in."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        amount = fields.money("amount", request.amount)
        secret = messages.pin(fields, request.pin)
        fields.check()
        checkout = await self._get(request.checkout_id)
        if checkout.attempt is None:
            raise Reason.NO_PAYMENT(checkout_id=request.checkout_id)
        # The payment server alone keeps the request's id. It alone knows what became of the PIN, so a repeat has to
        # reach it anyway; and it compares the payment as well, so no repeat is a yes to a later one.
        consent = outward.confirm_payment(request.request_id, checkout, checkout.attempt, amount, secret)
        await self._journal.confirm_payment(consent)
        settled = await self._journal.settle(consent.payment_id)
        return self._message(settled.of_checkout())

    async def CancelCheckoutPayment(self, request: api.CancelCheckoutPaymentRequest) -> checkout_pb2.Checkout:
        """Cancels the payment under way."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.check()
        key = self._key(request, request.request_id)

        def cancel(transaction: Transaction) -> Checkout:
            if not REQUESTS.claim(transaction, key, request.checkout_id):  # a later payment is not what it was about
                return operations.get_checkout(transaction, request.checkout_id)
            return operations.give_up_payment(transaction, checkout_id=request.checkout_id, reason="", now_ms=key.at_ms)

        checkout = await REQUESTS.run(self._database, key, cancel)
        if checkout.attempt and checkout.attempt.canceling and checkout.state is CheckoutState.PAYING:
            await self._journal.cancel_payment(checkout)
        return self._message(await self._get(request.checkout_id))

    async def GetReceipt(self, request: api.GetReceiptRequest) -> receipt_pb2.Receipt:
        """The receipt to print for the shopper."""

        def read(transaction: Transaction) -> tuple[Checkout, Sequence[TillRefund]]:
            checkout = operations.get_checkout(transaction, request.checkout_id)
            if checkout.state is not CheckoutState.PAID:
                raise Reason.CHECKOUT_NOT_PAID(checkout_id=request.checkout_id)
            return checkout, journal_store.refunds_of(transaction, request.checkout_id)

        checkout, refunds = await self._database.run(read)
        return receipt_pb2.Receipt(
            checkout=self._message(checkout),
            paid_time=to_timestamp(checkout.paid_at_ms),
            text=receipt(checkout, refunds, self._till.terminal_id),
        )

    async def ListCheckoutEvents(self, request: api.ListCheckoutEventsRequest) -> api.ListCheckoutEventsResponse:
        """Lists a checkout's history."""
        filters = ["ListCheckoutEvents", request.checkout_id]
        page = Page[HistoryEntry](self._database.seal, request.page_size, request.page_token, filters)

        def read(transaction: Transaction) -> list[HistoryEntry]:
            operations.get_checkout(transaction, request.checkout_id)
            after = page.after[0] if page.after else 0
            return store.list_history(transaction, request.checkout_id, after, page.at_most)

        shown, token = page.cut(await self._database.run(read), lambda entry: [entry.number], event_message)
        return api.ListCheckoutEventsResponse(events=shown, next_page_token=token)

    async def _change(
        self, request: _Change, request_id: str, operation: Callable[[Transaction, Call], Checkout | Asked]
    ) -> checkout_pb2.Checkout:
        """Runs an operation once for its request id; waits for the answer if it asks another server."""
        key = self._key(request, request_id)
        call = Call(request_id, self._database.replica, key.at_ms)

        def run(transaction: Transaction) -> Checkout | Asked:
            def known(checkout_id: str) -> Checkout | Asked:
                return operations.find_asked(transaction, request_id) or operations.get_checkout(
                    transaction, checkout_id
                )

            return REQUESTS.once(
                transaction, key, effect=lambda: operation(transaction, call), resource=_checkout_id, read=known
            )

        outcome = await self._journal.write(key, run)
        if isinstance(outcome, Checkout):
            return self._message(outcome)
        settled = await self._journal.settle(request_id, outcome)
        if settled.pending and settled.entry.kind is not Kind.PAY:
            raise CommonReason.PEER_UNAVAILABLE(retry_after_ms=1_000)
        return self._message(settled.of_checkout())

    def _key(
        self, request: _Change | api.ResumeCheckoutRequest | api.CancelCheckoutPaymentRequest, request_id: str
    ) -> IdempotencyKey:
        return IdempotencyKey.of(request, request_id, self._clock.now_ms())

    async def _get(self, checkout_id: str) -> Checkout:
        return await self._database.run(lambda transaction: operations.get_checkout(transaction, checkout_id))

    def _message(self, checkout: Checkout) -> checkout_pb2.Checkout:
        reading = self._journal.orders.last(checkout.checkout_id)
        return checkout_message(checkout, reading, self._clock.now_ms())


def _checked(request: _Versioned) -> Fields:
    """The fields of a request that names the basket that it read, those two checked."""
    fields = Fields()
    fields.identifier("request_id", request.request_id)
    fields.positive("basket_version", request.basket_version)
    return fields


def _checkout_id(outcome: Checkout | Asked) -> str:
    return outcome.checkout_id if isinstance(outcome, Checkout) else outcome.entry.checkout_id
