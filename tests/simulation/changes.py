"""What each transaction changed, seen from outside; what is final must stay as it is."""

from dataclasses import dataclass

from tests.simulation.network import ORDERS, PAYMENTS, TERMINAL
from tests.simulation.node import SimulatedDatabase
from tests.simulation.reading import Violation


@dataclass(frozen=True)
class Change:
    """One record that a transaction moved."""

    what: str
    key: str
    before: str
    after: str


@dataclass(frozen=True)
class Watched:
    """A table whose records have a state."""

    what: str
    query: str
    final: frozenset[str]


WATCHED = {
    ORDERS: (
        Watched("verdict", "SELECT payment_id, state FROM order_payments", frozenset({"PAID", "RELEASED", "REFUSED"})),
        Watched("order", "SELECT order_id, state FROM orders", frozenset({"PAID", "CANCELED"})),
    ),
    PAYMENTS: (Watched("payment", "SELECT payment_id, state FROM payments", frozenset({"CAPTURED", "VOIDED"})),),
    TERMINAL: (
        Watched("checkout", "SELECT checkout_id, state FROM checkouts", frozenset({"PAID", "CANCELED"})),
        Watched("request", "SELECT request_id, state FROM outbox", frozenset({"DONE", "REFUSED"})),
    ),
}


class Changes:
    """Compares each server's records with those before."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}

    def after_commit(self, server: str, database: SimulatedDatabase) -> list[Change]:
        """What the transaction changed. A verdict that was given is the verdict for ever (rules 2, 6, 12)."""
        found = []
        for table in WATCHED[server]:
            known, states = self._known.get(table.what, {}), dict(database.sqlite().execute(table.query).fetchall())
            self._known[table.what] = states
            for key in [*states, *sorted(known.keys() - states.keys())]:
                before, after = known.get(key, ""), states.get(key, "")
                if before != after:
                    found.append(Change(table.what, key, before, after))
                if before != after and before and (before in table.final or not after):
                    raise Violation(f"rules 2, 6, 12: {table.what} {key} was {before} and is {after or 'forgotten'}")
        return found
