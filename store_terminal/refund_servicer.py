"""Refunds and returns: protobuf to model and back, nothing else."""

from collections.abc import Callable

from store_terminal import journal_store, messages, refunds
from store_terminal.journal import Journal
from store_terminal.messages import refund_message
from store_terminal.model import Call, Till, TillRefund
from store_terminal.tables import REQUESTS
from tillmesh.api.terminal.v1 import till_refund_pb2
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as api
from tillmesh.auth.callers import actor
from tillmesh.payer import identity
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import order_lines
from tillmesh.rpc.paging import Page
from tillmesh.runtime.clock import Clock
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Transaction

NOTE_MAX = 256


class TillRefundServicer:
    """tillmesh.api.terminal.v1.TillRefundService."""

    def __init__(self, database: Database, journal: Journal, clock: Clock, till: Till) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._till = till

    async def RefundCheckout(self, request: api.RefundCheckoutRequest) -> till_refund_pb2.TillRefund:
        """Gives money back for a paid checkout."""
        fields = Fields()
        fields.identifier("refund_id", request.refund_id)
        amount = fields.money("amount", request.amount) if request.HasField("amount") else None
        lines = messages.returned_lines(fields, request.lines)
        fields.require(not (amount and lines), "amount", "must be unset with lines: they say how much it is")
        fields.text("note", request.note, length_max=NOTE_MAX)
        origin = messages.origin(fields, self._till.terminal_id, request.lane, request.cashier_id)
        messages.approval(fields, request.approval_id)
        fields.check()
        return await self._refunded(
            request,
            lambda transaction, call: refunds.refund_checkout(
                transaction,
                call,
                checkout_id=request.checkout_id,
                amount=amount,
                lines=lines,
                note=request.note,
                origin=origin,
            ),
        )

    async def ReturnGoods(self, request: api.ReturnGoodsRequest) -> till_refund_pb2.TillRefund:
        """Gives money back for goods whose sale this till does not have."""
        fields = Fields()
        fields.identifier("refund_id", request.refund_id)
        payee = request.WhichOneof("payee")
        fields.require(payee is not None, "payee", "must be an identity_id or a pay_code")
        if payee == "identity_id":
            fields.identity("identity_id", request.identity_id)
        code = messages.pay_code(fields, request.pay_code)
        fields.require(payee != "pay_code" or code is not None, "pay_code", "must not be empty")
        currency = fields.currency("currency_code", request.currency_code or self._till.currency)
        unset = not request.HasField("prices_include_tax")
        taxed = self._till.prices_include_tax if unset else request.prices_include_tax
        items, total = order_lines(fields, request.lines, prices_include_tax=taxed, actor=actor())
        fields.require(total.amount_minor > 0, "lines", f"must come to more than 0, came to {total.amount_minor}")
        fields.text("note", request.note, length_max=NOTE_MAX)
        origin = messages.origin(fields, self._till.terminal_id, request.lane, request.cashier_id)
        messages.approval(fields, request.approval_id)
        fields.check()

        def give_back(transaction: Transaction, call: Call) -> TillRefund:
            refund = refunds.return_goods(
                transaction,
                call,
                store_id=self._till.store_id,
                payer=None if code else identity(request.identity_id),
                currency=currency,
                items=items,
                total=total,
                note=request.note,
                origin=origin,
            )
            if code:  # before the row is there to be taken up
                self._journal.pay_codes.keep(call.request_id, code)
            return refund

        return await self._refunded(request, give_back)

    async def GetTillRefund(self, request: api.GetTillRefundRequest) -> till_refund_pb2.TillRefund:
        """Reads one refund."""
        return await self._get(request.refund_id)

    async def ListTillRefunds(self, request: api.ListTillRefundsRequest) -> api.ListTillRefundsResponse:
        """Lists refunds, newest first."""
        fields = Fields()
        payer = fields.payer_filter(request)
        fields.check()
        filters = ["ListTillRefunds", request.checkout_id, payer]
        page = Page[TillRefund](self._database.seal, request.page_size, request.page_token, filters)
        rows = await self._database.run(
            lambda transaction: journal_store.list_refunds(
                transaction, checkout_id=request.checkout_id, payer=payer, before=page.after, at_most=page.at_most
            )
        )
        shown, token = page.cut(rows, lambda refund: [refund.created_at_ms, refund.refund_id], refund_message)
        return api.ListTillRefundsResponse(refunds=shown, next_page_token=token)

    async def _refunded(
        self,
        request: api.RefundCheckoutRequest | api.ReturnGoodsRequest,
        start: Callable[[Transaction, Call], TillRefund],
    ) -> till_refund_pb2.TillRefund:
        """Starts a refund once for its id, and answers with how it stands."""
        refund_id = request.refund_id
        key = IdempotencyKey.of(request, refund_id, self._clock.now_ms())
        call = Call(refund_id, self._database.replica, key.at_ms)

        def run(transaction: Transaction) -> None:
            if REQUESTS.claim(transaction, key, refund_id):
                start(transaction, call)

        await self._journal.write(key, run)
        await self._journal.settle(refund_id)
        return await self._get(refund_id)

    async def _get(self, refund_id: str) -> till_refund_pb2.TillRefund:
        return refund_message(await self._database.run(lambda transaction: refunds.get_refund(transaction, refund_id)))
