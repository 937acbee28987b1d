"""Receipts: protobuf to model and back, nothing else."""

import asyncio
from dataclasses import dataclass

from store_terminal.checkouts.model import Till
from store_terminal.receipts import operations
from store_terminal.receipts.escpos import printer_bytes
from store_terminal.receipts.html import html_of
from store_terminal.receipts.language import language_of
from store_terminal.receipts.messages import Format, Look, kind_of, look_of, to_receipt
from store_terminal.receipts.model import Receipt, Sources, receipt_of
from store_terminal.receipts.rows import rows_of
from store_terminal.receipts.text import text_of
from tillmesh.api.terminal.v1 import receipt_pb2
from tillmesh.api.terminal.v1 import receipt_service_pb2 as api
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.servicer import Servicer


@dataclass(frozen=True)
class ReceiptServicer(Servicer):
    """tillmesh.api.terminal.v1.ReceiptService."""

    till: Till
    usual: Look
    """How a receipt is shown if the request does not say it."""

    async def GetReceipt(self, request: api.GetReceiptRequest) -> receipt_pb2.Receipt:
        """Makes a receipt."""
        with Fields() as fields:
            kind, look = kind_of(fields, request), look_of(fields, request, self.usual)
        is_refund = request.WhichOneof("subject") == "refund_id"
        read = operations.read_of_refund if is_refund else operations.read_of_checkout
        key = request.refund_id if is_refund else request.checkout_id
        sources = await self.database.run(read, key, kind, self.till.store_id, self.clock.now_ms())
        # In a thread: a long one would keep every other call waiting.
        return await asyncio.to_thread(_printed, sources, self.till, look, reprint=request.reprint)


def _printed(sources: Sources, till: Till, look: Look, *, reprint: bool) -> receipt_pb2.Receipt:
    receipt = receipt_of(sources, till, reprint=reprint)
    message = to_receipt(receipt, look.language)
    _show(receipt, look, message)
    return message


def _show(receipt: Receipt, look: Look, message: receipt_pb2.Receipt) -> None:
    language = language_of(look.language)
    rows = rows_of(receipt, language)
    match look.format:
        case Format.FORMAT_ESC_POS:
            message.printer_bytes = printer_bytes(rows, receipt.qr_text, look.columns, look.code_page)
        case Format.FORMAT_HTML:
            message.text = html_of(rows, receipt.qr_text, language.words.receipt, look.language)
        case _:
            message.text = text_of(rows, look.columns)
