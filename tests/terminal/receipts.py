"""Receipts that no server was asked for: what they are made of, and how they look."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Checkout, Line, Till
from store_terminal.outbox.model import EntryState
from store_terminal.receipts.escpos import printer_bytes
from store_terminal.receipts.html import html_of
from store_terminal.receipts.language import language_of
from store_terminal.receipts.model import Decline, Kind, Receipt, Sources, StoreRecord, receipt_of
from store_terminal.receipts.rows import rows_of
from store_terminal.receipts.text import text_of
from store_terminal.refunds.model import TillRefund
from tillmesh.lines import LineItem, TaxTotal, totals
from tillmesh.origin import NOWHERE
from tillmesh.payer import identity
from tillmesh.runtime.money import Money

AT_MS = 1_795_262_400_000
TEA = LineItem("TEA", "Tea", 2, 125)
STORE = StoreRecord("store-1", "Corner Shop")
TILL = Till("store-1", "till-1", "GBP", prices_include_tax=True, payment_wait_ms=1)
DECLINE = Decline("pay-9", Money("GBP", 250), "DECLINED", AT_MS)
KINDS = list(Kind)


def checkout(*items: LineItem, currency: str = "GBP", prices_include_tax: bool = True) -> Checkout:
    return Checkout(
        checkout_id="7K3M-9Q2X-VB4T",
        store_id="store-1",
        origin=NOWHERE,
        payer=identity("ada"),
        lines=tuple(Line(number, item) for number, item in enumerate(items, 1)),
        last_line_number=len(items),
        prices_include_tax=prices_include_tax,
        amount=Money(currency, totals(items, prices_include_tax=prices_include_tax).amount_minor),
        labels={},
        state=CheckoutState.PAID,
        order_version=1,
        paid_by="pay-1",
        paid_at_ms=AT_MS,
        event_count=4,
        created_at_ms=0,
        updated_at_ms=0,
    )


def refund(amount_minor: int, *items: LineItem, taxes: tuple[TaxTotal, ...] = (), currency: str = "GBP") -> TillRefund:
    return TillRefund(
        refund_id="ref-1",
        checkout_id="7K3M-9Q2X-VB4T",
        payer=identity("ada"),
        items=items,
        taxes=taxes,
        currency=currency,
        amount_minor=amount_minor,
        note="cold",
        origin=NOWHERE,
        actor="",
        state=EntryState.DONE,
        created_at_ms=0,
    )


def sources(sold: Checkout, refunds: Sequence[TillRefund] = (), kind: Kind = Kind.SALE, **more: Any) -> Sources:
    """What a receipt of any kind is made of."""
    if kind is Kind.DECLINE:
        more.setdefault("decline", DECLINE)
    if kind in (Kind.REFUND, Kind.RETURN) and not refunds:
        refunds = [refund(250, *(line.item for line in sold.lines))]
    of = None if kind is Kind.RETURN else sold
    return replace(Sources(kind=kind, store=STORE, checkout=of, now_ms=AT_MS, refunds=refunds), **more)


def receipt(
    sold: Checkout,
    refunds: Sequence[TillRefund] = (),
    kind: Kind = Kind.SALE,
    *,
    till: Till = TILL,
    reprint: bool = False,
    **more: Any,
) -> Receipt:
    return receipt_of(sources(sold, refunds, kind, **more), till, reprint=reprint)


def text(
    sold: Checkout, refunds: Sequence[TillRefund] = (), *, columns: int = 42, language: str = "en", **more: Any
) -> str:
    return text_of(rows_of(receipt(sold, refunds, **more), language_of(language)), columns)


def for_printer(
    sold: Checkout,
    refunds: Sequence[TillRefund] = (),
    *,
    columns: int = 42,
    language: str = "en",
    code_page: str = "cp858",
    **more: Any,
) -> bytes:
    made = receipt(sold, refunds, **more)
    return printer_bytes(rows_of(made, language_of(language)), made.qr_text, columns, code_page)


def html(sold: Checkout, refunds: Sequence[TillRefund] = (), *, language: str = "en", **more: Any) -> str:
    made = receipt(sold, refunds, **more)
    spoken = language_of(language)
    return html_of(rows_of(made, spoken), made.qr_text, spoken.words.receipt, language)
