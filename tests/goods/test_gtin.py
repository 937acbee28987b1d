"""GTINs of every length, as 14 digits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import ean

from tillmesh.gtin import LENGTHS, as_gtin, is_gtin


@pytest.mark.parametrize(
    ("text", "gtin"),
    [
        ("810354020810", "00810354020810"),  # UPC-A, and the same as EAN-13 and as GTIN-14
        ("0810354020810", "00810354020810"),
        ("00810354020810", "00810354020810"),
        ("4006381333931", "04006381333931"),
        ("96385074", "00000096385074"),
        ("10012345678902", "10012345678902"),
    ],
)
def test_a_gtin_of_every_length_has_14_digits(text: str, gtin: str) -> None:
    assert as_gtin(text) == gtin


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("4006381333930", "must have a right check digit, which is 1"),
        ("7268033", "must have 8, 12, 13 or 14 digits, has 7"),
        ("37212000368", "must have 8, 12, 13 or 14 digits, has 11"),
        ("233697410000100125001254", "must have 8, 12, 13 or 14 digits, has 24"),
        ("", "must be digits"),
        ("4006381-333931", "must be digits"),
        (" 4006381333931", "must be digits"),
        ("٤٠٠٦٣٨١٣٣٣٩٣١", "must be digits"),
        ("810354020810X", "must be digits"),
    ],
)
def test_what_is_no_gtin_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        as_gtin(text)


@given(st.sampled_from(LENGTHS), st.integers(0, 10**13 - 1))
def test_of_ten_last_digits_only_the_check_digit_makes_a_gtin(length: int, number: int) -> None:
    digits = f"{number:013}"[1 - length :]
    right = ean.calc_check_digit(digits)
    for last in "0123456789":
        assert is_gtin((digits + last).zfill(14)) == (last == right)
    assert as_gtin(digits + right) == (digits + right).zfill(14)
    wrong = str((int(right) + 1) % 10)
    with pytest.raises(ValueError, match=f"which is {right}$"):
        as_gtin(digits + wrong)
