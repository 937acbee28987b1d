"""Payments and refunds: protobuf to model and back, nothing else."""

from thirdparty_server import account_operations, messages, operations, payers, store
from thirdparty_server.errors import Reason
from thirdparty_server.lifecycle import FINAL, PaymentState
from thirdparty_server.model import HistoryEntry, Payment, PinTry, Refund
from thirdparty_server.payers import ShownCode
from thirdparty_server.resolver import Orders
from thirdparty_server.tables import REQUESTS
from thirdparty_server.vault import Vault
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.runtime.callers import Role, acting_role, require_payer, require_store
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.convert import state_names
from tillmesh.runtime.database import Database
from tillmesh.runtime.deadlines import remaining_s
from tillmesh.runtime.driver import Driver
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.fields import Fields
from tillmesh.runtime.money import Money
from tillmesh.runtime.paging import Page
from tillmesh.runtime.peers import Unanswered
from tillmesh.runtime.secret import Secret
from tillmesh.runtime.statements import Connection

NOTE_MAX = 256
SETTLE_S = 10.0
ANSWER_MARGIN_S = 0.25
"""Kept of the caller's deadline for the way of the answer."""


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
    ) -> None:
        self._database = database
        self._driver = driver
        self._orders = orders
        self._clock = clock
        self._vault = vault
        self._pay_code_lock_ms = pay_code_lock_ms

    async def CreatePayment(self, request: payments_api.CreatePaymentRequest) -> payments_api.Payment:
        """Pays an order."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("order_id", request.order_id)
        fields.positive("order_version", request.order_version)
        fields.identifier("payer_id", request.payer_id)
        amount = fields.money("amount", request.amount)
        code = messages.pay_code(fields, request.pay_code)
        fields.check()
        now_ms = self._clock.now_ms()
        shown = ShownCode(code, self._vault, self._pay_code_lock_ms) if code else None

        def record(connection: Connection) -> Payment:
            if not REQUESTS.first(connection, request):
                return operations.get_payment(connection, request.request_id)
            payer = payers.find_payer(
                connection, payer_id=request.payer_id, order_id=request.order_id, shown=shown, now_ms=now_ms
            )
            return operations.create_payment(
                connection,
                payment_id=request.request_id,
                order_id=request.order_id,
                order_version=request.order_version,
                payer_id=request.payer_id,
                payer=payer,
                amount=amount,
                now_ms=now_ms,
            )

        payment = await REQUESTS.run(self._database, request, record)
        return await self._settled(payment)

    async def GetPayment(self, request: payments_api.GetPaymentRequest) -> payments_api.Payment:
        """Reads one payment."""
        return messages.to_payment(await self._get(request.payment_id))

    async def ListPayments(self, request: payments_api.ListPaymentsRequest) -> payments_api.ListPaymentsResponse:
        """Lists payments, newest first."""
        states = [PaymentState(name) for name in state_names(payments_api.Payment.State, request.states)]
        fields = Fields()
        hidden = acting_role() is Role.TILL
        fields.require(not (hidden and request.identity_id), "identity_id", "is not for store terminals")
        fields.check()
        require_store(request.store_id or None)
        require_payer(request.identity_id or None)
        filters = [request.order_id, request.payer_id, request.identity_id, request.store_id, states]
        page = Page[Payment](request.page_size, request.page_token, filters, [int, str])
        rows = await self._database.run(
            lambda connection: store.list_payments(
                connection,
                order_id=request.order_id,
                payer_id=request.payer_id,
                identity_id=request.identity_id,
                store_id=request.store_id,
                states=states,
                before=page.after,
                at_most=page.at_most,
            )
        )
        shown, token = page.cut(rows, lambda payment: [payment.created_at_ms, payment.payment_id])
        return payments_api.ListPaymentsResponse(
            payments=[messages.to_payment(payment) for payment in shown], next_page_token=token
        )

    async def ConfirmPayment(self, request: payments_api.ConfirmPaymentRequest) -> payments_api.Payment:
        """The payer's yes."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("store_id", request.store_id)
        amount = fields.money("amount", request.amount)
        pin = messages.pin(fields, request.pin) if request.pin else None
        fields.check()
        now_ms = self._clock.now_ms()
        by_pin = pin or acting_role() is Role.TILL
        pin_try = await self._try_pin(request, amount, pin) if by_pin else None

        def confirm(connection: Connection) -> Payment:
            if REQUESTS.seen(connection, request):
                return operations.get_payment(connection, request.payment_id)
            if pin_try:
                payers.settle_pin_try(connection, pin_try)
            REQUESTS.first(connection, request)
            return operations.confirm_payment(
                connection, payment_id=request.payment_id, store_id=request.store_id, amount=amount, now_ms=now_ms
            )

        payment = await REQUESTS.run(self._database, request, confirm)
        return await self._settled(payment)

    async def CancelPayment(self, request: payments_api.CancelPaymentRequest) -> payments_api.Payment:
        """Ends an attempt unless its order is paid."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.check()
        now_ms = self._clock.now_ms()

        def cancel(connection: Connection) -> Payment:
            REQUESTS.first(connection, request)
            return operations.cancel_payment(connection, payment_id=request.payment_id, now_ms=now_ms)

        payment = await REQUESTS.run(self._database, request, cancel)
        if payment.state is PaymentState.AUTHORIZED:
            try:
                await self._orders.cancel(payment)
            except (Unanswered, Refusal):
                return messages.to_payment(payment)  # the order has not decided; the payment is driven on
            payment = await self._get(payment.payment_id)
        return await self._settled(payment)

    async def ListPaymentEvents(
        self, request: payments_api.ListPaymentEventsRequest
    ) -> payments_api.ListPaymentEventsResponse:
        """Lists a payment's history."""
        page = Page[HistoryEntry](request.page_size, request.page_token, [request.payment_id], [int])

        def read(connection: Connection) -> list[HistoryEntry]:
            operations.get_payment(connection, request.payment_id)
            after = page.after[0] if page.after else 0
            return store.list_history(connection, request.payment_id, after, page.at_most)

        shown, token = page.cut(await self._database.run(read), lambda entry: [entry.number])
        return payments_api.ListPaymentEventsResponse(
            events=[messages.to_event(entry) for entry in shown], next_page_token=token
        )

    async def _try_pin(
        self, request: payments_api.ConfirmPaymentRequest, amount: Money, pin: Secret | None
    ) -> PinTry | None:
        """Checks the PIN for a payment that waits for it; None if this request was answered before."""
        self._vault.require()
        now_ms = self._clock.now_ms()

        def begin(connection: Connection) -> PinTry | None:
            if REQUESTS.seen(connection, request):
                return None
            messages.require_pin(pin)
            payment = operations.waiting_payment(
                connection, payment_id=request.payment_id, store_id=request.store_id, amount=amount, now_ms=now_ms
            )
            assert payment.identity_id is not None, "what nobody pays waits for nobody"
            return payers.begin_pin_try(connection, payment.identity_id)

        begun = await REQUESTS.run(self._database, request, begin)
        return await self._vault.checked(begun, pin) if begun and pin else None

    async def _get(self, payment_id: str) -> Payment:
        return await self._database.run(lambda connection: operations.get_payment(connection, payment_id))

    async def _settled(self, payment: Payment) -> payments_api.Payment:
        """Drives the payment on and answers with what it came to within the caller's deadline."""
        within_s = remaining_s(SETTLE_S) - ANSWER_MARGIN_S
        return messages.to_payment(await self._driver.settle(payment.payment_id, within_s, payment))


