"""What must hold, read from the three databases with plain SQL (docs/protocol.md, invariants 1 to 10)."""

from collections.abc import Mapping
from typing import Any

from tests.simulation.network import ORDERS, PAYMENTS, TERMINAL
from tests.simulation.node import SimulatedDatabase
from tillmesh.cli.audit.databases import HISTORY_TABLES
from tillmesh.runtime.history import HistoryTable

Databases = Mapping[str, SimulatedDatabase]
DEAD = ("RELEASED", "REFUSED")


class Violation(AssertionError):
    """An invariant does not hold."""


def _rows(database: SimulatedDatabase, query: str) -> list[tuple[Any, ...]]:
    return database.sqlite().execute(query).fetchall()


def _none(database: SimulatedDatabase, what: str, query: str) -> None:
    rows = _rows(database, query)
    if rows:
        raise Violation(f"{what}: {rows[:3]}")


def _same(what: str, one: Mapping[str, Any] | set[Any], other: Mapping[str, Any] | set[Any]) -> None:
    """Two accounts of the same thing, kept apart, that must tell the same."""
    left, right = (set(side.items()) if isinstance(side, Mapping) else side for side in (one, other))
    if left != right:
        raise Violation(f"{what}: {sorted(left - right)[:3]} against {sorted(right - left)[:3]}")


def after_commit(databases: Databases) -> None:
    """Invariants 2, 4 and 5 after every transaction, and what no order of events may ever show."""
    _books(databases[PAYMENTS])
    verdicts = dict(_rows(databases[ORDERS], "SELECT payment_id, state FROM order_payments"))
    payments = dict(_rows(databases[PAYMENTS], "SELECT payment_id, state FROM payments"))
    for payment_id, state in payments.items():
        verdict = verdicts.get(payment_id)
        if state == "CAPTURED" and verdict != "PAID":
            raise Violation(f"rules 1, 5: payment {payment_id} is CAPTURED, its order says {verdict}")
        if state == "VOIDED" and verdict not in DEAD:
            raise Violation(f"rules 5 to 9: payment {payment_id} is VOIDED, its order says {verdict}")
        if verdict == "PAID" and state not in ("AUTHORIZED", "CAPTURED"):
            raise Violation(f"rule 1: the order is paid by payment {payment_id}, which holds no money: {state}")
    _till(databases[TERMINAL], databases[ORDERS], verdicts)


def _books(payments: SimulatedDatabase) -> None:
    _none(
        payments,
        "invariant 2: an order was captured twice",
        "SELECT order_id FROM payments WHERE state = 'CAPTURED' GROUP BY order_id HAVING count(*) > 1",
    )
    _none(
        payments,
        "invariant 4: a kept balance differs from its transfers, or is below its limit",
        """
        SELECT account_id, posted_minor, held_minor FROM accounts a WHERE credit_limit_minor IS NOT NULL AND (
          posted_minor <> (
            SELECT coalesce(sum(CASE WHEN credit_account_id = a.account_id THEN amount_minor ELSE -amount_minor END), 0)
            FROM transfers
            WHERE phase IN ('SINGLE', 'POST') AND a.account_id IN (credit_account_id, debit_account_id)
          ) OR held_minor <> (
            SELECT coalesce(sum(CASE phase WHEN 'HOLD' THEN amount_minor ELSE -amount_minor END), 0)
            FROM transfers WHERE phase IN ('HOLD', 'POST', 'VOID') AND debit_account_id = a.account_id
          ) OR posted_minor - held_minor < -credit_limit_minor)
        """,
    )
    _none(
        payments,
        "invariant 4: a roll-up differs from its transfers",
        """
        SELECT account_id FROM account_sums a WHERE posted_minor <> (
          SELECT coalesce(sum(CASE WHEN credit_account_id = a.account_id THEN amount_minor ELSE -amount_minor END), 0)
          FROM transfers
          WHERE phase IN ('SINGLE', 'POST') AND a.account_id IN (credit_account_id, debit_account_id)
          AND transfer_id <= a.through_transfer_id)
        """,
    )
    _none(
        payments,
        "invariant 4: an unfinished payment and its hold differ",
        """
        SELECT payment_id FROM payments p WHERE (state = 'AUTHORIZED') <> (
          SELECT coalesce(sum(CASE phase WHEN 'HOLD' THEN 1 ELSE -1 END), 0) FROM transfers
          WHERE reference = p.payment_id AND phase IN ('HOLD', 'POST', 'VOID'))
        """,
    )
    _none(
        payments,
        "invariant 5: more was refunded than captured",
        """
        SELECT p.payment_id FROM payments p JOIN refunds r ON r.payment_id = p.payment_id
        GROUP BY p.payment_id
        HAVING sum(r.amount_minor) > CASE p.state WHEN 'CAPTURED' THEN p.amount_minor ELSE 0 END
        """,
    )
    _none(
        payments,
        "rule 9: declined for money that an attempt with a smaller epoch, dead by then, still held",
        """
        SELECT p.payment_id FROM payments p JOIN payments older ON older.order_id = p.order_id
        WHERE p.reason = 'INSUFFICIENT_FUNDS' AND older.state = 'AUTHORIZED' AND older.epoch < p.epoch
        """,
    )


