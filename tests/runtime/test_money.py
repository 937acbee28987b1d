import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillmesh.runtime.money import MINOR_DIGITS, MINOR_UNITS_MAX, Money, minor_units


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("2.55", "GBP", 255),
        ("2.5", "GBP", 250),
        ("2.550", "GBP", 255),
        ("-0.01", "GBP", -1),
        ("1250", "JPY", 1250),
        ("1250.0", "JPY", 1250),
        ("1.234", "BHD", 1234),
        ("1E+3", "GBP", 100_000),
        ("-0", "GBP", 0),
    ],
)
def test_a_price_becomes_the_minor_units_of_its_currency(text: str, currency: str, minor: int) -> None:
    assert minor_units(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency", "what_is_wrong"),
    [
        ("0.001", "GBP", "GBP has 2 decimals"),
        ("0.5", "JPY", "JPY has 0 decimals"),
        ("0.0001", "BHD", "BHD has 3 decimals"),
        ("1E-1000000", "GBP", "GBP has 2 decimals"),
        ("1E-999999999", "GBP", "GBP has 2 decimals"),
        ("1.00000000000000000000000000000001", "GBP", "GBP has 2 decimals"),
        ("NaN", "GBP", "not a finite number"),
        ("Infinity", "GBP", "not a finite number"),
        ("1E+1000000", "GBP", "too large"),
        ("-1E+999999999", "JPY", "too large"),
        ("two", "GBP", "not a decimal number"),
        ("", "GBP", "not a decimal number"),
        ("1,5", "GBP", "not a decimal number"),
        ("1_000", "GBP", "not a decimal number"),
        (" 1", "GBP", "not a decimal number"),
        ("\u0661", "GBP", "not a decimal number"),
    ],
)
def test_a_price_that_is_none_says_what_is_wrong_with_it(text: str, currency: str, what_is_wrong: str) -> None:
    with pytest.raises(ValueError, match=what_is_wrong) as raised:
        minor_units(text, currency)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money("GBP", 1250), "12.50 GBP"),
        (Money("GBP", -5), "-0.05 GBP"),
        (Money("JPY", 1250), "1250 JPY"),
        (Money("BHD", 1), "0.001 BHD"),
        (Money("GBP", MINOR_UNITS_MAX), "10000000000000.00 GBP"),
        (Money("JPY", 0), "0 JPY"),
        (Money("BHD", -(10**31) - 1), "-10000000000000000000000000000.001 BHD"),  # more digits than decimals keep
    ],
)
def test_an_amount_reads_with_all_digits_of_its_currency(money: Money, text: str) -> None:
    assert str(money) == text


@given(st.sampled_from(sorted(MINOR_DIGITS)), st.integers(-(10**12), 10**12))
def test_an_amount_written_and_read_again_is_the_same(currency: str, minor: int) -> None:
    assert minor_units(Money(currency, minor).decimal(), currency) == minor


def test_codes_without_a_minor_unit_are_no_money() -> None:
    assert not {"XAU", "XTS"} & set(MINOR_DIGITS)
