"""What devices ask of the catalogue: one function a call, each one transaction."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from store_terminal.catalogue.conflicts import conflicts
from store_terminal.catalogue.model import Catalogue, CatalogueImport, CatalogueItem, ImportState
from store_terminal.catalogue.queries import (
    IMPORTS,
    ITEMS,
    Rows,
    add_rows,
    change_catalogue,
    drop_rows,
    find_catalogue,
    find_in_use,
    import_of,
    owners_of,
    put_rows,
    rows_of,
)
from store_terminal.errors import Reason
from tillmesh.rpc.fields import shown
from tillmesh.runtime.errors import FieldViolation, found, invalid
from tillmesh.storage.statements import Row, Transaction


def count_items(transaction: Transaction) -> int:
    """The number of articles."""
    return find_catalogue(transaction).item_count


def import_items(transaction: Transaction, items: Sequence[CatalogueItem]) -> int:
    """Adds or replaces articles; returns how many there are then."""
    head = _idle_catalogue(transaction)
    rows = {item.sku: ITEMS.values(item) for item in items}

    def arriving(skus: Collection[str]) -> Rows:
        return {sku: rows[sku] for sku in skus if sku in rows}

    in_order = sorted(rows.values(), key=lambda row: str(row["sku"]))  # two imports at once meet in one order
    if wrong := conflicts(transaction, in_order, head.base, arriving):
        index = {sku: number for number, sku in enumerate(rows)}
        raise invalid([FieldViolation(f"items[{index[each.sku]}].{each.field}", each.description) for each in wrong])
    replaced = put_rows(transaction, head.base, in_order)
    return _with_count(transaction, head, head.item_count + len(rows) - replaced)


def delete_items(transaction: Transaction, skus: Sequence[str]) -> int:
    """Deletes articles; returns how many are left."""
    head = _idle_catalogue(transaction)
    there = rows_of(transaction, head.base, skus)
    for sku in skus:
        if sku not in there:
            raise Reason.ITEM_NOT_FOUND(sku=sku)
    if in_use := find_in_use(transaction, head.base, skus):
        raise Reason.ITEM_IN_USE(sku=in_use[0], used_by=in_use[1])
    drop_rows(transaction, head.base, skus)
    return _with_count(transaction, head, head.item_count - len(skus))


def get_import(transaction: Transaction, import_id: str) -> CatalogueImport:
    """The import as it is now."""
    return found(IMPORTS.find(transaction, import_id), Reason.IMPORT_NOT_FOUND, import_id=import_id)


def create_import(transaction: Transaction, import_id: str, *, replace_all: bool, now_ms: int) -> CatalogueImport:
    """Begins an import; one that is not committed yet is given up."""
    head = find_catalogue(transaction)
    if head.staged:
        _end(transaction, import_of(transaction, head.staged), now_ms)
    generation = head.last_generation + 1
    begun = CatalogueImport(import_id, generation, replace_all, created_at_ms=now_ms, updated_at_ms=now_ms)
    IMPORTS.insert(transaction, begun)
    filled = replace(head, staged=generation, last_generation=generation, checking=False)
    change_catalogue(transaction, head, filled)
    return begun


def add_import_items(
    transaction: Transaction,
    import_id: str,
    part_number: int,
    items: Sequence[CatalogueItem],
    content_hash: bytes,
    now_ms: int,
) -> CatalogueImport:
    """Adds a part; the last one once more adds nothing."""
    before = get_import(transaction, import_id)
    if before.state is not ImportState.OPEN:
        raise Reason.IMPORT_ENDED(import_id=import_id, state=before.state)
    if part_number == before.part_count:
        if content_hash != before.part_hash:
            raise Reason.PART_NUMBER_REUSED(import_id=import_id, part_number=part_number)
        return before
    if part_number != before.part_count + 1:
        raise Reason.PART_OUT_OF_ORDER(import_id=import_id, part_count=before.part_count, part_number=part_number)
    rows = [ITEMS.values(item) for item in items]
    _require_new(transaction, before.generation, rows)
    add_rows(transaction, before.generation, rows)
    after = replace(
        before,
        part_count=part_number,
        part_hash=content_hash,
        item_count=before.item_count + len(rows),
        updated_at_ms=now_ms,
    )
    IMPORTS.change(transaction, before, after)
    return after


def commit_import(transaction: Transaction, import_id: str, part_count: int, now_ms: int) -> CatalogueImport:
    """Ends an import; the terminal goes on by itself (`steps`)."""
    before = get_import(transaction, import_id)
    if before.state is ImportState.CANCELED:
        raise Reason.IMPORT_ENDED(import_id=import_id, state=before.state)
    if part_count != before.part_count:
        raise Reason.PART_OUT_OF_ORDER(import_id=import_id, part_count=before.part_count, part_number=part_count)
    if before.state is not ImportState.OPEN:
        return before
    after = replace(before, state=ImportState.CHECKING, updated_at_ms=now_ms)
    IMPORTS.change(transaction, before, after)
    head = find_catalogue(transaction)
    change_catalogue(transaction, head, replace(head, checking=True))
    return after


def cancel_import(transaction: Transaction, import_id: str, now_ms: int) -> CatalogueImport:
    """Gives an import up; its articles are deleted by and by."""
    before = get_import(transaction, import_id)
    if before.state is ImportState.CANCELED:
        return before
    if before.state not in (ImportState.OPEN, ImportState.CHECKING):
        raise Reason.IMPORT_ENDED(import_id=import_id, state=before.state)
    head = find_catalogue(transaction)
    change_catalogue(transaction, head, replace(head, staged=0, checking=False))
    return _end(transaction, before, now_ms)


def _idle_catalogue(transaction: Transaction) -> Catalogue:
    """The catalogue, unless an import is being taken over: what it was compared with must stay as it is."""
    head = find_catalogue(transaction)
    if head.busy:
        raise Reason.IMPORT_NOT_SETTLED()
    return head


def _with_count(transaction: Transaction, head: Catalogue, item_count: int) -> int:
    """Keeps the number of articles. Of two changes at once on PostgreSQL this makes the second one start again."""
    change_catalogue(transaction, head, replace(head, item_count=item_count))
    return item_count


def _end(transaction: Transaction, before: CatalogueImport, now_ms: int) -> CatalogueImport:
    after = replace(before, state=ImportState.CANCELED, updated_at_ms=now_ms)
    IMPORTS.change(transaction, before, after)
    return after


def _require_new(transaction: Transaction, generation: int, rows: Sequence[Row]) -> None:
    """Refuses articles and GTINs that an earlier part has."""
    there = rows_of(transaction, generation, [row["sku"] for row in rows])
    owners = owners_of(transaction, generation, [gtin for row in rows for gtin in row["gtins"].split()])
    wrong = []
    for index, row in enumerate(rows):
        if row["sku"] in there:
            rule = f"must be in an import once, {shown(row['sku'])} is in an earlier part"
            wrong.append(FieldViolation(f"items[{index}].sku", rule))
        for position, gtin in enumerate(row["gtins"].split()):
            if gtin in owners:
                rule = f"must be of one article, {gtin} is of {shown(owners[gtin])}"
                wrong.append(FieldViolation(f"items[{index}].gtins[{position}]", rule))
    if wrong:
        raise invalid(wrong)