def _till(terminal: SimulatedDatabase, orders: SimulatedDatabase, verdicts: Mapping[str, str]) -> None:
    """What the till shows as PAID is paid, and what it calls safe to retry can not pay any more (rule 11)."""
    states = dict(_rows(orders, "SELECT order_id, state FROM orders"))
    for checkout_id, state, payment_id in _rows(terminal, "SELECT checkout_id, state, payment_id FROM checkouts"):
        if state == "PAID" and states.get(checkout_id) != "PAID":
            raise Violation(f"rule 11: checkout {checkout_id} is PAID, its order is {states.get(checkout_id)}")
        if state in ("PENDING", "CANCELED") and payment_id and verdicts.get(payment_id) not in DEAD:
            raise Violation(
                f"rule 11: the till gave payment {payment_id} up, its order says {verdicts.get(payment_id)}"
            )


def unfinished(databases: Databases) -> list[str]:
    """What is not final yet, in words."""
    orders, payments, terminal = databases[ORDERS], databases[PAYMENTS], databases[TERMINAL]
    query = "SELECT order_id, epoch FROM orders WHERE state = 'LOCKED'"
    found = [f"order {row[0]} is LOCKED by epoch {row[1]}" for row in _rows(orders, query)]
    query = "SELECT payment_id, state FROM payments WHERE state NOT IN ('CAPTURED', 'VOIDED')"
    found += [f"payment {row[0]} is {row[1]}" for row in _rows(payments, query)]
    query = "SELECT request_id, kind FROM journal WHERE state = 'PENDING'"
    found += [f"the till's {row[1]} {row[0]} is PENDING" for row in _rows(terminal, query)]
    return found


def at_rest(databases: Databases) -> None:
    """All invariants once everything is final."""
    orders, payments, terminal = databases[ORDERS], databases[PAYMENTS], databases[TERMINAL]
    after_commit(databases)
    columns = "payment_id, order_id, epoch, {version}, payer_id, amount_minor, store_id"
    captured = f"SELECT {columns.format(version='order_version')} FROM payments WHERE state = 'CAPTURED'"
    paid = f"SELECT {columns.format(version='version')} FROM orders WHERE state = 'PAID'"
    _same(
        "invariants 1, 3: what was captured and what is paid differ", set(_rows(payments, captured)),
        set(_rows(orders, paid)),
    )  # fmt: skip
    _none(
        orders,
        "invariant 1: verdict and order differ",
        """
        SELECT order_id FROM orders o WHERE state = 'PAID' AND NOT EXISTS (
          SELECT 1 FROM order_payments p
          WHERE p.payment_id = o.payment_id AND p.state = 'PAID' AND p.epoch = o.epoch)
        UNION ALL
        SELECT order_id FROM order_payments p WHERE state = 'PAID' AND NOT EXISTS (
          SELECT 1 FROM orders o WHERE o.order_id = p.order_id AND o.state = 'PAID' AND o.payment_id = p.payment_id)
        """,
    )
    _money(payments)
    _requests(databases)
    for server, table in zip((orders, payments, terminal), HISTORY_TABLES, strict=True):
        _history(server, table)
    _none(
        orders,
        "invariant 9: a version or an epoch went back, or moved without a reason",
        """
        SELECT a.order_id, a.number FROM order_history a JOIN order_history b
        ON b.order_id = a.order_id AND b.number = a.number + 1
        WHERE b.version < a.version OR b.epoch < a.epoch OR (b.epoch > a.epoch) <> (b.event = 'LOCKED')
           OR (b.version > a.version) <> (b.event = 'UPDATED')
        """,
    )


