"""What a scanned text says: every form of a code, what is refused and why, and that nothing else ever comes out."""

from collections.abc import Sequence
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import ean, luhn

from store_terminal.scanning.codes import read
from store_terminal.scanning.model import ArticleScan, ImpliedDecimal, InStoreCodeRule, PayCodeScan, ReceiptScan, Value
from store_terminal.scanning.rules import in_store_reading
from tillmesh import receipt_code
from tillmesh.gtin import is_gtin
from tillmesh.runtime.errors import Refusal

YEAR = 2026
FNC1 = "\x1d"
EAN, GTIN = "4006381333931", "04006381333931"
PAY_CODE = "27123456789876543212"
RECEIPT = receipt_code.make("7K3M-9Q2X-VB4T", "till-1", 9, bytes(32))


def reason_of(text: str) -> str:
    with pytest.raises(Refusal) as refused:
        read(text, YEAR)
    assert len(text) < 4 or text not in str(refused.value)
    return refused.value.reason


@pytest.mark.parametrize(
    ("text", "gtin"),
    [
        (EAN, GTIN),
        ("810354020810", "00810354020810"),
        ("0810354020810", "00810354020810"),
        ("00810354020810", "00810354020810"),
        ("96385074", "00000096385074"),
        (f"]E0{EAN}", GTIN),
        (f"]E0{EAN}\r\n", GTIN),
        ("]E0810354020810", "00810354020810"),
        ("]E496385074", "00000096385074"),
        (f"]C0{EAN}", GTIN),
        (f"]d1{EAN}", GTIN),
        (f"]Q1{EAN}", GTIN),
        (f"]I1{GTIN}", GTIN),
        (f"]E3{EAN}12", GTIN),
        (f"]E3{EAN}12345", GTIN),
        (f"]E0{EAN}]E212345", GTIN),
        ("]E496385074]E112", "00000096385074"),
        ("]E004252614", "00042100005264"),  # UPC-E 425261 with number system 0 and check digit 4
        ("]E0425261", "00042100005264"),
        ("]E00042100005264", "00042100005264"),
        (f"]C101{GTIN}", GTIN),
        (f"]e001{GTIN}", GTIN),
        (f"]d201{GTIN}", GTIN),
        (f"]Q301{GTIN}", GTIN),
        (f"]J101{GTIN}", GTIN),
        (f"{FNC1}01{GTIN}", GTIN),
        (f"https://id.gs1.org/01/{GTIN}", GTIN),
        (f"HTTPS://ID.GS1.ORG/01/{GTIN}", GTIN),
        (f"https://shop.example/some/01/{EAN}/10/LOT%2F1?linkType=all", GTIN),
        (f"]Q1https://id.gs1.org/01/{GTIN}/21/1", GTIN),
    ],
)
def test_an_article_is_known_by_every_form_of_its_code(text: str, gtin: str) -> None:
    assert read(text, YEAR) == ArticleScan(gtin)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"]C101{GTIN}3103001250", {"kilograms": ImpliedDecimal(1250, 3)}),
        (f"]C101{GTIN}3922265", {"amount": ImpliedDecimal(265, 2)}),
        (
            f"]C101{GTIN}3922265{FNC1}3103001250",
            {"amount": ImpliedDecimal(265, 2), "kilograms": ImpliedDecimal(1250, 3)},
        ),
        (f"]C101{GTIN}3932826265", {"amount": ImpliedDecimal(265, 2), "currency_number": "826"}),
        (f"]d201{GTIN}10LOT-1{FNC1}15261231", {"best_before": date(2026, 12, 31)}),
        (f"]d201{GTIN}17280200", {"use_by": date(2028, 2, 29)}),
        (f"{FNC1}01{GTIN}{FNC1}15261231{FNC1}21SERIAL{FNC1}", {"best_before": date(2026, 12, 31)}),
        (f"]C102{GTIN}3712", {"pieces": 12}),
        (f"]C101{GTIN}3712", {}),  # AI 37 belongs to AI 02
        (
            f"https://id.gs1.org/01/{GTIN}?3103=001250&3932=978265&15=261231&17=270101",
            {
                "kilograms": ImpliedDecimal(1250, 3),
                "amount": ImpliedDecimal(265, 2),
                "currency_number": "978",
                "best_before": date(2026, 12, 31),
                "use_by": date(2027, 1, 1),
            },
        ),
    ],
)
def test_element_strings_say_weight_amount_and_dates(text: str, said: dict[str, object]) -> None:
    assert read(text, YEAR) == ArticleScan(GTIN, **said)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("digits", "year", "day"),
    [
        ("770101", 2026, date(1977, 1, 1)),
        ("760101", 2026, date(2076, 1, 1)),
        ("000101", 2050, date(2100, 1, 1)),
        ("000101", 2049, date(2000, 1, 1)),
        ("490101", 2000, date(2049, 1, 1)),
    ],
)
def test_the_century_of_a_date_is_the_nearest(digits: str, year: int, day: date) -> None:
    read_then = read(f"]C101{GTIN}15{digits}", year)
    assert isinstance(read_then, ArticleScan)
    assert read_then.best_before == day


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("4006381333932", "CHECK_DIGIT_WRONG"),
        ("]E04006381333932", "CHECK_DIGIT_WRONG"),
        ("]E004252615", "CHECK_DIGIT_WRONG"),
        ("2000000114906", "CHECK_DIGIT_WRONG"),
        (f"]C101{GTIN[:-1]}2", "CHECK_DIGIT_WRONG"),
        ("https://id.gs1.org/01/04006381333932", "CHECK_DIGIT_WRONG"),
        ("7268033", "CODE_LENGTH_WRONG"),
        ("425261", "CODE_LENGTH_WRONG"),  # UPC-E without an identifier that says so
        ("37212000368", "CODE_LENGTH_WRONG"),
        (f"01{GTIN}", "CODE_LENGTH_WRONG"),  # nothing says that these are element strings
        ("]E04252614", "CODE_LENGTH_WRONG"),
        (f"]E4{EAN}", "CODE_LENGTH_WRONG"),
        ("]E096385074", "CODE_UNREADABLE"),
        ("", "CODE_UNREADABLE"),
        ("]", "CODE_UNREADABLE"),
        ("]C1", "CODE_UNREADABLE"),
        ("]E112", "CODE_LENGTH_WRONG"),
        ("ABC-123", "CODE_UNREADABLE"),
        ("４００６３８１３３３９３１", "CODE_UNREADABLE"),
        ("4006381 333931", "CODE_UNREADABLE"),
        (f"]C1{EAN}", "CODE_UNREADABLE"),
        (f"]C1{FNC1}10LOT", "CODE_UNREADABLE"),
        (f"]C101{GTIN}10{'X' * 21}", "CODE_UNREADABLE"),
        (f"]C101{GTIN}02{GTIN}", "CODE_UNREADABLE"),
        (f"]C101{GTIN}3103001250{FNC1}3102001250", "CODE_UNREADABLE"),
        (f"]C101{GTIN}3922265{FNC1}3932826265", "CODE_UNREADABLE"),
        (f"]C101{GTIN}15261232", "CODE_UNREADABLE"),
        (f"]C101{GTIN}15260231", "CODE_UNREADABLE"),
        (f"]C101{GTIN}15000000", "CODE_UNREADABLE"),
        (f"]C101{GTIN}10A{FNC1}10B", "CODE_UNREADABLE"),
        (f"]C101{GTIN}310300125", "CODE_UNREADABLE"),
        (f"]C1https{GTIN}", "CODE_UNREADABLE"),
        ("https://id.gs1.org/", "CODE_UNREADABLE"),
        ("https://[", "CODE_UNREADABLE"),
        ("https://id.gs1.org/01/%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1", "CODE_UNREADABLE"),
        ("https://id.gs1.org/414/4006381333931", "CODE_UNREADABLE"),
        (f"https://id.gs1.org/01/{GTIN}?3103=000500&3103=001000", "CODE_UNREADABLE"),
        (f"https://id.gs1.org/01/{GTIN}?3103=000500&%33103=001000", "CODE_UNREADABLE"),
        (f"https://id.gs1.org/01/{GTIN}?17=270131&17=", "CODE_UNREADABLE"),
        (f"https://id.gs1.org/01/{GTIN}?17=", "CODE_UNREADABLE"),
        (f"https://id.gs1.org/01/{GTIN}?17", "CODE_UNREADABLE"),
        (f"]C102{GTIN}", "CODE_UNREADABLE"),  # nothing says how many are in the package
    ],
)
def test_a_code_that_is_none_says_why(text: str, reason: str) -> None:
    assert reason_of(text) == reason


