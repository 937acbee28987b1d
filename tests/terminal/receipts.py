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
from tillmesh.lines import Adjustment, LineItem, TaxTotal, Unit, totals
from tillmesh.lines import Kind as LineKind
from tillmesh.origin import NOWHERE, Origin
from tillmesh.payer import identity
from tillmesh.runtime.money import Money

AT_MS = 1_795_262_400_000
TEA = LineItem("TEA", "Tea", 2, 125)
STORE = StoreRecord("store-1", "Corner Shop")
TILL = Till("store-1", "till-1", "GBP", prices_include_tax=True, payment_wait_ms=1, parked_ms=0)
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
        sold_at_ms=AT_MS,
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


def english_example() -> str:
    """A sale in London, of which something came back."""
    store = StoreRecord("store-7", "Corner Shop", ("1 High Street", "London N1"), "GB123456789", "Europe/London")
    staff = Adjustment("STAFF", "Staff discount", -50)
    mug = LineItem("MUG", "Mug, blue", 2, 450, tax_code="S", tax_rate_ppm=200_000, adjustments=(staff,))
    ham = LineItem("HAM", "Ham", 432, 1290, unit=Unit.GRAM, price_quantity=1000, tax_code="Z")
    pie = LineItem("PIE", "Apple pie", 1, 320, tax_code="S", tax_rate_ppm=200_000, note="no cream")
    sold = replace(checkout(mug, ham, pie), origin=Origin("till-1", "lane-3", "c-17"), payer_display_name="Ada L.")
    back = refund(320, pie._replace(note=""), taxes=(TaxTotal("S", 200_000, 267, 53),))
    return text(sold, [replace(back, created_at_ms=AT_MS + 900_000)], store=store)


def german_example() -> str:
    """A copy of the receipt of a sale in Berlin, on narrow paper."""
    store = StoreRecord("store-8", "Späti am Eck", ("Hauptstr. 1", "10827 Berlin"), "DE123456789", "Europe/Berlin")
    cola = LineItem("COLA", "Cola 0,5 l", 6, 129, tax_code="A", tax_rate_ppm=190_000)
    bottle = LineItem("PFAND", "Pfand", 6, 25, kind=LineKind.DEPOSIT, tax_code="A", tax_rate_ppm=190_000)
    cheese = LineItem(
        "GOUDA", "Gouda", 215, 1490, unit=Unit.GRAM, price_quantity=1000, tax_code="B", tax_rate_ppm=70_000
    )
    sold = replace(checkout(cola, bottle, cheese, currency="EUR"), payer_display_name="Ada L.")
    return text(sold, columns=32, language="de", store=store, reprint=True)
