"""What speaks against articles: a GTIN that another one has, or a deposit that is not there."""

from collections.abc import Callable, Collection, Sequence

from store_terminal.catalogue.model import Violation
from store_terminal.catalogue.queries import Rows, owners_of, rows_of
from tillmesh.lines import Kind, Unit
from tillmesh.rpc.fields import shown
from tillmesh.storage.statements import Row, Transaction


def conflicts(
    transaction: Transaction, rows: Sequence[Row], base: int, arriving: Callable[[Collection[str]], Rows]
) -> list[Violation]:
    """What is wrong with articles that arrive, beside each other and beside those of the base, if one stays (not 0).

    `arriving` finds those of some articles that arrive as well: they take the place of the base's.
    """
    taken = _taken(transaction, rows, base, arriving)
    wanted = {row["deposit_sku"] for row in rows} - {""}
    deposits = dict(arriving(wanted))
    deposits |= rows_of(transaction, base, wanted - deposits.keys())
    found = []
    for row in rows:
        for gtin in row["gtins"].split():
            if gtin in taken:
                description = f"must be of one article, {gtin} is of {shown(taken[gtin])}"
                found.append(Violation(row["sku"], "gtins", description))
        if row["deposit_sku"] and not _is_deposit(row, deposits.get(row["deposit_sku"])):
            rule = f"must be an article of kind DEPOSIT and unit PIECE, with a price in {row['currency']}"
            found.append(Violation(row["sku"], "deposit_sku", f"{rule}, was {shown(row['deposit_sku'])}"))
    return found


def _taken(
    transaction: Transaction, rows: Sequence[Row], base: int, arriving: Callable[[Collection[str]], Rows]
) -> dict[str, str]:
    """The GTINs of rows that another article of the base keeps, with its sku."""
    wanted = {gtin: row["sku"] for row in rows for gtin in row["gtins"].split()}
    owners = owners_of(transaction, base, wanted)
    others = {gtin: owner for gtin, owner in owners.items() if owner != wanted[gtin]}
    replaced = arriving(set(others.values()))
    return {gtin: owner for gtin, owner in others.items() if owner not in replaced}


def _is_deposit(bottle: Row, deposit: Row | None) -> bool:
    return deposit is not None and (deposit["kind"], deposit["unit"], deposit["currency"]) == (
        Kind.DEPOSIT,
        Unit.PIECE,
        bottle["currency"],
    )
