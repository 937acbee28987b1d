"""Refunds and returns: protobuf to model and back, nothing else."""

from collections.abc import Callable

from store_terminal import operations, store
from store_terminal.journal import Journal
from store_terminal.messages import Till, refund_message, returned_items
from store_terminal.model import TillRefund, total_minor
from store_terminal.tables import REQUESTS
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as api
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.database import Database
from tillmesh.runtime.fields import Fields
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money
from tillmesh.runtime.paging import Page
from tillmesh.runtime.requests import Request
from tillmesh.runtime.statements import Connection

NOTE_MAX = 256


class TillRefundServicer:
    """tillmesh.api.terminal.v1.TillRefundService."""

    def __init__(self, database: Database, journal: Journal, clock: Clock, till: Till) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._till = till

    async def RefundCheckout(self, request: api.RefundCheckoutRequest) -> api.TillRefund:
        """Gives money back for a paid checkout."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        amount = fields.money("amount", request.amount) if request.HasField("amount") else None
        items = returned_items(fields, request.lines, least=0)
        fields.text("note", request.note, length_max=NOTE_MAX)
        fields.check()
        now_ms = self._clock.now_ms()
        return await self._refunded(
            request,
            lambda connection: operations.refund_checkout(
                connection,
                refund_id=request.request_id,
                checkout_id=request.checkout_id,
                amount=amount,
                items=items,
                note=request.note,
                now_ms=now_ms,
            ),
        )

    async def ReturnGoods(self, request: api.ReturnGoodsRequest) -> api.TillRefund:
        """Gives money back for goods whose sale this till does not have."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("payer_id", request.payer_id)
        currency = fields.currency("currency_code", request.currency_code or self._till.currency)
        items = returned_items(fields, request.lines, least=1)
        fields.text("note", request.note, length_max=NOTE_MAX)
        total = total_minor(items)
        fields.require(1 <= total <= MINOR_UNITS_MAX, "lines", f"must sum to 1 to {MINOR_UNITS_MAX}, summed to {total}")
        fields.check()
        now_ms = self._clock.now_ms()
        return await self._refunded(
            request,
            lambda connection: operations.return_goods(
                connection,
                refund_id=request.request_id,
                store_id=self._till.store_id,
                payer_id=request.payer_id,
                amount=Money(currency, total),
                items=items,
                note=request.note,
                now_ms=now_ms,
            ),
        )

    async def GetTillRefund(self, request: api.GetTillRefundRequest) -> api.TillRefund:
        """Reads one refund."""
        return await self._get(request.refund_id)

    async def ListTillRefunds(self, request: api.ListTillRefundsRequest) -> api.ListTillRefundsResponse:
        """Lists refunds, newest first."""
        filters = [request.checkout_id, request.payer_id]
        page = Page[TillRefund](request.page_size, request.page_token, filters, [int, str])
        rows = await self._database.run(
            lambda connection: store.list_refunds(
                connection,
                checkout_id=request.checkout_id,
                payer_id=request.payer_id,
                before=page.after,
                at_most=page.at_most,
            )
        )
        shown, token = page.cut(rows, lambda refund: [refund.created_at_ms, refund.refund_id])
        return api.ListTillRefundsResponse(refunds=[refund_message(refund) for refund in shown], next_page_token=token)

    async def _refunded(self, request: Request, start: Callable[[Connection], TillRefund]) -> api.TillRefund:
        """Starts a refund once for its request id, and answers with how it stands."""

        def run(connection: Connection) -> None:
            if REQUESTS.first(connection, request):
                start(connection)

        await REQUESTS.run(self._database, request, run)
        await self._journal.settle(request.request_id)
        return await self._get(request.request_id)

    async def _get(self, refund_id: str) -> api.TillRefund:
        return refund_message(await self._database.run(lambda connection: operations.get_refund(connection, refund_id)))
