"""A receipt as rows of words, in one language; what shows them decides where a row breaks."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from store_terminal.receipts.language import Language
from store_terminal.receipts.model import Kind, Payment, Receipt
from store_terminal.refunds.model import TillRefund
from tillmesh.lines import LineItem, PriceSource, TaxTotal, Unit
from tillmesh.runtime.money import Money

INDENT = 2
"""Columns before what belongs to the article above."""
_SYMBOLS = {Unit.GRAM: "kg", Unit.MILLILITER: "l", Unit.MILLIMETER: "m"}
"""Of a thousand units, as prices are given and shoppers read them."""


class Row(NamedTuple):
    """A text at the left, and perhaps one at the right. Both may have any character that a caller sent."""

    left: str
    right: str = ""
    strong: bool = False
    indent: int = 0


RULE = Row("")
"""A line across the paper; known by being this one."""


def rows_of(receipt: Receipt, language: Language) -> Iterator[Row]:
    """What to print, from top to bottom."""
    rows = _Rows(receipt, language)
    yield from rows.head()
    if receipt.amount:
        yield from rows.decline(receipt.amount) if receipt.kind is Kind.DECLINE else rows.sale(receipt.amount)
    if receipt.has_earlier_refunds:
        yield RULE
        yield Row(rows.words.earlier_refunds)
    for refund in receipt.refunds:
        yield RULE
        yield from rows.refund(refund)
    if receipt.kind in (Kind.REFUND, Kind.RETURN):
        yield from rows.payee(receipt.payment)


class _Rows:
    def __init__(self, receipt: Receipt, language: Language) -> None:
        self._receipt = receipt
        self._language = language
        self.words = language.words

    def head(self) -> Iterator[Row]:
        """Who sold, where and when; and what this is if it is no receipt of a sale."""
        receipt, words = self._receipt, self.words
        yield Row(receipt.store.name, strong=True)
        yield from map(Row, receipt.store.address_lines)
        if receipt.store.tax_number:
            yield Row(words.tax_number.format(number=receipt.store.tax_number))
        lane, cashier = receipt.origin.lane, receipt.origin.cashier_id
        yield Row(words.till.format(till=receipt.terminal_id), words.lane.format(lane=lane) if lane else "")
        if cashier:
            yield Row(words.cashier.format(cashier=cashier))
        if receipt.checkout_id:
            yield Row(words.order.format(order=receipt.checkout_id))
        yield Row(self._moment(receipt.at_ms))
        if receipt.reprint:
            yield Row(words.copy, strong=True)
        if receipt.kind is Kind.BILL:
            yield Row(words.bill, strong=True)
            yield Row(words.no_receipt)

    def sale(self, amount: Money) -> Iterator[Row]:
        """What was sold, or is about to be, and how it was paid."""
        yield RULE
        for line in self._receipt.lines:
            yield from self._item(line.item, amount.currency)
        yield RULE
        yield from self._total(amount)
        yield from self._exchange()
        if self._receipt.payment:
            yield from self._paid(self._receipt.payment)

    def decline(self, amount: Money) -> Iterator[Row]:
        """A payment that did not pay."""
        words = self.words
        yield RULE
        yield Row(words.failed, strong=True)
        yield Row(words.no_goods)
        yield self._sum(words.total, amount, strong=False)
        if payment := self._receipt.payment:
            yield Row(words.payment.format(payment=payment.payment_id))
            yield Row(words.reason.format(reason=payment.reason))

    def refund(self, refund: TillRefund) -> Iterator[Row]:
        """What was given back."""
        words = self.words
        for item in refund.items:
            yield from self._item(item, refund.currency)
        label = words.return_ if self._receipt.kind is Kind.RETURN else words.refund
        yield self._sum(label, Money(refund.currency, -(refund.amount_minor or 0)))
        yield from self._taxes(refund.taxes, refund.currency, words.tax_refunded)
        if refund.note:
            yield Row(refund.note)
        yield Row(words.refund_number.format(refund=refund.refund_id))
        if self._receipt.amount:  # else it is the moment at the top
            yield Row(self._moment(refund.created_at_ms))

    def payee(self, payment: Payment | None) -> Iterator[Row]:
        """Who gets the money, as far as that is known."""
        if payment and payment.payer:
            yield Row(self.words.paid_to.format(payer=payment.payer))
        if payment and payment.payment_id:
            yield Row(self.words.payment.format(payment=payment.payment_id))

    def _total(self, amount: Money) -> Iterator[Row]:
        """The total: after taxes that come on top, before taxes that it includes."""
        receipt, words = self._receipt, self.words
        total = self._sum(words.total, amount)
        if receipt.prices_include_tax:
            yield total
            yield from self._taxes(receipt.taxes, amount.currency, words.tax_included)
        else:
            yield from self._taxes(receipt.taxes, amount.currency, words.tax_on_top)
            yield total

    def _exchange(self) -> Iterator[Row]:
        """What came back for these goods, and the difference. Nobody pays that: refund and payment are each in full."""
        receipt, words = self._receipt, self.words
        if receipt.exchanged is None:
            return
        yield RULE
        yield Row(words.exchange, strong=True)
        yield from self.refund(receipt.exchanged)
        if difference := receipt.exchange_difference:
            yield self._sum(words.difference, difference)

    def _paid(self, payment: Payment) -> Iterator[Row]:
        if not payment.payment_id:
            yield Row(self.words.nothing_to_pay)
            return
        if payment.payer:
            yield Row(self.words.paid_by.format(payer=payment.payer))
        yield Row(self.words.payment.format(payment=payment.payment_id))

    def _item(self, item: LineItem, currency: str) -> Iterator[Row]:
        yield Row(item.title or item.sku)
        price = "" if item.price_source is PriceSource.LABEL else f" × {self._price(item, currency)}"
        measure = self._measure(item.quantity, item.unit)
        yield Row(f"{measure}{price}", self._language.amount(Money(currency, item.price_minor)), indent=INDENT)
        for adjustment in item.adjustments:
            text = adjustment.text if adjustment.text.strip() else adjustment.reason_code
            yield Row(text, self._language.amount(Money(currency, adjustment.amount_minor)), indent=INDENT)
        if item.note:
            yield Row(item.note, indent=INDENT)

    def _price(self, item: LineItem, currency: str) -> str:
        """The price, and of how much if that is not one piece: 12.90/kg, 17.99/10 l, 5.00/6."""
        price = self._language.amount(Money(currency, item.unit_price_minor))
        if item.unit is Unit.PIECE:
            return price if item.price_quantity == 1 else f"{price}/{item.price_quantity}"
        if item.price_quantity == 1000:
            return f"{price}/{_SYMBOLS[item.unit]}"
        return f"{price}/{self._measure(item.price_quantity, item.unit)}"

    def _measure(self, quantity: int, unit: Unit) -> str:
        """A quantity: pieces, or kilograms, litres and metres."""
        if unit is Unit.PIECE:
            return self._language.quantity(Decimal(quantity))
        return f"{self._language.quantity(Decimal(quantity).scaleb(-3))} {_SYMBOLS[unit]}"

    def _taxes(self, taxes: Sequence[TaxTotal], currency: str, label: str) -> Iterator[Row]:
        for tax in taxes:
            rate = f"{self._language.quantity(Decimal(tax.tax_rate_ppm).scaleb(-4))}%"
            named = f"{tax.tax_code} {rate}" if tax.tax_code else rate
            net, amount = Money(currency, tax.net_minor), Money(currency, tax.tax_minor)
            told = label.format(tax=named, net=self._language.amount(net))
            yield Row(told, self._language.amount(amount))

    def _sum(self, label: str, amount: Money, *, strong: bool = True) -> Row:
        return Row(label.format(currency=amount.currency), self._language.amount(amount), strong)

    def _moment(self, at_ms: int) -> str:
        return self._language.moment(self._receipt.local(at_ms))