@pytest.mark.parametrize("text", [PAY_CODE, f"]C0{PAY_CODE}", f"]Q1{PAY_CODE}\r\n", f"]C1{PAY_CODE}"])
def test_a_pay_code_is_known_whatever_it_was_printed_as(text: str) -> None:
    assert read(text, YEAR) == PayCodeScan()


def test_a_receipt_is_known() -> None:
    assert read(f"]Q1{RECEIPT}", YEAR) == ReceiptScan("7K3M-9Q2X-VB4T")
    assert reason_of(RECEIPT[:-1]) == "CODE_UNREADABLE"


@given(st.integers(0, 19), st.integers(0, 9), st.sampled_from(["", "]C0", "]Q1", "]C1"]))
def test_a_pay_code_with_a_wrong_digit_is_told_to_nobody(position: int, digit: int, symbology: str) -> None:
    misread = f"{PAY_CODE[:position]}{digit}{PAY_CODE[position + 1 :]}"
    if misread != PAY_CODE:
        assert not luhn.is_valid(misread)
        with pytest.raises(Refusal) as refused:
            read(symbology + misread, YEAR)
        said = f"{refused.value} {refused.value.metadata} {refused.value.violations}"
        assert not any(misread[start : start + 4] in said for start in range(17))


NAMED = {"CODE_UNREADABLE", "CODE_LENGTH_WRONG", "CHECK_DIGIT_WRONG"}
DIGITS = st.text("0123456789", max_size=40)
PREFIXES = st.sampled_from(["", "]C1", "]d2", "]E0", "]E3", "]E4", "]Q3", FNC1, "]", "http://", "https://x/01/"])
TEXTS = st.one_of(
    st.text(max_size=512),
    st.builds("".join, st.tuples(PREFIXES, st.text(f"0123456789{FNC1}]/?=&%ABCab", max_size=100))),
    st.builds("".join, st.tuples(PREFIXES, st.sampled_from(["", "01", "02"]), st.just(GTIN), DIGITS)),
)


