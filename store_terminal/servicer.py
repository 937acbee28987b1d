"""Checkouts: protobuf to model and back, nothing else."""

import random
from collections.abc import Callable, Sequence

from store_terminal import operations, outcomes, outward, store
from store_terminal.errors import Reason
from store_terminal.journal import Journal
from store_terminal.lifecycle import CheckoutState
from store_terminal.messages import Till, checkout_message, event_message, new_lines, pay_code, pin
from store_terminal.model import Asked, Checkout, HistoryEntry, Kind, TillRefund
from store_terminal.receipt import receipt
from store_terminal.tables import REQUESTS
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import terminal_service_pb2 as api
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.convert import state_names, to_timestamp
from tillmesh.runtime.database import Database
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.fields import Fields
from tillmesh.runtime.ids import new_request_id, new_transaction_number
from tillmesh.runtime.paging import Page
from tillmesh.runtime.requests import Request
from tillmesh.runtime.statements import Connection


class TerminalServicer:
    """tillmesh.api.terminal.v1.TerminalService."""

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
        fields.identifier("payer_id", request.payer_id, optional=True)
        currency = fields.currency("currency_code", request.currency_code or self._till.currency)
        lines = new_lines(fields, request.lines, least=0)
        fields.check()
        checkout_id = new_transaction_number(self._rng)
        payer_id = request.payer_id or new_request_id(self._rng)  # a reference that says nothing about anybody
        return await self._change(
            request,
            lambda connection, now_ms: operations.create_checkout(
                connection,
                checkout_id=checkout_id,
                store_id=self._till.store_id,
                payer_id=payer_id,
                currency=currency,
                lines=lines,
                now_ms=now_ms,
            ),
        )

    async def ResumeCheckout(self, request: api.ResumeCheckoutRequest) -> checkout_pb2.Checkout:
        """Takes up a pending transaction that was raised elsewhere."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("order_id", request.order_id)
        fields.check()
        order = await self._journal.read_order(request.order_id)
        now_ms = self._clock.now_ms()

        def resume(connection: Connection) -> Checkout:
            REQUESTS.first(connection, request)
            return outcomes.resume_checkout(connection, order=order, store_id=self._till.store_id, now_ms=now_ms)

        return self._message(await REQUESTS.run(self._database, request, resume))

    async def GetCheckout(self, request: api.GetCheckoutRequest) -> checkout_pb2.Checkout:
        """Reads one checkout; a payment under way is asked for at once."""
        checkout = await self._get(request.checkout_id)
        if checkout.state is CheckoutState.PAYING:
            self._journal.poke(checkout.unanswered)
        return self._message(checkout)

    async def ListCheckouts(self, request: api.ListCheckoutsRequest) -> api.ListCheckoutsResponse:
        """Lists checkouts, newest first."""
        states = [CheckoutState(name) for name in state_names(checkout_pb2.Checkout.State, request.states)]
        filters = [request.payer_id, states]
        page = Page[Checkout](request.page_size, request.page_token, filters, [int, str])
        rows = await self._database.run(
            lambda connection: store.list_checkouts(
                connection, payer_id=request.payer_id, states=states, before=page.after, at_most=page.at_most
            )
        )
        shown, token = page.cut(
            rows, lambda checkout: [checkout.created_at_ms, checkout.checkout_id], lambda checkout: len(checkout.lines)
        )
        return api.ListCheckoutsResponse(
            checkouts=[self._message(checkout) for checkout in shown], next_page_token=token
        )

    async def ListPendingTransactions(
        self, request: api.ListPendingTransactionsRequest
    ) -> api.ListPendingTransactionsResponse:
        """Lists what a payer still has to pay in this store (CN109598490A)."""
        fields = Fields()
        fields.identifier("payer_id", request.payer_id)
        fields.check()
        pending = order_api.ListOrdersRequest(
            store_id=self._till.store_id,
            payer_id=request.payer_id,
            states=[order_pb2.Order.STATE_OPEN, order_pb2.Order.STATE_LOCKED],
            page_size=request.page_size,
            page_token=request.page_token,
        )
        answer = await self._journal.list_orders(pending)
        return api.ListPendingTransactionsResponse(orders=answer.orders, next_page_token=answer.next_page_token)

    async def AddLines(self, request: api.AddLinesRequest) -> checkout_pb2.Checkout:
        """Adds lines."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        lines = new_lines(fields, request.lines, least=1)
        fields.check()
        return await self._change(
            request,
            lambda connection, now_ms: operations.add_lines(
                connection, request_id=request.request_id, checkout_id=request.checkout_id, lines=lines, now_ms=now_ms
            ),
        )

    async def UpdateLine(self, request: api.UpdateLineRequest) -> checkout_pb2.Checkout:
        """Changes quantity or price of a line."""
        quantity = request.quantity if request.HasField("quantity") else None
        price = request.unit_price_minor if request.HasField("unit_price_minor") else None
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.require(quantity != 0, "quantity", "must not be 0; remove the line instead")
        fields.in_range("quantity", quantity or 0)
        fields.in_range("unit_price_minor", price or 0)
        changes = quantity is not None or price is not None
        fields.require(changes, "quantity", "or unit_price_minor must be set, or nothing changes")
        fields.check()
        return await self._change(
            request,
            lambda connection, now_ms: operations.update_line(
                connection,
                request_id=request.request_id,
                checkout_id=request.checkout_id,
                line_number=request.line_number,
                quantity=quantity,
                unit_price_minor=price,
                now_ms=now_ms,
            ),
        )

    async def RemoveLine(self, request: api.RemoveLineRequest) -> checkout_pb2.Checkout:
        """Removes a line."""
        return await self._change_by_id(
            request,
            lambda connection, now_ms: operations.remove_line(
                connection,
                request_id=request.request_id,
                checkout_id=request.checkout_id,
                line_number=request.line_number,
                now_ms=now_ms,
            ),
        )

    async def SubmitCheckout(self, request: api.SubmitCheckoutRequest) -> checkout_pb2.Checkout:
        """Raises the pending transaction."""
        return await self._change_by_id(
            request,
            lambda connection, now_ms: operations.submit_checkout(
                connection, request_id=request.request_id, checkout_id=request.checkout_id, now_ms=now_ms
            ),
        )

    async def CancelCheckout(self, request: api.CancelCheckoutRequest) -> checkout_pb2.Checkout:
        """Abandons a checkout."""
        return await self._change_by_id(
            request,
            lambda connection, now_ms: operations.cancel_checkout(
                connection, request_id=request.request_id, checkout_id=request.checkout_id, now_ms=now_ms
            ),
        )

    async def PayCheckout(self, request: api.PayCheckoutRequest) -> checkout_pb2.Checkout:
        """Pays what the shopper was shown."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.positive("order_version", request.order_version)
        amount = fields.money("amount", request.amount)
        code = pay_code(fields, request.pay_code)
        fields.check()

        def pay(connection: Connection, now_ms: int) -> Asked:
            asked = operations.pay_checkout(
                connection,
                payment_id=request.request_id,
                checkout_id=request.checkout_id,
                order_version=request.order_version,
                amount=amount,
                wait_ms=self._till.payment_wait_ms,
                now_ms=now_ms,
            )
            if code:  # before the row is there to be taken up
                self._journal.keep_pay_code(request.request_id, code)
            return asked

        return await self._change(request, pay)

    async def EnterPin(self, request: api.EnterPinRequest) -> checkout_pb2.Checkout:
        """Passes on the PIN that the shopper keyed in."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        amount = fields.money("amount", request.amount)
        secret = pin(fields, request.pin)
        fields.check()
        checkout = await self._get(request.checkout_id)
        if checkout.attempt is None:
            raise Reason.NO_PAYMENT(checkout_id=request.checkout_id)
        consent = outward.confirm_payment(request.request_id, checkout, checkout.attempt, amount, secret)
        await self._journal.confirm_payment(consent)
        settled = await self._journal.settle(consent.payment_id)
        return self._message(settled.of_checkout())

    async def CancelCheckoutPayment(self, request: api.CancelCheckoutPaymentRequest) -> checkout_pb2.Checkout:
        """Cancels the payment under way."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.check()
        now_ms = self._clock.now_ms()

        def cancel(connection: Connection) -> Checkout:
            if not REQUESTS.first(connection, request):  # a later payment is not what it was about
                return operations.get_checkout(connection, request.checkout_id)
            return operations.give_up_payment(connection, checkout_id=request.checkout_id, reason="", now_ms=now_ms)

        checkout = await REQUESTS.run(self._database, request, cancel)
        if checkout.attempt and checkout.attempt.canceling and checkout.state is CheckoutState.PAYING:
            await self._journal.cancel_payment(checkout, checkout.attempt)
        return self._message(await self._get(request.checkout_id))

    async def GetReceipt(self, request: api.GetReceiptRequest) -> api.Receipt:
        """What to print for the shopper."""

        def read(connection: Connection) -> tuple[Checkout, Sequence[TillRefund]]:
            checkout = operations.get_checkout(connection, request.checkout_id)
            if checkout.state is not CheckoutState.PAID:
                raise Reason.CHECKOUT_NOT_PAID(checkout_id=request.checkout_id)
            return checkout, store.refunds_of(connection, request.checkout_id)

        checkout, refunds = await self._database.run(read)
        return api.Receipt(
            checkout=self._message(checkout),
            paid_time=to_timestamp(checkout.paid_at_ms),
            text=receipt(checkout, refunds, self._till.terminal_id),
        )

    async def ListCheckoutEvents(self, request: api.ListCheckoutEventsRequest) -> api.ListCheckoutEventsResponse:
        """Lists a checkout's history."""
        page = Page[HistoryEntry](request.page_size, request.page_token, [request.checkout_id], [int])

        def read(connection: Connection) -> list[HistoryEntry]:
            operations.get_checkout(connection, request.checkout_id)
            after = page.after[0] if page.after else 0
            return store.list_history(connection, request.checkout_id, after, page.at_most)

        shown, token = page.cut(await self._database.run(read), lambda entry: [entry.number])
        return api.ListCheckoutEventsResponse(events=[event_message(entry) for entry in shown], next_page_token=token)

    async def _change_by_id(
        self, request: Request, operation: Callable[[Connection, int], Checkout | Asked]
    ) -> checkout_pb2.Checkout:
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.check()
        return await self._change(request, operation)

    async def _change(
        self, request: Request, operation: Callable[[Connection, int], Checkout | Asked]
    ) -> checkout_pb2.Checkout:
        """Runs an operation once for its request id; waits for the answer if it asks another server."""
        now_ms = self._clock.now_ms()

        def run(connection: Connection) -> checkout_pb2.Checkout | Asked:
            asked: Asked | None = None

            def effect() -> checkout_pb2.Checkout:
                nonlocal asked
                outcome = operation(connection, now_ms)
                if isinstance(outcome, Checkout):
                    return checkout_message(outcome, now_ms)
                asked = outcome
                return checkout_pb2.Checkout()  # it is answered with how things stand, not with this

            answer = REQUESTS.once(connection, request, checkout_pb2.Checkout, effect)
            return asked or operations.find_asked(connection, request.request_id) or answer

        outcome = await REQUESTS.run(self._database, request, run)
        if not isinstance(outcome, Asked):
            return outcome
        settled = await self._journal.settle(request.request_id, outcome)
        if settled.pending and settled.entry.kind is not Kind.PAY:
            raise CommonReason.PEER_UNAVAILABLE(retry_after_ms=1_000)
        return self._message(settled.of_checkout())

    async def _get(self, checkout_id: str) -> Checkout:
        return await self._database.run(lambda connection: operations.get_checkout(connection, checkout_id))

    def _message(self, checkout: Checkout) -> checkout_pb2.Checkout:
        return checkout_message(checkout, self._clock.now_ms())
