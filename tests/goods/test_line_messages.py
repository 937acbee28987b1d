"""Lines on the wire: each rule of the contract is checked, and told with the field's name and value."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.goods.baskets import GTINS, baskets
from tillmesh.api.type.v1.line_item_pb2 import Adjustment, LineItem, PriceOverride
from tillmesh.api.type.v1.tax_total_pb2 import TaxTotal
from tillmesh.lines import LINES_MAX, Kind, PriceSource, Unit, totals
from tillmesh.lines import LineItem as Line
from tillmesh.rpc import line_messages
from tillmesh.rpc.fields import VIOLATIONS_MAX, Fields
from tillmesh.rpc.line_messages import (
    adjustment_of,
    from_line_item,
    kind_of,
    order_lines,
    to_line_item,
    to_taxes,
    unit_of,
)
from tillmesh.runtime.errors import FieldViolation, Refusal
from tillmesh.runtime.money import MINOR_UNITS_MAX

DEVICE = "spiffe://tillmesh/device/store-1/lane-4"
PLATFORM = "spiffe://tillmesh/platform/web-shop"


def tea(**more: object) -> LineItem:
    return LineItem(**{"sku": "TEA", "title": "Tea", "quantity": 2, "unit_price_minor": 125, **more})  # type: ignore[arg-type]


def off(amount: int = -1, code: str = "COUPON", text: str = "") -> Adjustment:
    return Adjustment(reason_code=code, text=text, amount_minor=amount)


def read(*messages: LineItem, actor: str | None = None) -> tuple[Line, ...]:
    fields = Fields()
    lines, total = order_lines(fields, messages, prices_include_tax=True, actor=actor)
    fields.check()
    assert total == totals(lines, prices_include_tax=True)
    return lines


def violations(*messages: LineItem) -> list[FieldViolation]:
    with pytest.raises(Refusal) as raised:
        read(*messages)
    return list(raised.value.violations)


@given(baskets(), st.booleans())
def test_lines_arrive_as_they_were_sent(lines: list[Line], included: bool) -> None:
    messages = [LineItem.FromString(to_line_item(line).SerializeToString()) for line in lines]
    fields = Fields()
    checked, total = order_lines(fields, messages, prices_include_tax=included, actor=None)
    fields.check()
    assert checked == tuple(lines) == tuple(map(from_line_item, messages))
    assert total == totals(lines, prices_include_tax=included)
    assert [message.amount_minor for message in messages] == [line.amount_minor for line in lines]


def test_what_a_request_leaves_out_is_the_usual() -> None:
    assert read(tea()) == (Line("TEA", "Tea", 2, 125, Kind.GOODS, Unit.PIECE, 1, price_source=PriceSource.CATALOGUE),)
    assert [read(tea(unit=unit))[0].price_quantity for unit in LineItem.Unit.values()] == [1, 1, 1_000, 1_000, 1_000]
    assert read(tea(title=""))[0].title == ""


def test_nothing_is_unspecified_in_an_answer() -> None:
    message = to_line_item(Line("TEA", "", 1, 0))
    assert (message.kind, message.unit, message.price_source) == (
        LineItem.KIND_GOODS,
        LineItem.UNIT_PIECE,
        LineItem.PRICE_SOURCE_CATALOGUE,
    )
    assert message.HasField("amount_minor")
    assert not message.HasField("price_override")


OVERRIDDEN = tea(
    price_source=LineItem.PRICE_SOURCE_OVERRIDE,
    price_override=PriceOverride(reason="dented", actor=DEVICE, catalogue_price_minor=150),
)


def test_who_set_a_price_is_the_caller_unless_the_caller_is_believed() -> None:
    """A store terminal says who of its store did it."""
    for actor, shown in ((None, DEVICE), (PLATFORM, PLATFORM), ("", "")):
        (line,) = read(OVERRIDDEN, actor=actor)
        assert line.price_override
        assert (line.price_override.actor, line.price_override.reason) == (shown, "dented")
        assert line.price_override.catalogue_price_minor == 150


def test_a_price_may_be_another_without_a_reason_and_of_what_no_catalogue_has() -> None:
    (line,) = read(tea(price_source=LineItem.PRICE_SOURCE_OVERRIDE))
    assert line.price_override
    assert line.price_override.catalogue_price_minor is None
    assert not to_line_item(line).price_override.HasField("catalogue_price_minor")


def test_an_amount_that_a_request_gives_must_be_right() -> None:
    assert read(tea(amount_minor=250))[0].amount_minor == 250
    for said in (0, 251):
        assert violations(tea(amount_minor=said)) == [
            FieldViolation("lines[0].amount_minor", f"must be 250 or unset, was {said}")
        ]


LABEL = LineItem.PRICE_SOURCE_LABEL
RANGE = f"{MINOR_UNITS_MAX}, was"
BROKEN: list[tuple[LineItem, str, str]] = [
    (tea(sku=""), "sku", "must have 1 to 64 characters, had 0"),
    (tea(sku="x" * 65), "sku", "must have 1 to 64 characters, had 65"),
    (tea(sku="a\nb"), "sku", "must have no control characters"),
    (tea(title="x" * 257), "title", "must have 0 to 256 characters, had 257"),
    (tea(note="x" * 129), "note", "must have 0 to 128 characters, had 129"),
    (tea(note="a\x1bb"), "note", "must have no control characters"),
    (tea(gtin="4006381333931"), "gtin", "must be 14 digits with a right check digit, was '4006381333931'"),
    (tea(gtin="04006381333932"), "gtin", "must be 14 digits with a right check digit, was '04006381333932'"),
    (tea(gtin="0400638133393x"), "gtin", "must be 14 digits with a right check digit, was '0400638133393x'"),
    (tea(gtin="٠٤٠٠٦٣٨١٣٣٣٩٣١"), "gtin", "must be 14 digits with a right check digit, was '٠٤٠٠٦٣٨١٣٣٣٩٣١'"),
    (tea(quantity=0), "quantity", f"must be 1 to {RANGE} 0"),
    (tea(quantity=-1), "quantity", f"must be 1 to {RANGE} -1"),
    (tea(quantity=MINOR_UNITS_MAX + 1), "quantity", f"must be 1 to {RANGE} {MINOR_UNITS_MAX + 1}"),
    (tea(unit_price_minor=-1), "unit_price_minor", f"must be 0 to {RANGE} -1"),
    (tea(price_quantity=-1), "price_quantity", f"must be 1 to {RANGE} -1"),
    (tea(price_source=LABEL, quantity=1, label_amount_minor=-1), "label_amount_minor", f"must be 0 to {RANGE} -1"),
    (tea(label_amount_minor=1), "label_amount_minor", "must be 0 without PRICE_SOURCE_LABEL"),
    (
        tea(price_source=LABEL, quantity=3, label_amount_minor=500),
        "quantity",
        "of a label without a weight must be 1, was 3",
    ),
    (tea(price_source=99), "price_source", "must be a PriceSource, was 99"),
    (tea(kind=99), "kind", "must be a Kind, was 99"),
    (tea(unit=99), "unit", "must be a Unit, was 99"),
    (tea(tax_code="S T"), "tax_code", "must be at most 16 characters of A-Z a-z 0-9 . _ and -, was 'S T'"),
    (tea(tax_code="x" * 17), "tax_code", f"must be at most 16 characters of A-Z a-z 0-9 . _ and -, was {'x' * 17!r}"),
    (tea(tax_rate_ppm=-1), "tax_rate_ppm", "must be 0 to 1000000, was -1"),
    (tea(tax_rate_ppm=1_000_001), "tax_rate_ppm", "must be 0 to 1000000, was 1000001"),
    (tea(price_override=PriceOverride()), "price_override", "must be unset without PRICE_SOURCE_OVERRIDE"),
    (
        tea(price_source=LABEL, quantity=1, price_override=PriceOverride(reason="x")),
        "price_override",
        "must be unset without PRICE_SOURCE_OVERRIDE",
    ),
    (tea(adjustments=[off()] * 17), "adjustments", "must be at most 16, were 17"),
    (
        tea(adjustments=[off(code="two words")]),
        "adjustments[0].reason_code",
        "must be 1 to 32 characters of A-Z a-z 0-9 . _ and -, was 'two words'",
    ),
    (
        tea(adjustments=[off(), off(code="")]),
        "adjustments[1].reason_code",
        "must be 1 to 32 characters of A-Z a-z 0-9 . _ and -, was ''",
    ),
    (tea(adjustments=[off(text="x" * 129)]), "adjustments[0].text", "must have 0 to 128 characters, had 129"),
    (tea(adjustments=[off(0)]), "adjustments[0].amount_minor", "must not be 0"),
    (
        tea(adjustments=[off(MINOR_UNITS_MAX + 1), off(-MINOR_UNITS_MAX)]),
        "adjustments[0].amount_minor",
        f"must lie within ±{MINOR_UNITS_MAX}, was {MINOR_UNITS_MAX + 1}",
    ),
]


@pytest.mark.parametrize(("message", "field", "rule"), BROKEN)
def test_what_breaks_a_rule_is_named_with_its_value(message: LineItem, field: str, rule: str) -> None:
    assert violations(tea(), message) == [FieldViolation(f"lines[1].{field}", rule)]


@pytest.mark.parametrize(
    ("part", "value", "rule"),
    [
        ("reason", "x" * 129, "must have 0 to 128 characters, had 129"),
        ("reason", "\x1b", "must have no control characters"),
        ("actor", "x" * 257, "must have 0 to 256 characters, had 257"),
        ("catalogue_price_minor", -1, f"must be 0 to {RANGE} -1"),
        ("catalogue_price_minor", MINOR_UNITS_MAX + 1, f"must be 0 to {RANGE} {MINOR_UNITS_MAX + 1}"),
    ],
)
def test_an_override_has_rules_of_its_own(part: str, value: str | int, rule: str) -> None:
    message = tea(price_source=LineItem.PRICE_SOURCE_OVERRIDE)
    setattr(message.price_override, part, value)
    assert violations(message) == [FieldViolation(f"lines[0].price_override.{part}", rule)]


@pytest.mark.parametrize(
    ("message", "amount"),
    [
        (tea(adjustments=[off(-251)]), -1),
        (tea(adjustments=[off(-200), off(-200)]), -150),
        (tea(price_source=LABEL, quantity=1, label_amount_minor=5, adjustments=[off(-6)]), -1),
        (tea(quantity=2, unit_price_minor=MINOR_UNITS_MAX), 2 * MINOR_UNITS_MAX),
    ],
)
def test_a_line_comes_to_no_less_than_nothing_and_to_what_sums_can_be_made_of(message: LineItem, amount: int) -> None:
    rule = f"must come to 0 to {MINOR_UNITS_MAX}, came to {amount}"
    assert violations(message) == [FieldViolation("lines[0]", rule)]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = tea(sku="", quantity=0, gtin="1", tax_code="?", adjustments=[off(0)])
    assert {violation.field for violation in violations(wrong)} == {
        "lines[0].sku",
        "lines[0].quantity",
        "lines[0].gtin",
        "lines[0].tax_code",
        "lines[0].adjustments[0].amount_minor",
    }


def test_an_order_has_lines_and_not_too_many() -> None:
    assert violations() == [FieldViolation("lines", f"must be 1 to {LINES_MAX}, were 0")]
    assert len(read(*[tea()] * LINES_MAX)) == LINES_MAX
    assert violations(*[tea()] * (LINES_MAX + 1)) == [
        FieldViolation("lines", f"must be 1 to {LINES_MAX}, were {LINES_MAX + 1}")
    ]


def test_an_order_comes_to_what_fits() -> None:
    large = tea(quantity=1, unit_price_minor=MINOR_UNITS_MAX)
    assert read(large)[0].amount_minor == MINOR_UNITS_MAX
    assert violations(large, tea()) == [
        FieldViolation("lines", f"must come to at most {MINOR_UNITS_MAX}, came to {MINOR_UNITS_MAX + 250}")
    ]


@pytest.mark.parametrize("gtin", GTINS)
def test_a_gtin_with_the_right_check_digit_is_good(gtin: str) -> None:
    assert read(tea(gtin=gtin))[0].gtin == gtin


@pytest.mark.parametrize("gtin", [gtin for gtin in GTINS if gtin])
def test_of_ten_check_digits_one_is_right(gtin: str) -> None:
    def is_good(last: int) -> bool:
        fields = Fields()
        order_lines(fields, [tea(gtin=f"{gtin[:-1]}{last}")], prices_include_tax=True, actor=None)
        try:
            fields.check()
        except Refusal:
            return False
        return True

    assert [last for last in range(10) if is_good(last)] == [int(gtin[-1])]


@pytest.mark.parametrize(("parse", "names"), [(kind_of, list(Kind)), (unit_of, list(Unit))], ids=["kind", "unit"])
def test_what_nobody_says_is_left_to_the_catalogue(
    parse: Callable[[Fields, str, int], object], names: list[object]
) -> None:
    fields = Fields()
    assert [parse(fields, "x", number) for number in range(5)] == [None, *names]
    fields.check()


def test_an_adjustment_of_a_basket_has_the_same_rules() -> None:
    fields = Fields()
    adjustment_of(fields, "adjustment", off(0, code="", text="\n"))
    with pytest.raises(Refusal) as raised:
        fields.check()
    assert [violation.field for violation in raised.value.violations] == [
        "adjustment.reason_code",
        "adjustment.text",
        "adjustment.amount_minor",
    ]


def test_taxes_are_sent_with_net_tax_and_gross() -> None:
    lines = read(tea(tax_code="S", tax_rate_ppm=200_000), tea(tax_code="R", tax_rate_ppm=50_000))
    assert to_taxes(totals(lines, prices_include_tax=False).taxes) == [
        TaxTotal(tax_code="R", tax_rate_ppm=50_000, net_minor=250, tax_minor=13, gross_minor=263),
        TaxTotal(tax_code="S", tax_rate_ppm=200_000, net_minor=250, tax_minor=50, gross_minor=300),
    ]


def test_rubbish_is_refused_without_looking_at_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    check_line = line_messages.check_line

    def noting(fields: Fields, name: str, line: Line) -> bool:
        looked_at.append(name)
        return check_line(fields, name, line)

    monkeypatch.setattr(line_messages, "check_line", noting)
    with (
        pytest.raises(Refusal, match=r"lines\[0\].sku must have 1 to 64 characters, had 0; .* more"),
        Fields() as fields,
    ):
        order_lines(fields, [tea(sku="", quantity=0)] * LINES_MAX, prices_include_tax=True, actor=None)
    assert len(looked_at) == VIOLATIONS_MAX / 2