@given(TEXTS, st.integers(2000, 2099))
def test_any_text_is_read_or_refused_by_name(text: str, year: int) -> None:
    reason = ""
    try:
        scan = read(text, year)
    except Refusal as refusal:
        reason, scan = refusal.reason, None
    assert scan is not None or reason in NAMED
    assert not isinstance(scan, ArticleScan) or is_gtin(scan.gtin)


@given(st.text("0123456789", min_size=8, max_size=14))
def test_plain_digits_are_an_article_exactly_if_they_are_a_gtin(digits: str) -> None:
    if len(digits) in (8, 12, 13, 14) and ean.is_valid(digits):
        assert read(digits, YEAR) == ArticleScan(digits.zfill(14))
    else:
        assert reason_of(digits) in ("CODE_LENGTH_WRONG", "CHECK_DIGIT_WRONG")


BODIES = st.integers(0, 10**13 - 1).map(lambda number: f"{number:013}")
GTINS = BODIES.map(lambda body: body + ean.calc_check_digit(body))
DAYS = st.dates(date(2000, 1, 1), date(2075, 12, 31))
LOTS = st.text("ABCxyz0123456789-./", min_size=1, max_size=20)


@given(
    GTINS,
    st.none() | st.tuples(st.integers(0, 999_999), st.integers(0, 5)),
    st.none() | st.tuples(st.integers(0, 10**15 - 1), st.integers(0, 9), st.sampled_from(["", "826", "978"])),
    st.none() | DAYS,
    st.none() | DAYS,
    st.none() | LOTS,
    st.randoms(),
)
def test_element_strings_built_from_parts_say_these_parts(
    gtin: str,
    weight: tuple[int, int] | None,
    amount: tuple[int, int, str] | None,
    best_before: date | None,
    use_by: date | None,
    lot: str | None,
    rng: object,
) -> None:
    parts = [("01", gtin)]
    if weight:
        parts.append((f"310{weight[1]}", f"{weight[0]:06}"))
    if amount:
        parts.append((f"39{3 if amount[2] else 2}{amount[1]}", f"{amount[2]}{amount[0]}"))
    parts += [(ai, f"{day:%y%m%d}") for ai, day in (("15", best_before), ("17", use_by)) if day]
    parts += [("10", lot)] if lot else []
    rng.shuffle(parts)  # type: ignore[attr-defined]
    says = ArticleScan(
        gtin,
        kilograms=ImpliedDecimal(*weight) if weight else None,
        amount=ImpliedDecimal(*amount[:2]) if amount else None,
        currency_number=amount[2] if amount else "",
        best_before=best_before,
        use_by=use_by,
    )
    assert read("]C1" + FNC1.join(ai + value for ai, value in parts), YEAR) == says
    query = "&".join(f"{ai}={value.replace('/', '%2F')}" for ai, value in parts if ai != "01")
    assert read(f"https://id.gs1.org/01/{gtin}?{query}", YEAR) == says


