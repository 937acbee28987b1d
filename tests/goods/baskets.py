"""Baskets as hypothesis makes them: all that a line may be."""

from typing import Any

from hypothesis import strategies as st

from tillmesh.lines import PPM, Adjustment, Kind, LineItem, PriceOverride, PriceSource, Unit, adjusted

GTINS = ("", "04006381333931", "05901234123457", "00012345678905", "10012345678902")
TITLES = ("", "Tea", "Brie de Meaux", "お茶", 'Zoë\'s "best" \\ 5 %')
NOTES = ("", "", "no onions", "お箸 x 2")
TAXES = (("", 0), ("", 70_000), ("A", 190_000), ("A", 200_000), ("B", 0), ("C", 88_750), ("D", PPM))
PIECES_MAX, PRICE_MAX = 99, 100_000


@st.composite
def adjustments(draw: st.DrawFn, amounts: st.SearchStrategy[int]) -> Adjustment:
    """A discount or a surcharge that is not 0."""
    return Adjustment(
        draw(st.sampled_from(["COUPON", "STAFF", "bag.fee"])),
        draw(st.sampled_from(TITLES)),
        draw(amounts.filter(lambda amount: amount != 0)),
    )


@st.composite
def sources(draw: st.DrawFn) -> dict[str, Any]:
    """Where a price comes from, with all that belongs to it."""
    source = draw(st.sampled_from(PriceSource))
    if source is PriceSource.LABEL:
        return {"price_source": source, "label_amount_minor": draw(st.integers(0, PRICE_MAX))}
    if source is PriceSource.OVERRIDE:
        catalogue = draw(st.none() | st.integers(0, PRICE_MAX))
        actor = draw(st.sampled_from(["", "spiffe://tillmesh/device/store-1/lane-4"]))
        return {
            "price_source": source,
            "price_override": PriceOverride(draw(st.sampled_from(TITLES)), actor, catalogue),
        }
    return {}


@st.composite
def items(draw: st.DrawFn) -> LineItem:
    """A valid line."""
    unit = draw(st.sampled_from(Unit))
    in_pieces = unit is Unit.PIECE
    tax_code, tax_rate_ppm = draw(st.sampled_from(TAXES))
    source = draw(sources())
    pieces_max = 1 if source.get("price_source") is PriceSource.LABEL else PIECES_MAX
    line = LineItem(
        sku=draw(st.sampled_from(["TEA", "85123A", "brie.de-meaux"])),
        title=draw(st.sampled_from(TITLES)),
        quantity=draw(st.integers(1, pieces_max if in_pieces else 50_000)),
        unit_price_minor=draw(st.integers(0, PRICE_MAX)),
        kind=draw(st.sampled_from(Kind)),
        unit=unit,
        price_quantity=draw(st.sampled_from((1, 3, 6) if in_pieces else (100, 1_000, 10_000))),
        gtin=draw(st.sampled_from(GTINS)),
        tax_code=tax_code,
        tax_rate_ppm=tax_rate_ppm,
        note=draw(st.sampled_from(NOTES)),
        **source,
    )
    for _ in range(draw(st.integers(0, 2))):
        amounts = st.integers(-line.amount_minor, PRICE_MAX)
        line = adjusted(line, draw(adjustments(amounts)))
    return line


def baskets(size_max: int = 6) -> st.SearchStrategy[list[LineItem]]:
    """Some lines."""
    return st.lists(items(), min_size=1, max_size=size_max)
