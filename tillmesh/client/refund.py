"""Money that a till gives back: of a sale, or for goods whose sale it does not have."""

import asyncio
from collections.abc import Mapping

from tillmesh.api.terminal.v1 import till_refund_pb2
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as api
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.client.desk import Desk
from tillmesh.client.journal import Entry
from tillmesh.client.verdicts import Repaid
from tillmesh.rpc.messages import to_money
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money

Item = LineItem
"""Goods that come back: sku, title, quantity and unit_price_minor."""


CODE_S = 120.0
"""No pay code counts for so long."""


class Refund:
    """A refund, which is asked for until it is known what came of it."""

    def __init__(self, desk: Desk, refund_id: str) -> None:
        self._desk = desk
        self.refund_id = refund_id

    async def ended(self) -> Repaid:
        """What came of it: the shopper has the money, or a no. PENDING is told only where patience is over.

        Raises the terminal's `Refusal`: then nothing was and will be given back.
        """
        end, tries = self._desk.asker.end(), 0
        entries = self._desk.journal.entries(self.refund_id)
        try:
            told = await self._asked(entries[0]) if entries else await self._looked_up()
        except Refusal:
            await self._desk.forget(self.refund_id)
            raise
        while told.state == till_refund_pb2.TillRefund.STATE_PENDING and await self._desk.asker.pause(tries, end):
            tries += 1
            told = await self._looked_up()
        if told.state != till_refund_pb2.TillRefund.STATE_PENDING:
            await self._desk.forget(self.refund_id)
        return Repaid(told)

    async def _asked(self, entry: Entry) -> till_refund_pb2.TillRefund:
        if entry.has_lost_secret:  # without its pay code the terminal does not take the request
            return await self._looked_up_without_code()
        answer: till_refund_pb2.TillRefund = await self._desk.ask(entry)
        return answer

    async def _looked_up(self) -> till_refund_pb2.TillRefund:
        request = api.GetTillRefundRequest(refund_id=self.refund_id)
        return await self._desk.read(self._desk.connections.till_refunds.GetTillRefund, request)

    async def _looked_up_without_code(self) -> till_refund_pb2.TillRefund:
        """The same; that the terminal does not know it counts once a copy under way would come too late."""
        end, tries = asyncio.get_running_loop().time() + CODE_S, 0
        while True:
            try:
                return await self._looked_up()
            except Refusal as refusal:
                if refusal.reason != "REFUND_NOT_FOUND" or not await self._desk.asker.pause(tries, end):
                    raise
            tries += 1


async def refund_of(
    desk: Desk,
    order: str,
    *,
    amount: Money | None = None,
    lines: Mapping[int, int] | None = None,
    note: str = "",
    refund_id: str = "",
) -> Repaid:
    """Gives money back of an order."""
    request = api.RefundCheckoutRequest(
        refund_id=refund_id or new_request_id(),
        checkout_id=order,
        amount=to_money(amount) if amount else None,
        lines=[api.ReturnedLine(line_number=number, quantity=count) for number, count in (lines or {}).items()],
        note=note,
    )
    return await made(desk, request)


async def made(desk: Desk, request: api.RefundCheckoutRequest | api.ReturnGoodsRequest) -> Repaid:
    """Writes a refund down, and asks for it."""
    await desk.journal.write(Entry(request.refund_id, request.refund_id, request))
    return await Refund(desk, request.refund_id).ended()
