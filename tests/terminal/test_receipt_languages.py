"""Receipts in the language of the shopper: words, amounts with all their digits, dates."""

import re
from dataclasses import astuple, replace
from itertools import product

import pytest
from wcwidth import wcswidth

from store_terminal.receipts.escpos import CODE_PAGES, can_show
from store_terminal.receipts.language import is_known, language_of
from store_terminal.receipts.words import WORDS
from tests.terminal.receipts import STORE, TEA, checkout, for_printer, text
from tillmesh.lines import LineItem
from tillmesh.runtime.money import MINOR_DIGITS, Money

FILLED_IN = re.compile(r"\{(\w+)\}")
NARROWEST = 32


@pytest.mark.parametrize("language", WORDS)
def test_every_language_has_every_word_and_they_fit_the_narrowest_paper(language: str) -> None:
    english = astuple(WORDS["en"])
    for word, meant in zip(astuple(WORDS[language]), english, strict=True):
        assert word.strip()
        assert sorted(FILLED_IN.findall(word)) == sorted(FILLED_IN.findall(meant))
        bare = FILLED_IN.sub("", word.replace("{currency}", "GBP"))
        assert wcswidth(bare) <= NARROWEST


@pytest.mark.parametrize("language", sorted(set(WORDS) - {"ja"}))
def test_a_printer_has_what_stands_for_every_word_but_those_of_japanese(language: str) -> None:
    assert all(can_show(WORDS[language], code_page) for code_page in CODE_PAGES)
    assert not any(can_show(WORDS["ja"], code_page) for code_page in CODE_PAGES)


@pytest.mark.parametrize(
    ("currency", "price", "amount"), [("JPY", "125", "250"), ("BHD", "0.125", "0.250"), ("GBP", "1.25", "2.50")]
)
def test_amounts_have_the_digits_of_their_currency(currency: str, price: str, amount: str) -> None:
    shown = text(checkout(TEA, currency=currency))
    line, total = (line for line in shown.splitlines() if line.endswith(f" {amount}"))
    assert line.split() == ["2", "×", price, amount]
    assert total.split() == ["TOTAL", currency, amount]


def test_no_currency_loses_or_gains_a_digit() -> None:
    for (currency, digits), tag in product(MINOR_DIGITS.items(), WORDS):
        amount = language_of(tag).amount(Money(currency, 1234567))
        assert re.sub(r"[^0-9]", "", amount) == "1234567"
        point = re.search(r"[,.]([0-9]+)$", amount)
        assert digits == 0 or (point and len(point[1]) == digits), currency


@pytest.mark.parametrize(
    ("language", "amount", "moment"),
    [
        ("en", "-1,234.50", "Nov 21, 2026 1:00 PM +01:00"),
        ("en-GB", "-1,234.50", "21 Nov 2026 13:00 +01:00"),
        ("de", "-1.234,50", "21.11.2026 13:00 +01:00"),
        ("de-CH", "-1'234.50", "21.11.2026 13:00 +01:00"),
        ("fr", "-1\u00a0234,50", "21 nov. 2026 13:00 +01:00"),
        ("es", "-1.234,50", "21 nov 2026 13:00 +01:00"),
        ("it", "-1.234,50", "21 nov 2026 13:00 +01:00"),
        ("nl", "-1.234,50", "21 nov 2026 13:00 +01:00"),
        ("pl", "-1\u00a0234,50", "21 lis 2026 13:00 +01:00"),
        ("pt-BR", "-1.234,50", "21 de nov. de 2026 13:00 +01:00"),
        ("ja", "-1,234.50", "2026/11/21 13:00 +01:00"),
    ],
)
def test_amounts_and_dates_read_as_the_shopper_writes_them(language: str, amount: str, moment: str) -> None:
    assert language_of(language).amount(Money("EUR", -123450)) == amount
    shown = text(checkout(TEA), language=language, store=replace(STORE, time_zone="Europe/Berlin"))
    assert moment in shown.splitlines()


@pytest.mark.parametrize("tag", ["", "xx", "DE", "de-", "de_AT", "de-XX", "german", "../de", "en-US-posix"])
def test_a_language_without_words_is_not_known(tag: str) -> None:
    assert not is_known(tag)


def test_an_amount_never_breaks_between_its_digits() -> None:
    mug = LineItem("MUG", "Tasse", 1, 1_234_567_890, tax_code="A", tax_rate_ppm=200_000)
    sold = checkout(mug, currency="EUR")
    taxed = "TOTAL EUR          12 345 678,90\ndont taxe A 20% sur\n10 288 065,75\n                    2 057 613,15\n"
    assert taxed in text(sold, columns=32, language="fr")
    assert taxed.partition("\n")[2].encode() in for_printer(sold, columns=32, language="fr")
