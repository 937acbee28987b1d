"""Payments: protobuf to model and back, nothing else."""

from thirdparty_server.payers import messages as payer_messages
from thirdparty_server.payers import operations as payer_operations
from thirdparty_server.payers.model import PinTry
from thirdparty_server.payers.pay_codes import ShownCode
from thirdparty_server.payers.vault import Vault
from thirdparty_server.payments import messages, operations, payer_search, queries
from thirdparty_server.payments.lifecycle import PaymentState
from thirdparty_server.payments.model import HistoryEntry, Payment
from thirdparty_server.payments.orders import Orders
from thirdparty_server.schema import REQUESTS
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.auth.callers import Role, acting_role, require_payer, require_store
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.messages import state_names
from tillmesh.rpc.paging import Page
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.deadlines import time_to_answer_s
from tillmesh.runtime.driver import Driver
from tillmesh.runtime.errors import Refusal, Unanswered
from tillmesh.runtime.money import Money
from tillmesh.runtime.secret import Secret
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Transaction


class PaymentServicer:
    """tillmesh.api.payment.v1.PaymentService."""

    def __init__(
        self,
        database: Database,
        driver: Driver[Payment],
        orders: Orders,
        clock: Clock,
        vault: Vault,
        pay_code_lock_ms: int,
        identity_guesses_per_hour: int,
    ) -> None:
        self._database = database
        self._driver = driver
        self._orders = orders
        self._clock = clock
        self._vault = vault
        self._pay_code_lock_ms = pay_code_lock_ms
        self._identity_guesses_per_hour = identity_guesses_per_hour

    async def CreatePayment(self, request: payments_api.CreatePaymentRequest) -> payment_pb2.Payment:
        """Pays an order."""
        fields = Fields()
        payment_id = fields.identifier("payment_id", request.payment_id)
        fields.identifier("order_id", request.order_id)
        fields.positive("order_version", request.order_version)
        payer = fields.payer("payer", request.payer)
        amount = fields.money("amount", request.amount)
        code = payer_messages.pay_code(fields, request.pay_code)
        origin = messages.origin(fields, request)
        fields.check()
        if code:
            self._vault.require()  # not within the request: without the secret nothing is decided of it
        now_ms = self._clock.now_ms()
        key = IdempotencyKey.of(request, payment_id, now_ms)
        shown = ShownCode(code, self._vault, self._pay_code_lock_ms) if code else None

        def record(transaction: Transaction) -> Payment:
            if not REQUESTS.claim(transaction, key, payment_id):
                return operations.get_payment(transaction, payment_id)
            if shown is None:
                payer_search.require_guesses_left(transaction, payer, self._identity_guesses_per_hour, now_ms)
            found = payer_search.find_payer(
                transaction, payer=payer, order_id=request.order_id, shown=shown, now_ms=now_ms
            )
            return operations.create_payment(
                transaction,
                payment_id=payment_id,
                order_id=request.order_id,
                order_version=request.order_version,
                payer=payer,
                found=found,
                amount=amount,
                origin=origin,
                now_ms=now_ms,
            )

        payment = await REQUESTS.run(self._database, key, record)
        return await self._settled(payment)

    async def GetPayment(self, request: payments_api.GetPaymentRequest) -> payment_pb2.Payment:
        """Reads one payment."""
        return self._message(await self._get(request.payment_id))

    async def ListPayments(self, request: payments_api.ListPaymentsRequest) -> payments_api.ListPaymentsResponse:
        """Lists payments, newest first."""
        states = [PaymentState(name) for name in state_names(payment_pb2.Payment.State, request.states)]
        fields = Fields()
        hidden = acting_role() is Role.TERMINAL
        fields.require(not (hidden and request.identity_id), "identity_id", "is not for store terminals")
        payer = fields.payer_filter(request)
        fields.check()
        require_store(request.store_id or None)
        require_payer(request.identity_id or None)
        filters = ["ListPayments", request.order_id, payer, request.identity_id, request.store_id]
        page = Page[Payment](self._database.seal, request.page_size, request.page_token, [*filters, states])
        rows = await self._database.run(
            lambda transaction: queries.list_payments(
                transaction,
                order_id=request.order_id,
                payer=payer,
                identity_id=request.identity_id,
                store_id=request.store_id,
                states=states,
                before=page.after,
                at_most=page.at_most,
            )
        )
        shown, token = page.cut(rows, lambda payment: [payment.created_at_ms, payment.payment_id], self._message)
        return payments_api.ListPaymentsResponse(payments=shown, next_page_token=token)

    async def ConfirmPayment(self, request: payments_api.ConfirmPaymentRequest) -> payment_pb2.Payment:
        """The payer's yes."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("store_id", request.store_id)
        amount = fields.money("amount", request.amount)
        pin = payer_messages.pin(fields, request.pin) if request.pin else None
        fields.check()
        now_ms = self._clock.now_ms()
        key = IdempotencyKey.of(request, request.request_id, now_ms)
        by_pin = pin or acting_role() is Role.TERMINAL
        pin_try = await self._try_pin(request, key, amount, pin) if by_pin else None

        def confirm(transaction: Transaction) -> Payment:
            if not REQUESTS.claim(transaction, key, request.payment_id):
                return operations.get_payment(transaction, request.payment_id)
            if pin_try:
                payer_operations.settle_pin_try(transaction, pin_try)
            return operations.confirm_payment(
                transaction, payment_id=request.payment_id, store_id=request.store_id, amount=amount, now_ms=now_ms
            )

        payment = await REQUESTS.run(self._database, key, confirm)
        return await self._settled(payment)

    async def CancelPayment(self, request: payments_api.CancelPaymentRequest) -> payment_pb2.Payment:
        """Ends an attempt unless its order is paid."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.check()
        now_ms = self._clock.now_ms()
        key = IdempotencyKey.of(request, request.request_id, now_ms)

        def cancel(transaction: Transaction) -> Payment:
            REQUESTS.claim(transaction, key, request.payment_id)
            return operations.cancel_payment(transaction, payment_id=request.payment_id, now_ms=now_ms)

        payment = await REQUESTS.run(self._database, key, cancel)
        # A repeat may ask the order again: the payment is the same, and canceling twice is canceling once.
        if payment.state is PaymentState.AUTHORIZED:
            try:
                await self._orders.cancel(payment)
            except (Unanswered, Refusal):
                return self._message(payment)  # the order has not decided; the payment is driven on
            payment = await self._get(payment.payment_id)
        return await self._settled(payment)

    async def ListPaymentEvents(
        self, request: payments_api.ListPaymentEventsRequest
    ) -> payments_api.ListPaymentEventsResponse:
        """Lists a payment's history."""
        payment_id, filters = request.payment_id, ["ListPaymentEvents", request.payment_id]
        page = Page[HistoryEntry](self._database.seal, request.page_size, request.page_token, filters)

        def read(transaction: Transaction) -> tuple[Payment, list[HistoryEntry]]:
            after = page.after[0] if page.after else 0
            payment = operations.get_payment(transaction, payment_id)
            return payment, queries.list_history(transaction, payment_id, after, page.at_most)

        payment, rows = await self._database.run(read)
        shown, token = page.cut(
            rows, lambda entry: [entry.number], lambda entry: messages.to_event(entry, payment.by_code)
        )
        return payments_api.ListPaymentEventsResponse(events=shown, next_page_token=token)

    async def _try_pin(
        self, request: payments_api.ConfirmPaymentRequest, key: IdempotencyKey, amount: Money, pin: Secret | None
    ) -> PinTry | None:
        """Checks the PIN for a payment that waits for it; None if this request was answered before."""
        self._vault.require()
        now_ms = self._clock.now_ms()

        def begin(transaction: Transaction) -> PinTry | None:
            if REQUESTS.resource(transaction, key) is not None:
                return None
            payer_messages.require_pin(pin)
            payment = operations.waiting_payment(
                transaction, payment_id=request.payment_id, store_id=request.store_id, amount=amount, now_ms=now_ms
            )
            assert payment.identity_id is not None, "what nobody pays waits for nobody"
            return payer_operations.begin_pin_try(transaction, payment.identity_id)

        begun = await REQUESTS.run(self._database, key, begin)
        return await self._vault.checked(begun, pin) if begun and pin else None

    async def _get(self, payment_id: str) -> Payment:
        return await self._database.run(lambda transaction: operations.get_payment(transaction, payment_id))

    async def _settled(self, payment: Payment) -> payment_pb2.Payment:
        """Drives the payment on and answers with what it came to within the caller's deadline."""
        return self._message(await self._driver.settle(payment.payment_id, time_to_answer_s(), payment))

    def _message(self, payment: Payment) -> payment_pb2.Payment:
        return messages.to_payment(payment, self._clock.now_ms())
