"""Refunds: protobuf to model and back, nothing else."""

from dataclasses import dataclass

from thirdparty_server.errors import Reason
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
from thirdparty_server.payments.refunds.model import Everything, NewRefund, Refund, Wanted
from thirdparty_server.payments.resolver import PaymentResolver
from tillmesh.api.payment.v1 import refund_pb2
from tillmesh.api.payment.v1 import refund_service_pb2 as api
from tillmesh.auth.callers import Role, acting_role, actor, require_store
from tillmesh.lines import LINES_MAX
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.servicer import Servicer
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money
from tillmesh.runtime.secret import Secret
from tillmesh.storage.requests import IdempotencyKey, find_resource
from tillmesh.storage.statements import Transaction

NOTE_MAX = 256
APPROVAL_MAX = 64


@dataclass(frozen=True)
class RefundServicer(Servicer):
    """tillmesh.api.payment.v1.RefundService."""

    resolver: PaymentResolver
    orders: Orders
    vault: Vault
    pay_code_lock_ms: int

    async def RefundPayment(self, request: api.RefundPaymentRequest) -> refund_pb2.Refund:
        """Gives back money of a payment."""
        fields = Fields()
        payment_id = fields.identifier("payment_id", request.payment_id)
        wanted = _wanted(fields, request)
        new = self._new(fields, request)
        known, payment = await self.database.run(_find, self._key(request, new.refund_id), payment_id)
        if known:
            return messages.to_refund(known)
        settled = await self._settled(payment) if payment else None
        paid = None
        if settled and settled.state is PaymentState.CAPTURED and not isinstance(wanted, Money):
            paid = await self.orders.paid_version(settled)
        refund = await self._once(
            request,
            new.refund_id,
            new.refund_id,
            operations.get_refund,
            operations.refund_payment,
            new,
            payment_id,
            wanted,
            paid,
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
        fields.identity("identity_id", request.identity_id, optional=True)
        new = self._new(fields, request)
        payee = await self._shown(self._key(request, new.refund_id), code) if code else request.identity_id
        refund = await self._once(
            request,
            new.refund_id,
            new.refund_id,
            operations.get_refund,
            operations.create_unreferenced_refund,
            new,
            store_id,
            payee,
            amount,
        )
        return messages.to_refund(refund)

    async def GetRefund(self, request: api.GetRefundRequest) -> refund_pb2.Refund:
        """Reads one refund."""
        return messages.to_refund(await self.database.run(operations.get_refund, request.refund_id))

    async def ListRefunds(self, request: api.ListRefundsRequest) -> api.ListRefundsResponse:
        """Lists refunds, newest first."""
        with Fields() as fields:
            payer = fields.payer_filter(request)
        require_store(request.store_id or None)
        # Or a till would find out, name by name, who showed it a code.
        named_only = payer is not None and acting_role() is Role.TERMINAL
        filters = request.payment_id, request.store_id, payer, named_only
        shown, token = await self._found(request, queries.list_refunds, messages.to_refund, *filters)
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
        return NewRefund(
            refund_id=refund_id, note=note, origin=origin, actor=actor(), created_at_ms=self.clock.now_ms()
        )

    async def _shown(self, key: IdempotencyKey, code: Secret) -> ShownCode:
        """A pay code to redeem; counts a wrong one, once a request, in a transaction that no refusal undoes."""
        shown = ShownCode(code, self.vault, self.pay_code_lock_ms)
        self.vault.require()

        def count(transaction: Transaction) -> None:
            if find_resource(transaction, key) is None:
                pay_codes.try_code(transaction, shown, key.at_ms)

        await self.database.run(count)
        return shown

    async def _settled(self, payment: Payment) -> Payment:
        """The payment in a final state: its order may be paid although the capture is still missing."""
        require_store(payment.store_id)
        if payment.state in FINAL:
            return payment
        settled = await self.resolver.settle(payment)
        if settled.state not in FINAL:
            raise Reason.PAYMENT_NOT_SETTLED(payment_id=payment.payment_id, state=settled.state)
        return settled


def _find(transaction: Transaction, key: IdempotencyKey, payment_id: str) -> tuple[Refund | None, Payment | None]:
    """The refund that this request made before, or the payment that it is about."""
    refund_id = find_resource(transaction, key)
    if refund_id is not None:
        return operations.get_refund(transaction, refund_id), None
    return None, payment_queries.PAYMENTS.find(transaction, payment_id)


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
