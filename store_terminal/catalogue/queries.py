"""Queries on the catalogue. Nothing here takes longer the more articles there are."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import orjson
from sqlalchemy import Select, Table, bindparam, delete, insert, select

from store_terminal.catalogue.model import (
    THE_CATALOGUE,
    Catalogue,
    CatalogueImport,
    CatalogueItem,
    PricePeriod,
    Violation,
)
from store_terminal.catalogue.tables import catalogue, gtins, imports, items
from tillmesh.runtime.money import Money
from tillmesh.storage.lists import After, ByKey, by_key
from tillmesh.storage.records import Part, Records, as_text
from tillmesh.storage.statements import Row, Transaction

Rows = Mapping[str, Row]
"""Articles as rows, by their sku."""


def _tuples_text(records: Sequence[Any]) -> str:
    return orjson.dumps([astuple(record) for record in records]).decode()


_PRICE = Part(
    lambda row: Money(row["currency"], row["price_minor"]),
    lambda price: {"currency": price.currency, "price_minor": price.minor},
)
_GTINS = as_text("gtins", lambda text: tuple(text.split()), " ".join)
_PERIODS = as_text("price_periods", lambda text: tuple(PricePeriod(*each) for each in orjson.loads(text)), _tuples_text)
_VIOLATIONS = as_text("violations", lambda text: tuple(Violation(*each) for each in orjson.loads(text)), _tuples_text)
ITEMS = Records(CatalogueItem, items, parts={"unit_price": _PRICE, "gtins": _GTINS, "price_periods": _PERIODS})
IMPORTS = Records(
    CatalogueImport, imports, parts={"violations": _VIOLATIONS}, guard=("state", "part_count", "checked_sku")
)
CATALOGUE = Records(Catalogue, catalogue, guard=("base", "overlay", "staged", "checking"))

_BY_SKU = ByKey(select(items).where(items.c.generation == bindparam("generation")), items.c.sku)
_BY_GTIN = ByKey(select(gtins).where(gtins.c.generation == bindparam("generation")), gtins.c.gtin)
_FIND_IMPORT = select(imports).where(imports.c.generation == bindparam("generation"))
_INSERT_ITEM, _INSERT_GTIN = insert(items), insert(gtins)
_DROP_ITEM = delete(items).where(items.c.generation == bindparam("in_generation"), items.c.sku == bindparam("key"))
_DROP_GTIN = delete(gtins).where(gtins.c.generation == bindparam("in_generation"), gtins.c.gtin == bindparam("key"))
_DROP_OWN_GTIN = _DROP_GTIN.where(gtins.c.sku == bindparam("owner"))


def find_item(transaction: Transaction, sku: str) -> CatalogueItem | None:
    """The article of that code."""
    return _seen(transaction, find_catalogue(transaction), [sku]).get(sku)


def find_by_gtin(transaction: Transaction, gtin: str) -> CatalogueItem | None:
    """The article of a GTIN of 14 digits."""
    head = find_catalogue(transaction)
    owners = [owners_of(transaction, generation, [gtin]).get(gtin) for generation in head.seen]
    found = _seen(transaction, head, {sku for sku in owners if sku is not None})
    # The overlay may have taken the GTIN off an article of the base.
    return next((item for item in found.values() if gtin in item.gtins), None)


def on_sale(transaction: Transaction, skus: Collection[str], now_ms: int) -> dict[str, CatalogueItem]:
    """The articles of these codes, and their deposits, by code, with the price that counts now as their unit price."""
    head = find_catalogue(transaction)
    found = _seen(transaction, head, skus)
    found |= _seen(transaction, head, {item.deposit_sku for item in found.values()} - {"", *found})
    return {sku: item.on_sale_at(now_ms) for sku, item in found.items()}


def list_items(transaction: Transaction, after: After, at_most: int) -> list[CatalogueItem]:
    """Articles by code, those after the given one."""
    rows: dict[str, Row] = {}
    for generation in reversed(find_catalogue(transaction).seen):
        query = by_key(_in_generation(items, generation), items.c.sku, after, at_most)
        rows |= {row["sku"]: row for row in transaction.execute(query)}
    return [ITEMS.of(rows[sku]) for sku in sorted(rows)[:at_most]]


def find_catalogue(transaction: Transaction) -> Catalogue:
    """What readers see; as it begins, until it is first written."""
    return CATALOGUE.find(transaction, THE_CATALOGUE) or Catalogue()


def change_catalogue(transaction: Transaction, before: Catalogue, after: Catalogue) -> None:
    """Changes what readers see; of two changes at once, one starts again."""
    if CATALOGUE.find(transaction, THE_CATALOGUE) is None:
        CATALOGUE.insert(transaction, after)
    else:
        CATALOGUE.change(transaction, before, after)


def import_of(transaction: Transaction, generation: int) -> CatalogueImport:
    """The import that fills a generation."""
    return IMPORTS.of(transaction.execute(_FIND_IMPORT, {"generation": generation}).one())


def rows_of(transaction: Transaction, generation: int, skus: Collection[str]) -> Rows:
    """Those of some articles that a generation has; 0 is none."""
    return _BY_SKU.read(transaction, sorted(skus), generation=generation) if generation else {}


def rows_after(transaction: Transaction, generation: int, sku: str, at_most: int) -> list[Row]:
    """The articles of a generation that follow one, by code."""
    return transaction.execute(by_key(_in_generation(items, generation), items.c.sku, [sku], at_most)).all()


def owners_of(transaction: Transaction, generation: int, wanted: Collection[str]) -> dict[str, str]:
    """The articles of a generation that have some GTINs, by the GTIN; generation 0 is none."""
    rows = _BY_GTIN.read(transaction, sorted(wanted), generation=generation) if generation else {}
    return {gtin: row["sku"] for gtin, row in rows.items()}


def find_in_use(transaction: Transaction, generation: int, skus: Collection[str]) -> tuple[str, str] | None:
    """One of some articles that is the deposit of another one, and that other one; None if none is."""
    with_deposit = select(items.c.deposit_sku, items.c.sku).where(
        items.c.generation == generation,
        items.c.deposit_sku != "",  # as the index says
        items.c.deposit_sku.in_(list(skus)),
        items.c.sku.not_in(list(skus)),
    )
    row = transaction.execute(with_deposit.limit(1)).first()
    return None if row is None else (row["deposit_sku"], row["sku"])


def add_rows(transaction: Transaction, generation: int, rows: Sequence[Row]) -> None:
    """Adds articles that the generation does not have."""
    transaction.execute_many(_INSERT_ITEM, [{**row, "generation": generation} for row in rows])
    owned = [
        {"generation": generation, "gtin": gtin, "sku": row["sku"]} for row in rows for gtin in row["gtins"].split()
    ]
    if owned:
        transaction.execute_many(_INSERT_GTIN, owned)


def put_rows(transaction: Transaction, generation: int, rows: Sequence[Row]) -> int:
    """Adds articles, or replaces them; returns how many were replaced. GTINs become theirs, whosever they were."""
    replaced = drop_rows(transaction, generation, [row["sku"] for row in rows])
    taken = [{"in_generation": generation, "key": gtin} for row in rows for gtin in row["gtins"].split()]
    if taken:
        transaction.execute_many(_DROP_GTIN, taken)
    add_rows(transaction, generation, rows)
    return replaced


def drop_rows(transaction: Transaction, generation: int, skus: Collection[str]) -> int:
    """Deletes articles; returns how many were there."""
    there = rows_of(transaction, generation, skus)
    own = [
        {"in_generation": generation, "key": gtin, "owner": row["sku"]}
        for row in there.values()
        for gtin in row["gtins"].split()
    ]
    if own:
        transaction.execute_many(_DROP_OWN_GTIN, own)
    if there:
        transaction.execute_many(_DROP_ITEM, [{"in_generation": generation, "key": sku} for sku in there])
    return len(there)


def drop_between(transaction: Transaction, low: int, high: int, at_most: int) -> bool:
    """Deletes some of what stands in generations between two; False if nothing does."""
    for table, key in ((items, items.c.sku), (gtins, gtins.c.gtin)):
        between = table.c.generation > low, table.c.generation < high
        first = transaction.execute(select(table.c.generation).where(*between).order_by(table.c.generation).limit(1))
        if row := first.first():
            generation = row["generation"]
            keys = select(key).where(table.c.generation == generation).order_by(key).limit(at_most)
            last = transaction.execute(keys).scalars()[-1]
            transaction.execute(delete(table).where(table.c.generation == generation, key <= last))
            return True
    return False


def _seen(transaction: Transaction, head: Catalogue, skus: Collection[str]) -> dict[str, CatalogueItem]:
    """Those of some articles that readers see, by code."""
    rows: dict[str, Row] = {}
    for generation in head.seen:
        rows |= rows_of(transaction, generation, [sku for sku in skus if sku not in rows])
    return {sku: ITEMS.of(row) for sku, row in rows.items()}


def _in_generation(table: Table, generation: int) -> Select[Any]:
    return select(table).where(table.c.generation == generation)
