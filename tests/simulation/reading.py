"""Reading a server's database past the server, and saying what is wrong in it."""

from collections.abc import Mapping
from typing import Any

from tests.simulation.node import SimulatedDatabase


class Violation(AssertionError):
    """An invariant does not hold."""


def rows(database: SimulatedDatabase, query: str) -> list[tuple[Any, ...]]:
    """What a query finds."""
    return database.sqlite().execute(query).fetchall()


def none(database: SimulatedDatabase, what: str, query: str) -> None:
    """Nothing must come out of a query."""
    if found := rows(database, query):
        raise Violation(f"{what}: {found[:3]}")


def same(what: str, one: Mapping[str, Any] | set[Any], other: Mapping[str, Any] | set[Any]) -> None:
    """Two accounts of the same thing, kept apart, that must tell the same."""
    left, right = (set(side.items()) if isinstance(side, Mapping) else side for side in (one, other))
    if left != right:
        raise Violation(f"{what}: {sorted(left - right)[:3]} against {sorted(right - left)[:3]}")
