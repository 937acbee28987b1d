"""Receipts: protobuf to model and back, nothing else."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from store_terminal.checkouts import moves
from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Checkout, Till
from store_terminal.errors import Reason
from store_terminal.receipts.text import receipt
from store_terminal.refunds import queries as refund_queries
from store_terminal.refunds.model import TillRefund
from tillmesh.api.terminal.v1 import receipt_pb2
from tillmesh.api.terminal.v1 import receipt_service_pb2 as api
from tillmesh.rpc.messages import to_timestamp
from tillmesh.rpc.servicer import Servicer
from tillmesh.storage.statements import Transaction


@dataclass(frozen=True)
class ReceiptServicer(Servicer):
    """tillmesh.api.terminal.v1.ReceiptService."""

    till: Till

    async def GetReceipt(self, request: api.GetReceiptRequest) -> receipt_pb2.Receipt:
        """The receipt to print for the shopper."""

        def read(transaction: Transaction) -> tuple[Checkout, Sequence[TillRefund], bool]:
            checkout = moves.get_checkout(transaction, request.checkout_id)
            if checkout.state is not CheckoutState.PAID:
                raise Reason.CHECKOUT_NOT_PAID(checkout_id=request.checkout_id)
            return checkout, *refund_queries.refunds_of(transaction, request.checkout_id)

        checkout, refunds, earlier = await self.database.run(read)
        # In a thread: a long one would keep every other call waiting.
        text = await asyncio.to_thread(receipt, checkout, refunds, self.till.terminal_id, earlier=earlier)
        return receipt_pb2.Receipt(
            checkout_id=checkout.checkout_id, receipt_time=to_timestamp(checkout.paid_at_ms), text=text
        )
