"""GTINs (GS1 General Specifications): what a barcode of 8, 12, 13 or 14 digits says, as 14 digits.

Zeros in front say nothing: a UPC-A, the same as EAN-13 and as GTIN-14 are one article. UPC-E is another code, which
only its symbology tells from a GTIN-8.
"""

import re

LENGTH = 14
LENGTHS = (8, 12, 13, 14)
_DIGITS = re.compile(r"[0-9]+")
_GTIN = re.compile(rf"[0-9]{{{LENGTH}}}")
_OF_ZEROS = (3 * 7 + 7) * ord("0")


def is_gtin(text: str) -> bool:
    """True for 14 digits of which the last is the check digit."""
    return bool(_GTIN.fullmatch(text)) and _weighed(text) % 10 == 0


def as_gtin(text: str) -> str:
    """The GTIN of 14 digits; ValueError says why the text is none."""
    if not _DIGITS.fullmatch(text):
        raise ValueError("must be digits")
    if len(text) not in LENGTHS:
        raise ValueError(f"must have 8, 12, 13 or 14 digits, has {len(text)}")
    gtin = text.zfill(LENGTH)
    if left := _weighed(gtin) % 10:
        raise ValueError(f"must have a right check digit, which is {(int(text[-1]) - left) % 10}")
    return gtin


def _weighed(digits: str) -> int:
    """The sum of 14 digits, which count 3 and 1 in turn. An order has thousands of them: this takes a microsecond."""
    values = digits.encode()
    return 3 * sum(values[::2]) + sum(values[1::2]) - _OF_ZEROS
