"""Payments: protobuf to model and back, nothing else."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from thirdparty_server.errors import PAYMENT_CANCELED, WRONG_CODE
from thirdparty_server.payers import messages as payer_messages
from thirdparty_server.payers.model import WALLETS, PinTry
from thirdparty_server.payers.pay_codes import ShownCode
from thirdparty_server.payers.pin_tries import PinTries
from thirdparty_server.payers.vault import Vault
from thirdparty_server.payments import messages, operations, payer_search, queries
from thirdparty_server.payments.lifecycle import PaymentEvent, PaymentState
from thirdparty_server.payments.model import Consent, Payment
from thirdparty_server.payments.orders import Orders
from thirdparty_server.payments.resolver import PaymentResolver
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.auth.callers import Role, acting_role, caller, require_payer, require_store
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.limits import OWN, Places
from tillmesh.rpc.messages import state_names
from tillmesh.rpc.servicer import Servicer
from tillmesh.rpc.streams import Streams
from tillmesh.runtime.errors import FieldViolation, Refusal, Unanswered, invalid
from tillmesh.runtime.metrics import WRONG_PAY_CODES
from tillmesh.runtime.secret import Secret
from tillmesh.storage.batches import takes_turns
from tillmesh.storage.feeds import EVERYTHING, Only
from tillmesh.storage.requests import IdempotencyKey, find_resource, remember_refusal
from tillmesh.storage.statements import Row, Transaction

MAKING_MAX = 96
"""Payments that are made at a time while their callers wait: more would only all take longer, until all are late."""
MAKING_A_GUEST = 48
"""Of one store terminal or phone."""


@dataclass(frozen=True)
class PaymentServicer(Servicer):
    """tillmesh.api.payment.v1.PaymentService."""

    resolver: PaymentResolver
    orders: Orders
    vault: Vault
    pin_tries: PinTries
    pay_code_lock_ms: int
    identity_guesses_per_hour: int
    streams: Streams
    making: Places = field(default_factory=Places)

    async def CreatePayment(self, request: payments_api.CreatePaymentRequest) -> payment_pb2.Payment:
        """Pays an order."""
        with Fields() as fields:
            now_ms = self.clock.now_ms()
            asked = Payment(
                payment_id=fields.identifier("payment_id", request.payment_id),
                order_id=fields.identifier("order_id", request.order_id),
                order_version=fields.positive("order_version", request.order_version),
                payer=fields.payer("payer", request.payer),
                amount=fields.money("amount", request.amount),
                origin=messages.origin(fields, request),
                created_at_ms=now_ms,
                updated_at_ms=now_ms,
            )
            code = payer_messages.pay_code(fields, request.pay_code)
        if code:
            self.vault.require()  # not within the request: without the secret nothing is decided of it
        shown = ShownCode(code, self.vault, self.pay_code_lock_ms) if code else None
        who = caller.get()
        holder, at_most = (who.uri, MAKING_A_GUEST) if who and who.role not in OWN else ("", MAKING_MAX)
        with self.making.hold(holder, of_holder=at_most, of_all=MAKING_MAX):
            payment = await self._once(
                request, asked.payment_id, asked.payment_id, operations.get_payment, self._record, asked, shown
            )
            if code and payment.reason in WRONG_CODE:
                WRONG_PAY_CODES.labels(payment.reason).inc()
            return await self._settled(payment)

    async def GetPayment(self, request: payments_api.GetPaymentRequest) -> payment_pb2.Payment:
        """Reads one payment."""
        return self._message(await self.database.run(operations.get_payment, request.payment_id))

    async def ListPayments(self, request: payments_api.ListPaymentsRequest) -> payments_api.ListPaymentsResponse:
        """Lists payments, newest first."""
        states = [PaymentState(name) for name in state_names(payment_pb2.Payment.State, request.states)]
        with Fields() as fields:
            hidden = acting_role() is Role.TERMINAL
            fields.require(not (hidden and request.identity_id), "identity_id", "is not for store terminals")
            payer = fields.payer_filter(request)
        require_store(request.store_id or None)
        require_payer(request.identity_id or None)
        filters = request.order_id, request.identity_id, request.store_id, payer, states
        shown, token, cursor = await self._found_to_watch(
            self.streams, request, queries.list_payments, self._message, *filters
        )
        return payments_api.ListPaymentsResponse(payments=shown, next_page_token=token, cursor=cursor)

    async def ConfirmPayment(self, request: payments_api.ConfirmPaymentRequest) -> payment_pb2.Payment:
        """The payer's yes."""
        with Fields() as fields:
            request_id = fields.identifier("request_id", request.request_id)
            store_id = fields.identifier("store_id", request.store_id)
            amount = fields.money("amount", request.amount)
            pin = fields.pin(request.pin) if request.pin else None
        consent = Consent(request.payment_id, store_id, amount, self.clock.now_ms())
        by_pin = pin or acting_role() is Role.TERMINAL
        pin_try = await self._try_pin(self._key(request, request_id), consent, pin) if by_pin else None
        payment = await self._once(
            request,
            request_id,
            request.payment_id,
            operations.get_payment,
            operations.confirm_payment,
            consent,
            pin_try,
        )
        return await self._settled(payment)

    async def CancelPayment(self, request: payments_api.CancelPaymentRequest) -> payment_pb2.Payment:
        """Ends an attempt unless its order is paid."""
        with Fields() as fields:
            request_id = fields.identifier("request_id", request.request_id)
        payment_id = request.payment_id
        payment = await self._once(
            request,
            request_id,
            payment_id,
            operations.get_payment,
            operations.give_up,
            payment_id,
            PaymentEvent.CANCELED,
            PAYMENT_CANCELED,
            self.clock.now_ms(),
        )
        # A repeat may ask the order again: the payment is the same, and canceling twice is canceling once.
        if payment.state is PaymentState.AUTHORIZED:
            try:
                await self.orders.cancel(payment)
            except (Unanswered, Refusal):
                return self._message(payment)  # the order has not decided; the payment is driven on
            payment = await self.database.run(operations.get_payment, payment_id)
        return await self._settled(payment)

    async def VoidPayment(self, request: payments_api.VoidPaymentRequest) -> payment_pb2.Payment:
        """Ends a payment that its order does not know."""
        with Fields() as fields:
            request_id = fields.identifier("request_id", request.request_id)
        payment_id = request.payment_id
        payment = await self.database.run(operations.get_payment, payment_id)
        # Only of money that is held the order was asked before: asked for another, it would be paid without money.
        disowned = payment.state is PaymentState.AUTHORIZED and await self.orders.disowns(payment)
        voided = await self._once(
            request,
            request_id,
            payment_id,
            operations.get_payment,
            operations.void_by_hand,
            payment_id,
            disowned,
            self.clock.now_ms(),
        )
        return self._message(voided)

    async def ListPaymentEvents(
        self, request: payments_api.ListPaymentEventsRequest
    ) -> payments_api.ListPaymentEventsResponse:
        """Lists a payment's history."""
        payment = await self.database.run(operations.get_payment, request.payment_id)
        shown, token = await self._listed(
            request,
            queries.HISTORY.list,
            lambda entry: (entry.number,),
            lambda entry: messages.to_event(entry, payment.by_code),
            payment.payment_id,
        )
        return payments_api.ListPaymentEventsResponse(events=shown, next_page_token=token)

    async def WatchPayments(
        self, request: payments_api.WatchPaymentsRequest
    ) -> AsyncGenerator[payments_api.WatchPaymentsResponse]:
        """Sends what happens to payments."""
        with Fields() as fields:
            hidden = acting_role() is Role.TERMINAL
            fields.require(not (hidden and request.identity_id), "identity_id", "is not for store terminals")
        require_store(request.store_id or None)
        require_payer(request.identity_id or None)
        only = Only("identity_id", request.identity_id) if request.identity_id else _of_store(request.store_id)
        types = payment_pb2.PaymentEvent.Type
        async with aclosing(self._watched(self.streams, request, only, types, _of_store(request.store_id))) as answers:
            async for rows, cursor in answers:
                found = await self.streams.read(queries.payments_of, rows) if rows else {}
                updates = [self._update(row, found.get(row["payment_id"]), request) for row in rows]
                yield payments_api.WatchPaymentsResponse(updates=updates, cursor=cursor)

    def _update(
        self, row: Row, payment: Payment | None, request: payments_api.WatchPaymentsRequest
    ) -> payments_api.PaymentUpdate:
        event = messages.to_event(queries.HISTORY.entry(row), bool(payment and payment.by_code))
        shown = self._message(payment) if payment and not request.events_only else None
        return payments_api.PaymentUpdate(event=event, payment=shown)

    @takes_turns(WALLETS)
    def _record(self, transaction: Transaction, asked: Payment, shown: ShownCode | None) -> Payment:
        """Records a payment of whoever is found to pay it."""
        if shown is None:
            payer_search.require_guesses_left(transaction, asked, self.identity_guesses_per_hour)
        return operations.create_payment(transaction, asked, payer_search.find_payer(transaction, asked, shown))

    async def _try_pin(self, key: IdempotencyKey, consent: Consent, pin: Secret | None) -> PinTry | None:
        """Checks the PIN for a payment that waits for it; None if this request was answered before."""
        self.vault.require()

        def find_payer(transaction: Transaction) -> str | None:
            if find_resource(transaction, key) is not None:
                return None
            if pin is None:
                raise invalid([FieldViolation("pin", "must be the payer's, from a store terminal")])
            payment = operations.waiting_payment(transaction, consent)
            assert payment.identity_id is not None, "what nobody pays waits for nobody"
            return payment.identity_id

        identity_id = await remember_refusal(self.database, key, find_payer)
        if identity_id is None or pin is None:
            return None

        def note_wrong(transaction: Transaction, tries_left: int) -> Payment:
            return operations.reject_pin(transaction, consent.payment_id, tries_left, self.clock.now_ms())

        return await self.pin_tries.make_once(key, identity_id, pin, note_wrong)

    async def _settled(self, payment: Payment) -> payment_pb2.Payment:
        """Drives the payment on and answers with what it came to within the caller's deadline."""
        return self._message(await self.resolver.settle(payment))

    def _message(self, payment: Payment) -> payment_pb2.Payment:
        return messages.to_payment(payment, self.clock.now_ms())


def _of_store(store_id: str) -> Only:
    return Only("store_id", store_id) if store_id else EVERYTHING
