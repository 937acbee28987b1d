"""Refunds and returns: protobuf to model and back, nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from store_terminal.checkouts import messages as checkout_messages
from store_terminal.checkouts.model import Call, Till
from store_terminal.checkouts.named_orders import named_order
from store_terminal.outbox.worker import Outbox
from store_terminal.refunds import messages, operations
from store_terminal.refunds.messages import to_refund
from store_terminal.refunds.model import ReturnedGoods, TillRefund
from store_terminal.refunds.queries import get_refund, list_refunds
from tillmesh.api.terminal.v1 import till_refund_pb2
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as api
from tillmesh.auth.callers import actor
from tillmesh.payer import identity
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import order_lines
from tillmesh.rpc.servicer import Servicer
from tillmesh.storage.requests import IdempotencyKey, answer_once
from tillmesh.storage.statements import Transaction


@dataclass(frozen=True)
class TillRefundServicer(Servicer):
    """tillmesh.api.terminal.v1.TillRefundService."""

    outbox: Outbox
    till: Till

    async def RefundCheckout(self, request: api.RefundCheckoutRequest) -> till_refund_pb2.TillRefund:
        """Gives money back for a paid checkout."""
        with Fields() as fields:
            fields.identifier("refund_id", request.refund_id)
            amount = fields.money("amount", request.amount) if request.HasField("amount") else None
            lines = messages.returned_lines(fields, request.lines)
            fields.require(not (amount and lines), "amount", "must be unset with lines: they say how much it is")
            new = messages.new_refund(fields, request, self.till.terminal_id)
            named = named_order(fields, "checkout_id", request.checkout_id)
        refund = partial(operations.refund_checkout, new=new, amount=amount, lines=lines)
        key = self._key(request, request.refund_id)
        return await self._refunded(key, await self.outbox.taking_up(key, named, refund, refreshes=True))

    async def ReturnGoods(self, request: api.ReturnGoodsRequest) -> till_refund_pb2.TillRefund:
        """Gives money back for goods whose sale this till does not have."""
        with Fields() as fields:
            fields.identifier("refund_id", request.refund_id)
            payee = request.WhichOneof("payee")
            fields.require(payee is not None, "payee", "must be an identity_id or a pay_code")
            if payee == "identity_id":
                fields.identity("identity_id", request.identity_id)
            code = checkout_messages.pay_code(fields, request.pay_code)
            fields.require(payee != "pay_code" or code is not None, "pay_code", "must not be empty")
            currency = fields.currency("currency_code", request.currency_code or self.till.currency)
            unset = not request.HasField("prices_include_tax")
            taxed = self.till.prices_include_tax if unset else request.prices_include_tax
            items, total = order_lines(fields, request.lines, prices_include_tax=taxed, actor=actor())
            fields.require(total.amount_minor > 0, "lines", f"must come to more than 0, came to {total.amount_minor}")
            new = messages.new_refund(fields, request, self.till.terminal_id)

        receiver = code or identity(request.identity_id)
        goods = ReturnedGoods(self.till.store_id, receiver, currency, items, total)
        pay_codes = self.outbox.exchanges.pay_codes
        effect = partial(operations.return_goods, new=new, goods=goods, pay_codes=pay_codes)
        return await self._refunded(self._key(request, request.refund_id), effect)

    async def GetTillRefund(self, request: api.GetTillRefundRequest) -> till_refund_pb2.TillRefund:
        """Reads one refund."""
        return await self._get(request.refund_id)

    async def ListTillRefunds(self, request: api.ListTillRefundsRequest) -> api.ListTillRefundsResponse:
        """Lists refunds, newest first."""
        with Fields() as fields:
            payer = fields.payer_filter(request)
        shown, token = await self._found(request, list_refunds, to_refund, request.checkout_id, payer)
        return api.ListTillRefundsResponse(refunds=shown, next_page_token=token)

    async def _refunded(
        self, key: IdempotencyKey, effect: Callable[[Transaction, Call], TillRefund]
    ) -> till_refund_pb2.TillRefund:
        """Starts a refund once for its id, and answers with how it stands."""
        refund_id = key.request_id
        async with self.outbox.writing(key) as call:
            await answer_once(self.database, key, refund_id, get_refund, effect, call)
        await self.outbox.settle(refund_id)
        return await self._get(refund_id)

    async def _get(self, refund_id: str) -> till_refund_pb2.TillRefund:
        return to_refund(await self.database.run(get_refund, refund_id))
