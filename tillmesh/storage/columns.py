"""A payer and an origin in tables: the columns, and the values in their rows."""

from typing import Any

from sqlalchemy import Column, ColumnElement, String, Table, and_

from tillmesh.origin import Origin
from tillmesh.payer import Payer, PayerKind
from tillmesh.storage.database import one_of
from tillmesh.storage.statements import Row


def payer_columns(*, nullable: bool = False) -> tuple[Column[str], Column[str]]:
    """The columns of a payer: kind and value, so that no reference takes the place of an identity."""
    return (
        Column("payer_kind", String, one_of("payer_kind", PayerKind), nullable=nullable),
        Column("payer_value", String, nullable=nullable),
    )


def payer_values(payer: Payer | None) -> dict[str, Any]:
    """A payer by its columns; NULL for none."""
    return {"payer_kind": payer and payer.kind, "payer_value": payer and payer.value}


def payer_of(row: Row) -> Payer:
    """The payer in a row that has one."""
    return Payer(PayerKind(row["payer_kind"]), row["payer_value"])


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


def origin_values(origin: Origin) -> dict[str, Any]:
    """An origin by its columns."""
    return {"terminal_id": origin.terminal_id, "lane": origin.lane, "cashier_id": origin.cashier_id}


def origin_of(row: Row) -> Origin:
    """The origin in a row."""
    return Origin(row["terminal_id"], row["lane"], row["cashier_id"])