RULES: Sequence[InStoreCodeRule] = (
    InStoreCodeRule("21", 13, Value.QUANTITY, 3, 5, 8, 5),
    InStoreCodeRule("02", 13, Value.AMOUNT, 3, 5, 8, 5),
    InStoreCodeRule("2", 13, Value.WHOLE_CODE),
    InStoreCodeRule("2801", 13, Value.AMOUNT, 5, 3, 9, 4, 1, price_check_position=8),
    InStoreCodeRule("29", 13, Value.AMOUNT, 3, 4, 8, 5, -1, price_check_position=7),
    InStoreCodeRule("2", 8, Value.AMOUNT, 2, 2, 4, 4),
)


def with_check(body: str) -> str:
    return body + ean.calc_check_digit(body)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("2100001027506", ("00001", 2_750, None)),
        ("0212345002650", ("12345", None, 265)),
        ("212345002650", ("12345", None, 265)),  # of 12 digits: read with a 0 in front
        ("00212345002650", ("12345", None, 265)),
        (with_check("250000000000"), ("", None, None)),
        (with_check("2801" + "777" + "9" + "2875"), ("777", None, 28_750)),  # the check digit of 2875 is 9
        (with_check("29" + "4444" + "8" + "14680"), ("4444", None, 1_468)),
        (with_check("2770150"), ("77", None, 150)),
    ],
)
def test_an_in_store_code_is_read_by_the_rule_of_its_longest_prefix(
    code: str, said: tuple[str, int | None, int | None]
) -> None:
    reading = in_store_reading(code.zfill(14), RULES)
    assert reading is not None
    assert (reading.sku, reading.quantity, reading.amount_minor) == said


def test_a_price_with_a_wrong_check_digit_or_with_parts_of_a_penny_is_refused() -> None:
    for body, reason in (("280177712875", "CHECK_DIGIT_WRONG"), ("294444614685", "CODE_UNREADABLE")):
        with pytest.raises(Refusal) as refused:
            in_store_reading(with_check(body).zfill(14), RULES)
        assert refused.value.reason == reason


@pytest.mark.parametrize("code", ["0231566199093", "231566199093", "2000000000008"])
def test_an_in_store_code_without_a_rule_says_nothing(code: str) -> None:
    with pytest.raises(Refusal) as refused:
        in_store_reading(code.zfill(14), ())
    assert refused.value.reason == "RULE_MISSING"
    assert "02" in refused.value.text or "20" in refused.value.text


@pytest.mark.parametrize("gtin", [GTIN, "12100001027503", "00000020848378", "00000096385074", "00042100005264"])
def test_what_is_no_in_store_code_is_a_gtin_of_the_catalogue(gtin: str) -> None:
    assert is_gtin(gtin)
    assert in_store_reading(gtin, ()) is None
