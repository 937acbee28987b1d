"""What must hold within one server's database, whatever happened to the others."""

import sqlite3
from pathlib import Path

from tillmesh.local.processes import ServerName

# Every record has as many history rows as it says, without a gap, and the last tells its state.
_HISTORY = """
    SELECT r.{key} FROM {records} r LEFT JOIN {history} h ON h.{key} = r.{key} GROUP BY r.{key}
    HAVING count(h.number) <> r.event_count OR max(h.number) <> r.event_count OR min(h.number) <> 1
        OR max(CASE WHEN h.number = r.event_count THEN h.to_state END) <> r.state
"""
_POSTED = """
    SELECT a.account_id FROM accounts a
    LEFT JOIN transfers t ON a.account_id IN (t.debit_account_id, t.credit_account_id)
    WHERE a.credit_limit_minor IS NOT NULL GROUP BY a.account_id
    HAVING a.posted_minor <> sum(CASE
            WHEN t.phase NOT IN ('SINGLE', 'POST') OR t.transfer_id IS NULL THEN 0
            WHEN t.credit_account_id = a.account_id THEN t.amount_minor ELSE -t.amount_minor END)
        OR a.held_minor <> sum(CASE
            WHEN t.debit_account_id <> a.account_id OR t.phase = 'SINGLE' OR t.transfer_id IS NULL THEN 0
            WHEN t.phase = 'HOLD' THEN t.amount_minor ELSE -t.amount_minor END)
"""
_MONEY_OF_PAYMENTS = """
    SELECT p.payment_id FROM payments p LEFT JOIN transfers t ON t.purpose = 'PAYMENT' AND t.reference = p.payment_id
    GROUP BY p.payment_id
    HAVING coalesce(group_concat(t.phase, ' '), '') NOT IN (CASE p.state
        WHEN 'AUTHORIZED' THEN 'HOLD' WHEN 'CAPTURED' THEN 'HOLD POST' WHEN 'VOIDED' THEN 'HOLD VOID' ELSE '' END,
        CASE p.state WHEN 'VOIDED' THEN '' ELSE '-' END)
"""
_REFUNDED = """
    SELECT p.payment_id FROM payments p LEFT JOIN refunds r ON r.payment_id = p.payment_id GROUP BY p.payment_id
    HAVING p.refunded_minor <> coalesce(sum(r.amount_minor), 0)
"""
_LOCKS = """
    SELECT o.order_id FROM orders o WHERE o.state IN ('LOCKED', 'PAID') AND o.payment_id <> '' AND NOT EXISTS (
        SELECT 1 FROM order_payments p WHERE p.payment_id = o.payment_id AND p.epoch = o.epoch
        AND p.state = CASE o.state WHEN 'PAID' THEN 'PAID' ELSE 'GRANTED' END)
"""
_VERSIONS = """
    SELECT o.order_id FROM orders o LEFT JOIN order_versions v ON v.order_id = o.order_id GROUP BY o.order_id
    HAVING count(v.version) <> o.version OR max(v.version) <> o.version
        OR max(CASE WHEN v.version = o.version THEN v.amount_minor END) <> o.amount_minor
"""
_OUTBOX = """
    SELECT c.checkout_id FROM checkouts c WHERE c.unanswered <> '' AND NOT EXISTS (
        SELECT 1 FROM outbox j WHERE j.request_id = c.unanswered AND j.state = 'PENDING')
"""

# No row may come out of any of these.
CHECKS: dict[ServerName, dict[str, str]] = {
    ServerName.ORDERS: {
        "history": _HISTORY.format(records="orders", history="order_history", key="order_id"),
        "locks": _LOCKS,
        "versions": _VERSIONS,
    },
    ServerName.PAYMENTS: {
        "history": _HISTORY.format(records="payments", history="payment_history", key="payment_id"),
        "balances": _POSTED,
        "money of payments": _MONEY_OF_PAYMENTS,
        "refunds": _REFUNDED,
    },
    ServerName.TERMINAL: {
        "history": _HISTORY.format(records="checkouts", history="checkout_history", key="checkout_id"),
        "outbox": _OUTBOX,
    },
}


def broken_in(role: ServerName, database: Path) -> list[str]:
    """What is broken, in words."""
    connection = sqlite3.connect(database)
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        found += [f"foreign key {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        found += [f"{what}: {row}" for what, query in CHECKS[role].items() for row in connection.execute(query)]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    finally:
        connection.close()
    return [f"{database}: {one}" for one in found]
