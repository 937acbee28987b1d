"""Refunds: protobuf to model and back, nothing else."""

from thirdparty_server.errors import Reason
from thirdparty_server.once import run_once
from thirdparty_server.payers import messages as payer_messages
from thirdparty_server.payers import pay_codes
from thirdparty_server.payers.pay_codes import ShownCode
from thirdparty_server.payers.vault import Vault
from thirdparty_server.payments import messages as payment_messages
from thirdparty_server.payments import queries as payment_queries
from thirdparty_server.payments.lifecycle import FINAL, PaymentState
from thirdparty_server.payments.model import Payment
from thirdparty_server.payments.orders import Orders
from thirdparty_server.payments.refunds import messages, operations, queries
from thirdparty_server.payments.refunds.model import Everything, Refund, Wanted
from thirdparty_server.payments.refunds.operations import NewRefund
from thirdparty_server.schema import REQUESTS
from tillmesh.api.payment.v1 import refund_pb2
from tillmesh.api.payment.v1 import refund_service_pb2 as api
from tillmesh.auth.callers import Role, acting_role, require_store
from tillmesh.lines import LINES_MAX
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.paging import Page
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.deadlines import time_to_answer_s
from tillmesh.runtime.driver import Driver
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money
from tillmesh.runtime.secret import Secret
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Row, Transaction

NOTE_MAX = 256
APPROVAL_MAX = 64


class RefundServicer:
    """tillmesh.api.payment.v1.RefundService."""

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

    async def RefundPayment(self, request: api.RefundPaymentRequest) -> refund_pb2.Refund:
        """Gives back money of a payment."""
        fields = Fields()
        payment_id = fields.identifier("payment_id", request.payment_id)
        wanted = _wanted(fields, request)
        new = self._new(fields, request)
        key = IdempotencyKey.of(request, new.refund_id, new.now_ms)
        known, payment = await self._database.run(lambda transaction: _find(transaction, key, payment_id))
        if known:
            return messages.to_refund(known)
        settled = await self._settled(payment) if payment else None
        paid = None
        if settled and settled.state is PaymentState.CAPTURED and not isinstance(wanted, Money):
            paid = await self._orders.paid_version(settled)
        refund = await run_once(
            self._database,
            key,
            new.refund_id,
            effect=lambda transaction: operations.refund_payment(
                transaction, new=new, payment_id=payment_id, wanted=wanted, paid=paid
            ),
            read=lambda transaction: operations.get_refund(transaction, new.refund_id),
        )
        return messages.to_refund(refund)

    async def CreateUnreferencedRefund(self, request: api.CreateUnreferencedRefundRequest) -> refund_pb2.Refund:
        """Gives back money without a sale."""
        fields = Fields()
        store_id = fields.identifier("store_id", request.store_id)
        amount = fields.money("amount", request.amount)
        code = payer_messages.pay_code(fields, request.pay_code)
        may_lack = acting_role() in (None, Role.TERMINAL)  # it may have lost the code: that is refused for good
        fields.require(bool(code or request.identity_id or may_lack), "payee", "must be an identity_id or a pay_code")
        if request.identity_id:
            fields.identity("identity_id", request.identity_id)
        new = self._new(fields, request)
        key = IdempotencyKey.of(request, new.refund_id, new.now_ms)
        payee = await self._shown(key, code) if code else request.identity_id
        refund = await run_once(
            self._database,
            key,
            new.refund_id,
            effect=lambda transaction: operations.create_unreferenced_refund(
                transaction, new=new, store_id=store_id, payee=payee, amount=amount
            ),
            read=lambda transaction: operations.get_refund(transaction, new.refund_id),
        )
        return messages.to_refund(refund)

    async def GetRefund(self, request: api.GetRefundRequest) -> refund_pb2.Refund:
        """Reads one refund."""
        refund = await self._database.run(lambda transaction: operations.get_refund(transaction, request.refund_id))
        return messages.to_refund(refund)

    async def ListRefunds(self, request: api.ListRefundsRequest) -> api.ListRefundsResponse:
        """Lists refunds, newest first."""
        fields = Fields()
        payer = fields.payer_filter(request)
        fields.check()
        require_store(request.store_id or None)
        # Or a till would find out, name by name, who showed it a code.
        named_only = payer is not None and acting_role() is Role.TERMINAL
        filters = ["ListRefunds", request.payment_id, payer, request.store_id]
        page = Page[Row](self._database.seal, request.page_size, request.page_token, filters)

        def read(transaction: Transaction) -> tuple[list[refund_pb2.Refund], str]:
            rows = queries.list_refunds(
                transaction,
                payment_id=request.payment_id,
                payer=payer,
                named_only=named_only,
                store_id=request.store_id,
                before=page.after,
                at_most=page.at_most,
            )
            # Lines are read refund by refund: no more of them than fit the page.
            return page.cut(
                rows,
                lambda row: [row["created_at_ms"], row["refund_id"]],
                lambda row: messages.to_refund(queries.refund_of(transaction, row)),
            )

        shown, token = await self._database.run(read)
        return api.ListRefundsResponse(refunds=shown, next_page_token=token)

    def _new(
        self, fields: Fields, request: api.RefundPaymentRequest | api.CreateUnreferencedRefundRequest
    ) -> NewRefund:
        """The fields that both kinds of refunds have. Raises the violations of all fields."""
        refund_id = fields.identifier("refund_id", request.refund_id)
        note = fields.text("note", request.note, length_max=NOTE_MAX)
        fields.text("approval_id", request.approval_id, length_max=APPROVAL_MAX)
        origin = payment_messages.origin(fields, request)
        fields.check()
        return NewRefund(refund_id, note, origin, self._clock.now_ms())

    async def _shown(self, key: IdempotencyKey, code: Secret) -> ShownCode:
        """A pay code to redeem; counts a wrong one, once a request, in a transaction that no refusal undoes."""
        shown = ShownCode(code, self._vault, self._pay_code_lock_ms)
        self._vault.require()

        def count(transaction: Transaction) -> None:
            if REQUESTS.resource(transaction, key) is None:
                pay_codes.count_wrong_code(transaction, shown, key.at_ms)

        await self._database.run(count)
        return shown

    async def _settled(self, payment: Payment) -> Payment:
        """The payment in a final state: its order may be paid although the capture is still missing."""
        require_store(payment.store_id)
        if payment.state in FINAL:
            return payment
        settled = await self._driver.settle(payment.payment_id, time_to_answer_s(), payment)
        if settled.state not in FINAL:
            raise Reason.PAYMENT_NOT_SETTLED(payment_id=payment.payment_id, state=settled.state)
        return settled


