"""Takes over an import that is complete, a few articles in each transaction.

It compares them with each other and with those that stay, shows all of them at once, merges them into the base, and
deletes what nobody sees any more. Each step goes on from what the database says, so a crash between two loses nothing.
"""

from dataclasses import replace
from functools import partial
from itertools import pairwise

from store_terminal.catalogue.conflicts import conflicts
from store_terminal.catalogue.model import Catalogue, CatalogueImport, ImportState
from store_terminal.catalogue.queries import (
    IMPORTS,
    change_catalogue,
    drop_between,
    drop_rows,
    find_catalogue,
    import_of,
    put_rows,
    rows_after,
    rows_of,
)
from tillmesh.storage.statements import Transaction

ITEMS_A_STEP = 200
"""So many articles are looked at in one transaction: while it runs, no call is served."""
VIOLATIONS_KEPT = 100
_ABOVE_ALL = 2**62


def step(transaction: Transaction, now_ms: int) -> bool:
    """Does the next step; False if there is nothing to do."""
    head = find_catalogue(transaction)
    if head.overlay:
        _merge(transaction, head)
        return True
    if head.checking:
        _check(transaction, head, now_ms)
        return True
    return _clean(transaction, head)


def _check(transaction: Transaction, head: Catalogue, now_ms: int) -> None:
    before = import_of(transaction, head.staged)
    rows = rows_after(transaction, head.staged, before.checked_sku, ITEMS_A_STEP)
    if not rows or len(before.violations) == VIOLATIONS_KEPT:
        _conclude(transaction, head, before, now_ms)
        return
    below = 0 if before.replace_all else head.base
    found = conflicts(transaction, rows, below, partial(rows_of, transaction, head.staged))
    after = replace(
        before,
        checked_sku=rows[-1]["sku"],
        checked_count=before.checked_count + len(rows),
        added_count=before.added_count + len(rows) - len(rows_of(transaction, below, [row["sku"] for row in rows])),
        violations=(*before.violations, *found)[:VIOLATIONS_KEPT],
        updated_at_ms=now_ms,
    )
    IMPORTS.change(transaction, before, after)


def _conclude(transaction: Transaction, head: Catalogue, before: CatalogueImport, now_ms: int) -> None:
    """Shows what was imported, all at once, if nothing is wrong with it."""
    state = ImportState.REFUSED if before.violations else ImportState.COMMITTED
    IMPORTS.change(transaction, before, replace(before, state=state, updated_at_ms=now_ms))
    after = replace(head, staged=0, checking=False)
    if state is ImportState.COMMITTED and (before.replace_all or head.item_count == 0):
        after = replace(after, base=head.staged, item_count=before.item_count)
    elif state is ImportState.COMMITTED:
        after = replace(after, overlay=head.staged, item_count=head.item_count + before.added_count)
    change_catalogue(transaction, head, after)


def _merge(transaction: Transaction, head: Catalogue) -> None:
    """Moves articles from the overlay into the base, where they take the place of the older ones."""
    rows = rows_after(transaction, head.overlay, "", ITEMS_A_STEP)
    if not rows:
        change_catalogue(transaction, head, replace(head, overlay=0))
        return
    put_rows(transaction, head.base, rows)
    drop_rows(transaction, head.overlay, [row["sku"] for row in rows])


def _clean(transaction: Transaction, head: Catalogue) -> bool:
    """Deletes what stands between the generations in use: replaced, refused or given up."""
    used = sorted({0, head.base, head.staged, _ABOVE_ALL})
    return any(drop_between(transaction, low, high, ITEMS_A_STEP) for low, high in pairwise(used))
