"""Articles and imports on the wire."""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from store_terminal.catalogue.model import CatalogueImport, CatalogueItem, PricePeriod, overlap
from tillmesh.api.terminal.v1 import catalogue_import_pb2, catalogue_item_pb2
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.gtin import as_gtin
from tillmesh.lines import Kind, Unit, default_price_quantity
from tillmesh.rpc.fields import Fields, shown
from tillmesh.rpc.line_messages import SKU_MAX, TITLE_MAX, kind_of, tax, unit_of
from tillmesh.rpc.messages import to_money, to_timestamp
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money

ITEMS_MAX = 1000
GTINS_MAX = 16
PERIODS_MAX = 16
AGE_MAX = 99
SECONDS_MAX = 253_402_300_799  # the end of the year 9999, as of every Timestamp


def to_item(item: CatalogueItem) -> catalogue_item_pb2.CatalogueItem:
    """An article."""
    return catalogue_item_pb2.CatalogueItem(
        sku=item.sku,
        gtins=item.gtins,
        title=item.title,
        kind=LineItem.Kind.Value(f"KIND_{item.kind}"),
        unit=LineItem.Unit.Value(f"UNIT_{item.unit}"),
        unit_price=to_money(item.unit_price),
        price_quantity=item.price_quantity,
        tax_code=item.tax_code,
        tax_rate_ppm=item.tax_rate_ppm,
        price_periods=[_to_period(period, item.unit_price.currency) for period in item.price_periods],
        minimum_age_years=item.minimum_age_years,
        deposit_sku=item.deposit_sku,
    )


def to_import(told: CatalogueImport) -> catalogue_import_pb2.CatalogueImport:
    """An import."""
    return catalogue_import_pb2.CatalogueImport(
        import_id=told.import_id,
        replace_all=told.replace_all,
        state=catalogue_import_pb2.CatalogueImport.State.Value(f"STATE_{told.state}"),
        part_count=told.part_count,
        item_count=told.item_count,
        checked_item_count=told.checked_count,
        violations=[
            catalogue_import_pb2.CatalogueViolation(sku=each.sku, field=each.field, description=each.description)
            for each in told.violations
        ],
        create_time=to_timestamp(told.created_at_ms),
        update_time=to_timestamp(told.updated_at_ms),
    )


def catalogue_items(fields: Fields, messages: Sequence[catalogue_item_pb2.CatalogueItem]) -> list[CatalogueItem]:
    """Articles off the wire, each sku and each GTIN once."""
    fields.require(1 <= len(messages) <= ITEMS_MAX, "items", f"must be 1 to {ITEMS_MAX}, were {len(messages)}")
    items: dict[str, CatalogueItem] = {}
    owners: dict[str, str] = {}
    for index, message in enumerate(messages[:ITEMS_MAX]):
        name = f"items[{index}]"
        if message.sku in items:
            fields.require(False, f"{name}.sku", f"must be there once, {shown(message.sku)} came before")
        item = items[message.sku] = _item(fields, name, message)
        for position, gtin in enumerate(item.gtins):
            if gtin in owners:
                rule = f"must be there once, {gtin} of {shown(owners[gtin])} came before"
                fields.require(False, f"{name}.gtins[{position}]", rule)
            owners[gtin] = item.sku
    return list(items.values())