def _find(transaction: Transaction, key: IdempotencyKey, payment_id: str) -> tuple[Refund | None, Payment | None]:
    """The refund that this request made before, or the payment that it is about."""
    refund_id = REQUESTS.resource(transaction, key)
    if refund_id is not None:
        return operations.get_refund(transaction, refund_id), None
    return None, payment_queries.find_payment(transaction, payment_id)


def _wanted(fields: Fields, request: api.RefundPaymentRequest) -> Wanted:
    """The part of the payment to refund."""
    if request.HasField("amount"):
        fields.require(not request.lines, "lines", "must be empty with an amount")
        return fields.money("amount", request.amount)
    if not request.lines:
        return Everything()
    fields.require(len(request.lines) <= LINES_MAX, "lines", f"must be at most {LINES_MAX}")
    wanted: dict[int, int] = {}
    for index, line in enumerate(request.lines[:LINES_MAX]):
        number, quantity = line.line_number, line.quantity
        fields.require(number > 0, f"lines[{index}].line_number", f"must be above 0, was {number}")
        fields.require(number not in wanted, f"lines[{index}].line_number", f"must be there once, {number} is twice")
        ok = 0 < quantity <= MINOR_UNITS_MAX
        fields.require(ok, f"lines[{index}].quantity", f"must be 1 to {MINOR_UNITS_MAX}, was {quantity}")
        wanted[number] = quantity
    return wanted
