"""Receipts on the wire, and what the servicer takes off it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from store_terminal.checkouts.messages import to_line
from store_terminal.receipts.escpos import CODE_PAGES, can_show
from store_terminal.receipts.language import LANGUAGE_RULE, is_known
from store_terminal.receipts.model import Kind, Payment, Receipt, StoreRecord
from store_terminal.receipts.text import COLUMNS
from store_terminal.receipts.words import WORDS
from store_terminal.refunds.model import TillRefund
from tillmesh.api.terminal.v1 import receipt_pb2
from tillmesh.api.terminal.v1 import receipt_service_pb2 as api
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import to_line_item, to_taxes
from tillmesh.rpc.messages import to_money, to_timestamp
from tillmesh.runtime.money import Money

Format = receipt_pb2.Receipt.Format
CodePage = Literal["cp437", "cp850", "cp852", "cp858", "cp866"]
_KINDS = {receipt_pb2.Receipt.Kind.Value(f"KIND_{kind}"): kind for kind in Kind}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_OF_REFUND = (Kind.REFUND, Kind.RETURN)
_FORMATS = (Format.FORMAT_TEXT, Format.FORMAT_ESC_POS, Format.FORMAT_HTML)


@dataclass(frozen=True, slots=True)
class Look:
    """How a receipt is shown."""

    language: str
    columns: int
    code_page: str
    format: int = Format.FORMAT_TEXT


def look_of(fields: Fields, request: api.GetReceiptRequest, usual: Look) -> Look:
    """How the receipt is to be shown; what is unset is as usual."""
    look = Look(
        request.language or usual.language,
        request.columns or usual.columns,
        request.code_page or usual.code_page,
        request.format or usual.format,
    )
    fields.require(look.format in _FORMATS, "format", "must be a Format", request.format)
    fields.require(look.columns in COLUMNS, "columns", f"must be 0 or one of {_listed(COLUMNS)}", request.columns)
    known = look.code_page in CODE_PAGES
    fields.require(known, "code_page", f"must be empty or one of {_listed(CODE_PAGES)}", request.code_page)
    spoken = is_known(look.language)
    fields.require(spoken, "language", LANGUAGE_RULE, look.language)
    if look.format == Format.FORMAT_ESC_POS and known and spoken:
        rule = f"must be one whose letters code page {look.code_page} has; take TEXT or HTML for others"
        fields.require(can_show(WORDS[look.language[:2]], look.code_page), "language", rule, look.language)
    return look


def kind_of(fields: Fields, request: api.GetReceiptRequest) -> Kind | None:
    """What the receipt is for; None where that is left to the terminal."""
    subject, kind = request.WhichOneof("subject"), _KINDS.get(request.kind)
    fields.require(subject is not None, "subject", "must be a checkout_id or a refund_id")
    fields.require(kind is not None or not request.kind, "kind", "must be a Kind", request.kind)
    if kind and subject and (kind in _OF_REFUND) != (subject == "refund_id"):
        fits = [each for each in Kind if (each in _OF_REFUND) == (subject == "refund_id")]
        fields.require(False, "kind", f"must be one of {_listed(fits)} of a {subject}", kind)
    return kind


def to_receipt(receipt: Receipt, language: str) -> receipt_pb2.Receipt:
    """A receipt as its fields, without any way of showing it."""
    difference = receipt.exchange_difference
    return receipt_pb2.Receipt(
        kind=_KIND_NUMBERS[receipt.kind],
        reprint=receipt.reprint,
        store=_to_store(receipt.store),
        terminal_id=receipt.terminal_id,
        lane=receipt.origin.lane,
        cashier_id=receipt.origin.cashier_id,
        checkout_id=receipt.checkout_id,
        lines=[to_line(line) for line in receipt.lines],
        prices_include_tax=receipt.prices_include_tax,
        amount=to_money(receipt.amount) if receipt.amount else None,
        taxes=to_taxes(receipt.taxes),
        payment=_to_payment(receipt.payment) if receipt.payment else None,
        refunds=[_to_refund(receipt, refund) for refund in receipt.refunds],
        has_earlier_refunds=receipt.has_earlier_refunds,
        exchanged=_to_refund(receipt, receipt.exchanged) if receipt.exchanged else None,
        exchange_difference=to_money(difference) if difference else None,
        receipt_time=to_timestamp(receipt.at_ms),
        local_time=_iso(receipt, receipt.at_ms),
        qr_text=receipt.qr_text,
        language=language,
    )


def _to_store(store: StoreRecord) -> receipt_pb2.ReceiptStore:
    return receipt_pb2.ReceiptStore(
        store_id=store.store_id,
        name=store.name,
        address_lines=store.address_lines,
        tax_number=store.tax_number,
        time_zone=store.time_zone,
    )


def _to_payment(payment: Payment) -> receipt_pb2.ReceiptPayment:
    return receipt_pb2.ReceiptPayment(
        payment_id=payment.payment_id,
        payer_display_name=payment.payer,
        amount=to_money(payment.amount) if payment.amount else None,
        reason=payment.reason,
    )


def _to_refund(receipt: Receipt, refund: TillRefund) -> receipt_pb2.ReceiptRefund:
    return receipt_pb2.ReceiptRefund(
        refund_id=refund.refund_id,
        lines=[to_line_item(item) for item in refund.items],
        taxes=to_taxes(refund.taxes),
        amount=to_money(Money(refund.currency, refund.amount_minor or 0)),
        note=refund.note,
        refund_time=to_timestamp(refund.created_at_ms),
        local_time=_iso(receipt, refund.created_at_ms),
    )


def _iso(receipt: Receipt, at_ms: int) -> str:
    return receipt.local(at_ms).isoformat(timespec="seconds")


def _listed(things: Iterable[object]) -> str:
    return ", ".join(map(str, things))
