"""Lines in a database, and what a history's chain covers of them."""

import json
from hashlib import sha256

import pytest
from hypothesis import given

from tests.goods.baskets import baskets
from tillmesh.line_rows import SALT_BYTES, content_hash, erasable, from_rows, from_text, to_rows, to_text
from tillmesh.lines import Adjustment, Kind, LineItem, PriceOverride, PriceSource, Unit

SALT = bytes(range(SALT_BYTES))
PLAIN = LineItem("TEA", "Tea", 2, 125)
FULL = LineItem(
    sku="BRIE",
    title="Brie de Meaux",
    quantity=432,
    unit_price_minor=1_190,
    kind=Kind.GOODS,
    unit=Unit.GRAM,
    price_quantity=1_000,
    gtin="04006381333931",
    tax_code="R",
    tax_rate_ppm=70_000,
    price_source=PriceSource.OVERRIDE,
    price_override=PriceOverride("Zoë is a regular", "spiffe://tillmesh/device/store-1/lane-4", 1_290),
    label_amount_minor=0,
    adjustments=(Adjustment("COUPON", "for Ada", -50),),
    note="cut thin",
)
CHANGES: dict[str, object] = {
    "sku": "BRIE2",
    "title": "Brie",
    "quantity": 433,
    "unit_price_minor": 1_191,
    "kind": Kind.SERVICE,
    "unit": Unit.MILLILITER,
    "price_quantity": 100,
    "gtin": "",
    "tax_code": "S",
    "tax_rate_ppm": 70_001,
    "price_source": PriceSource.LABEL,
    "price_override": None,
    "label_amount_minor": 1,
    "adjustments": (),
    "note": "cut thick",
}
PARTS = {
    "override's reason": FULL._replace(
        price_override=PriceOverride("", "spiffe://tillmesh/device/store-1/lane-4", 1_290)
    ),
    "override's actor": FULL._replace(price_override=PriceOverride("Zoë is a regular", "", 1_290)),
    "catalogue's price": FULL._replace(
        price_override=PriceOverride("Zoë is a regular", "spiffe://tillmesh/device/store-1/lane-4", None)
    ),
    "adjustment's code": FULL._replace(adjustments=(Adjustment("STAFF", "for Ada", -50),)),
    "adjustment's text": FULL._replace(adjustments=(Adjustment("COUPON", "for Bob", -50),)),
    "adjustment's amount": FULL._replace(adjustments=(Adjustment("COUPON", "for Ada", -51),)),
    "two adjustments": FULL._replace(adjustments=FULL.adjustments * 2),
}


@given(baskets())
def test_lines_come_out_of_a_database_as_they_went_in(lines: list[LineItem]) -> None:
    text = to_text(lines)
    assert from_text(text) == tuple(lines)
    assert to_rows(lines) == json.loads(text) == json.loads(json.dumps(to_rows(lines)))


def test_an_order_of_usual_lines_is_small() -> None:
    assert len(to_text([PLAIN] * 100)) < 100 * 60


def test_a_note_is_stored_only_where_there_is_one_and_rows_without_it_are_read() -> None:
    for line in (PLAIN, FULL._replace(note="")):
        (row,), (noted,) = to_rows([line]), to_rows([line._replace(note="with milk")])
        assert noted == [*row, "with milk"]
        assert from_rows([row, noted]) == (line, line._replace(note="with milk"))


def test_a_hash_covers_every_field_of_a_line() -> None:
    assert CHANGES.keys() == set(LineItem._fields)
    changed = [FULL._replace(**{name: value}) for name, value in CHANGES.items()]  # type: ignore[arg-type]
    versions = [
        [FULL],
        [],
        [FULL, FULL],
        [FULL, PLAIN],
        [PLAIN, FULL],
        *([line] for line in (*changed, *PARTS.values())),
    ]
    assert len({content_hash(lines, [], SALT) for lines in versions}) == len(versions)


def test_a_hash_covers_what_stands_beside_the_lines() -> None:
    others: list[list[str | bool]] = [
        [],
        [True],
        [False],
        [""],
        ["ada"],
        ["ada", ""],
        ["", "ada"],
        ["ada", True],
        ["bob", True],
    ]
    assert len({content_hash([PLAIN], each, SALT) for each in others}) == len(others)


def test_what_a_hash_covers_is_fixed() -> None:
    """Worked out by hand, with sha256: whoever kept a digest keeps it for years."""

    def hidden(text: str) -> str:
        return sha256(SALT + text.encode()).hexdigest()

    actor = "spiffe://tillmesh/device/store-1/lane-4"
    full = ["BRIE", hidden("Brie de Meaux"), 432, 1190, "GOODS", "GRAM", 1000, "04006381333931", "R", 70000, "OVERRIDE"]
    full += [[hidden("Zoë is a regular"), actor, 1290], 0, [["COUPON", hidden("for Ada"), -50]], hidden("cut thin")]
    plain = ["TEA", hidden("Tea"), 2, 125, "GOODS", "PIECE", 1, "", "", 0]
    noted = [*plain, hidden("with milk")]
    content = json.dumps([[full, plain, noted], [True, hidden("cashier 7"), ""]], separators=(",", ":"))
    assert (
        content_hash([FULL, PLAIN, PLAIN._replace(note="with milk")], [True, "cashier 7", ""], SALT)
        == sha256(content.encode()).digest()
    )
    for text in ("Brie", "Tea", "Zo", "Ada", "cashier", "thin", "milk"):
        assert text not in content


def test_a_guess_of_an_erased_text_cannot_be_tried_without_its_salt() -> None:
    """The chain goes on with the hash itself, which nobody has to make again."""
    was = content_hash([FULL], ["cashier 7"], SALT)
    assert content_hash([FULL], ["cashier 7"], SALT) == was
    assert content_hash([FULL], ["cashier 7"], SALT[::-1]) != was


@pytest.mark.parametrize("text", ["Tea", "Zoë", "x" * 10_000])
def test_an_erasable_text_shows_nothing_but_that_there_is_one(text: str) -> None:
    hide = erasable(SALT)
    assert hide("") == ""
    assert len(hide(text)) == 64
    assert hide(text) == hide(text) != erasable(bytes(SALT_BYTES))(text)