def _item(fields: Fields, name: str, message: catalogue_item_pb2.CatalogueItem) -> CatalogueItem:
    unit = unit_of(fields, name, message.unit) or Unit.PIECE
    kind = kind_of(fields, name, message.kind) or Kind.GOODS
    price_quantity = message.price_quantity or default_price_quantity(unit)
    _within(fields, f"{name}.price_quantity", price_quantity, 1, MINOR_UNITS_MAX)
    _within(fields, f"{name}.minimum_age_years", message.minimum_age_years, 0, AGE_MAX)
    tax(fields, name, message.tax_code, message.tax_rate_ppm)
    unit_price = fields.money(f"{name}.unit_price", message.unit_price, minimum=0)
    if message.deposit_sku:
        fields.text(f"{name}.deposit_sku", message.deposit_sku, length_max=SKU_MAX)
        by_piece = unit is Unit.PIECE and kind is not Kind.DEPOSIT
        rule = "must be empty for what is not sold by the piece, or is a deposit itself"
        fields.require(by_piece, f"{name}.deposit_sku", rule, message.deposit_sku)
    return CatalogueItem(
        sku=fields.text(f"{name}.sku", message.sku, length_min=1, length_max=SKU_MAX),
        gtins=_gtins(fields, f"{name}.gtins", message.gtins),
        title=fields.text(f"{name}.title", message.title, length_max=TITLE_MAX),
        kind=kind,
        unit=unit,
        unit_price=unit_price,
        price_quantity=price_quantity,
        price_periods=_periods(fields, f"{name}.price_periods", message.price_periods, unit_price.currency),
        tax_code=message.tax_code,
        tax_rate_ppm=message.tax_rate_ppm,
        minimum_age_years=message.minimum_age_years,
        deposit_sku=message.deposit_sku,
    )


def gtin_of(fields: Fields, name: str, text: str) -> str:
    """A GTIN as 14 digits."""
    try:
        return as_gtin(text)
    except ValueError as error:
        fields.require(False, name, str(error), text)
        return text


def _gtins(fields: Fields, name: str, texts: Sequence[str]) -> tuple[str, ...]:
    fields.require(len(texts) <= GTINS_MAX, name, f"must be at most {GTINS_MAX}, were {len(texts)}")
    gtins = [gtin_of(fields, f"{name}[{index}]", text) for index, text in enumerate(texts[:GTINS_MAX])]
    return tuple(gtins)


def _periods(
    fields: Fields, name: str, messages: Sequence[catalogue_item_pb2.PricePeriod], currency: str
) -> tuple[PricePeriod, ...]:
    fields.require(len(messages) <= PERIODS_MAX, name, f"must be at most {PERIODS_MAX}, were {len(messages)}")
    periods = tuple(
        _period(fields, f"{name}[{index}]", message, currency) for index, message in enumerate(messages[:PERIODS_MAX])
    )
    fields.require(not overlap(periods), name, "must be by time and must not overlap")
    return periods


def _period(fields: Fields, name: str, message: catalogue_item_pb2.PricePeriod, currency: str) -> PricePeriod:
    start_ms = _moment(fields, f"{name}.start_time", message.start_time) if message.HasField("start_time") else None
    end_ms = _moment(fields, f"{name}.end_time", message.end_time) if message.HasField("end_time") else None
    if start_ms is not None and end_ms is not None:
        fields.require(start_ms < end_ms, f"{name}.end_time", "must be after the start_time")
    price = fields.money(f"{name}.unit_price", message.unit_price, minimum=0)
    same = price.currency == currency
    fields.require(same, f"{name}.unit_price.currency_code", f"must be {currency}", price.currency)
    return PricePeriod(start_ms, end_ms, price.minor)


def _moment(fields: Fields, name: str, at: Timestamp) -> int:
    ok = 0 <= at.seconds <= SECONDS_MAX and 0 <= at.nanos < 1_000_000_000
    fields.require(ok, name, "must be a time from 1970 to 9999", at.seconds)
    return at.seconds * 1000 + at.nanos // 1_000_000


def _to_period(period: PricePeriod, currency: str) -> catalogue_item_pb2.PricePeriod:
    return catalogue_item_pb2.PricePeriod(
        start_time=None if period.start_ms is None else to_timestamp(period.start_ms),
        end_time=None if period.end_ms is None else to_timestamp(period.end_ms),
        unit_price=to_money(Money(currency, period.price_minor)),
    )


def _within(fields: Fields, name: str, value: int, least: int, most: int) -> None:
    fields.require(least <= value <= most, name, f"must be {least} to {most}", value)
