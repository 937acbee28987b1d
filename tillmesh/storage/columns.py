"""A payer and an origin in tables: their columns, and the part of a record that they are."""

from sqlalchemy import Column, ColumnElement, String, Table, and_

from tillmesh.origin import Origin
from tillmesh.payer import Payer, PayerKind
from tillmesh.storage.database import one_of
from tillmesh.storage.records import Part
from tillmesh.storage.statements import Row


def payer_columns(*, nullable: bool = False) -> tuple[Column[str], Column[str]]:
    """The columns of a payer: kind and value, so that no reference takes the place of an identity."""
    return (
        Column("payer_kind", String, one_of("payer_kind", PayerKind), nullable=nullable),
        Column("payer_value", String, nullable=nullable),
    )


def _payer(row: Row) -> Payer | None:
    kind = row["payer_kind"]
    return None if kind is None else Payer(PayerKind(kind), row["payer_value"])


PAYER = Part(_payer, lambda payer: {"payer_kind": payer and payer.kind, "payer_value": payer and payer.value})
"""NULL for none."""


def has_payer(table: Table, payer: Payer) -> ColumnElement[bool]:
    """The condition that a row names that payer."""
    return and_(table.c.payer_kind == payer.kind, table.c.payer_value == payer.value)


def origin_columns() -> tuple[Column[str], Column[str], Column[str]]:
    """The columns of an origin."""
    return (
        Column("terminal_id", String, nullable=False),
        Column("lane", String, nullable=False),
        Column("cashier_id", String, nullable=False),
    )


ORIGIN = Part(
    lambda row: Origin(row["terminal_id"], row["lane"], row["cashier_id"]),
    lambda origin: {"terminal_id": origin.terminal_id, "lane": origin.lane, "cashier_id": origin.cashier_id},
)
