"""Queries on the catalogue."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, func, insert, select

from store_terminal.catalogue.model import CatalogueItem
from store_terminal.catalogue.tables import catalogue
from tillmesh.runtime.money import Money
from tillmesh.storage.lists import After, ByKey, by_key
from tillmesh.storage.records import Part, Records
from tillmesh.storage.statements import Transaction

_PRICE = Part(
    lambda row: Money(row["currency"], row["price_minor"]),
    lambda price: {"currency": price.currency, "price_minor": price.minor},
)
ITEMS = Records(CatalogueItem, catalogue, parts={"unit_price": _PRICE})
_BY_SKU = ByKey(select(catalogue), catalogue.c.sku)
_DROP_ITEM = delete(catalogue).where(catalogue.c.sku == bindparam("key"))
_INSERT_ITEM = insert(catalogue)


def put_items(transaction: Transaction, items: Sequence[CatalogueItem]) -> int:
    """Adds or replaces articles; returns how many there are then."""
    in_order = sorted(items, key=lambda item: item.sku)  # two imports at once meet in one order
    transaction.execute_many(_DROP_ITEM, [{"key": item.sku} for item in in_order])
    transaction.execute_many(_INSERT_ITEM, [ITEMS.values(item) for item in in_order])
    return count_items(transaction)


def find_items(transaction: Transaction, skus: Sequence[str]) -> dict[str, CatalogueItem]:
    """The articles with these codes, by code; those that there are."""
    return {sku: ITEMS.of(row) for sku, row in _BY_SKU.read(transaction, skus).items()}


def count_items(transaction: Transaction) -> int:
    """The number of articles."""
    return int(transaction.execute(select(func.count()).select_from(catalogue)).scalar_one())


def list_items(transaction: Transaction, after: After, at_most: int) -> list[CatalogueItem]:
    """Articles by code, those after the given one."""
    query = by_key(select(catalogue), catalogue.c.sku, after, at_most)
    return [ITEMS.of(row) for row in transaction.execute(query)]