class RefundServicer:
    """tillmesh.api.payment.v1.RefundService."""

    def __init__(
        self, database: Database, driver: Driver[Payment], clock: Clock, default_return_limit_minor: int
    ) -> None:
        self._database = database
        self._driver = driver
        self._clock = clock
        self._default_return_limit_minor = default_return_limit_minor

    async def CreateRefund(self, request: refunds_api.CreateRefundRequest) -> refunds_api.Refund:
        """Gives money back."""
        of_payment = bool(request.payment_id)
        everything = of_payment and not request.HasField("amount")
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("store_id", request.store_id, optional=of_payment)
        fields.identifier("payer_id", request.payer_id, optional=of_payment)
        amount = Money("", 0) if everything else fields.money("amount", request.amount)
        fields.text("note", request.note, length_max=NOTE_MAX)
        fields.check()
        now_ms = self._clock.now_ms()
        refund = Refund(
            refund_id=request.request_id,
            payment_id=request.payment_id,
            store_id=request.store_id,
            payer_id=request.payer_id,
            amount=amount,
            note=request.note,
            created_at_ms=now_ms,
        )

        def create(connection: Connection) -> Refund:
            if of_payment:
                return account_operations.create_refund(connection, refund=refund, everything=everything, now_ms=now_ms)
            limit_minor = self._default_return_limit_minor
            return account_operations.create_return(
                connection, refund=refund, default_limit_minor=limit_minor, now_ms=now_ms
            )

        await self._require_settled(request.payment_id)
        return await REQUESTS.run(
            self._database,
            request,
            lambda connection: REQUESTS.once(
                connection, request, refunds_api.Refund, lambda: messages.to_refund(create(connection))
            ),
        )

    async def GetRefund(self, request: refunds_api.GetRefundRequest) -> refunds_api.Refund:
        """Reads one refund."""
        refund = await self._database.run(
            lambda connection: account_operations.get_refund(connection, request.refund_id)
        )
        return messages.to_refund(refund)

    async def ListRefunds(self, request: refunds_api.ListRefundsRequest) -> refunds_api.ListRefundsResponse:
        """Lists refunds, newest first."""
        require_store(request.store_id or None)
        filters = [request.payment_id, request.payer_id, request.store_id]
        page = Page[Refund](request.page_size, request.page_token, filters, [int, str])
        rows = await self._database.run(
            lambda connection: store.list_refunds(
                connection,
                payment_id=request.payment_id,
                payer_id=request.payer_id,
                store_id=request.store_id,
                before=page.after,
                at_most=page.at_most,
            )
        )
        shown, token = page.cut(rows, lambda refund: [refund.created_at_ms, refund.refund_id])
        return refunds_api.ListRefundsResponse(
            refunds=[messages.to_refund(refund) for refund in shown], next_page_token=token
        )

    async def _require_settled(self, payment_id: str) -> None:
        """The order may be paid and only the capture be missing: what is refunded is final first."""
        payment = await self._find(payment_id)
        if payment is None or payment.state in FINAL:
            return
        require_store(payment.store_id)
        settled = await self._driver.settle(payment_id, remaining_s(SETTLE_S) - ANSWER_MARGIN_S, payment)
        if settled.state not in FINAL:
            raise Reason.PAYMENT_NOT_SETTLED(payment_id=payment_id, state=settled.state)

    async def _find(self, payment_id: str) -> Payment | None:
        return await self._database.run(lambda connection: store.find_payment(connection, payment_id))