def _money(payments: SimulatedDatabase) -> None:
    """Invariant 4 from the other side: each wallet's balance follows from what was paid in, bought and given back."""
    wallets = _rows(payments, "SELECT substr(account_id, 8), posted_minor FROM accounts WHERE kind = 'WALLET'")
    expected = _rows(
        payments,
        """
        SELECT identity_id,
          (SELECT coalesce(sum(amount_minor), 0) FROM transfers
           WHERE purpose = 'DEPOSIT' AND credit_account_id = 'wallet/' || identity_id)
          - (SELECT coalesce(sum(amount_minor), 0) FROM payments p
             WHERE state = 'CAPTURED' AND p.identity_id = identities.identity_id)
          + (SELECT coalesce(sum(amount_minor), 0) FROM refunds WHERE payer_id = identity_id)
        FROM identities
        """,
    )
    _same("invariant 4: wallets, and what was paid in, bought and given back", dict(wallets), dict(expected))
    _none(payments, "money is still held", "SELECT account_id FROM accounts WHERE held_minor <> 0")
    _none(
        payments,
        "invariant 6: a refund without exactly one transfer of its amount",
        """
        SELECT refund_id FROM refunds r WHERE 1 <> (
          SELECT count(*) FROM transfers t WHERE t.reference = r.refund_id AND t.phase = 'SINGLE'
          AND t.amount_minor = r.amount_minor AND t.purpose = CASE r.payment_id WHEN '' THEN 'RETURN' ELSE 'REFUND' END)
        """,
    )


def _requests(databases: Databases) -> None:
    """What the till has as DONE was done; what it has as REFUSED was not (invariant 6)."""
    journal = _rows(databases[TERMINAL], "SELECT request_id, kind, state FROM journal WHERE kind <> 'PAY'")
    for server, kinds in ((ORDERS, ("CREATE_ORDER", "UPDATE_ORDER", "CANCEL_ORDER")), (PAYMENTS, ("REFUND",))):
        done = {row[0] for row in _rows(databases[server], "SELECT request_id FROM requests WHERE NOT refused")}
        for request_id, kind, state in journal:
            if kind in kinds and (state == "DONE") != (request_id in done):
                raise Violation(f"invariant 6: the till's {kind} {request_id} is {state}, the server differs")
    refunds = _rows(databases[PAYMENTS], "SELECT refund_id, amount_minor FROM refunds")
    at_till = _rows(
        databases[TERMINAL],
        "SELECT refund_id, amount_minor FROM till_refunds JOIN journal ON request_id = refund_id WHERE state = 'DONE'",
    )
    if not set(at_till) <= set(refunds):
        raise Violation(f"a refund that the till shows as DONE was not made so: {set(at_till) - set(refunds)}")


def _history(database: SimulatedDatabase, chained: HistoryTable) -> None:
    """Invariant 10: a row for each change, without a gap, each where the one before ended, the last as it is now."""
    table, history, key = chained.records, chained.name, chained.key
    _none(
        database,
        f"invariant 10: {history} does not tell how {table} came to where they are",
        f"""
        SELECT t.{key}, t.event_count, t.state FROM {table} t LEFT JOIN {history} h ON h.{key} = t.{key}
        GROUP BY t.{key}
        HAVING count(h.number) <> t.event_count OR max(h.number) <> t.event_count
            OR (SELECT to_state FROM {history} l WHERE l.{key} = t.{key} AND l.number = t.event_count) <> t.state
        UNION ALL
        SELECT a.{key}, a.number, a.to_state FROM {history} a JOIN {history} b
        ON b.{key} = a.{key} AND b.number = a.number + 1 WHERE b.from_state <> a.to_state
        """,
    )
    if findings := database.findings(chained):
        raise Violation(f"{history} is no chain of hashes: {findings[:3]}")
