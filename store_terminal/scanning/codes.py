"""Reads what a scanner sent. Pure: a text in, what it says out.

No refusal of a text that cannot be read repeats anything of it: it may be a pay code that was misread. Nor does one of
an article that nobody knows, where the text begins as pay codes do.
"""

import re

from biip import ParseError
from biip.upc import Upc

from store_terminal.errors import Reason
from store_terminal.scanning import gs1
from store_terminal.scanning.model import ArticleScan, PayCodeScan, ReceiptScan, Scan
from tillmesh import paycode, receipt_code
from tillmesh.gtin import LENGTH, LENGTHS, is_gtin
from tillmesh.runtime.secret import Secret

_AROUND = " \t\r\n"
"""What scanners send before or after a code. FNC1 is none of it."""
_IDENTIFIER = re.compile(r"\](?P<name>[A-Za-z][0-9A-Za-z])")
_DIGITS = re.compile(r"[0-9]+")
_LINK = re.compile(r"https?://", re.IGNORECASE)
_OF_ELEMENTS = ("C1", "e0", "d2", "Q3", "J1")
"""Symbologies that carry element strings: GS1-128, DataBar, DataMatrix, QR Code, DotCode."""
_EAN_13, _EAN_13_AND_ADD_ON, _EAN_8 = "E0", "E3", "E4"
_EAN_13_DIGITS, _EAN_8_DIGITS, _ADD_ON_DIGITS = 13, 8, (2, 5)
_UPC_E_DIGITS = (6, 8)
_ADD_ON = re.compile(r"\]E[12][0-9]{2,5}")


def read(text: str, year: int) -> Scan:
    """What a scanned text says; raises why it cannot be read. `year` is the current one, for dates of six digits."""
    text = text.strip(_AROUND)
    symbology = ""
    if text.startswith("]"):
        if not (found := _IDENTIFIER.match(text)):
            raise gs1.unreadable("it begins with ], and no symbology identifier follows")
        symbology, text = found["name"], _without_add_on(text[found.end() :])
    if paycode.parse(Secret(text.encode())):
        return PayCodeScan()
    if receipt := receipt_code.parse(text):
        return ReceiptScan(receipt.order_id)
    if _LINK.match(text):
        return gs1.article(gs1.link(text), year)
    if symbology in _OF_ELEMENTS or gs1.FNC1 in text:
        return gs1.article(gs1.elements(text), year)
    if not _DIGITS.fullmatch(text):
        raise gs1.unreadable("it is neither digits, nor GS1 element strings, nor a GS1 Digital Link")
    return ArticleScan(_gtin(_ean(symbology, text)), like_pay_code=text.startswith(paycode.PREFIX))


def _without_add_on(text: str) -> str:
    digits, bracket, rest = text.partition("]")
    return digits if _ADD_ON.fullmatch(bracket + rest) else text


def _ean(symbology: str, digits: str) -> str:
    """The digits of a GTIN, by the symbology that they come from.

    ISO/IEC 15424 sends EAN-13, UPC-A and UPC-E under ]E0 as 13 digits, and EAN-8 under ]E4. Scanners may be set to
    leave the zeros away, or not to expand UPC-E: so ]E0 with 12 digits is UPC-A, and with 6 or 8 digits it is UPC-E,
    as an EAN-8 would come under ]E4. Without an identifier 8 digits are a GTIN-8. An add-on, such as the issue of a
    magazine, stands after the digits under ]E3, or follows under ]E1 or ]E2; it is no part of the GTIN.
    """
    if symbology == _EAN_13_AND_ADD_ON and len(digits) - _EAN_13_DIGITS in _ADD_ON_DIGITS:
        return digits[:_EAN_13_DIGITS]
    if symbology == _EAN_13 and len(digits) in _UPC_E_DIGITS:
        return _upc_a(digits)
    if symbology == _EAN_8 and len(digits) != _EAN_8_DIGITS:
        raise Reason.CODE_LENGTH_WRONG(length=len(digits))
    return digits


def _upc_a(digits: str) -> str:
    """A UPC-E of 8 digits, or of the 6 without number system (0 then) and check digit, as UPC-A."""
    if len(digits) == max(_UPC_E_DIGITS) and digits[0] not in "01":
        raise gs1.unreadable("its symbology identifier says UPC-E, which begins with 0 or 1")
    try:
        return Upc.parse(digits).as_upc_a()
    except ParseError:
        raise Reason.CHECK_DIGIT_WRONG(what="the code") from None


def _gtin(digits: str) -> str:
    if len(digits) == paycode.DIGITS and digits.startswith(paycode.PREFIX):
        raise Reason.CHECK_DIGIT_WRONG(what="the code")  # a pay code that was misread
    if len(digits) not in LENGTHS:
        raise Reason.CODE_LENGTH_WRONG(length=len(digits))
    gtin = digits.zfill(LENGTH)
    if not is_gtin(gtin):
        raise Reason.CHECK_DIGIT_WRONG(what="the code")
    return gtin
