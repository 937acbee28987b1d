"""What must hold between the three databases, read with plain SQL (docs/protocol.md, invariants 1 to 10)."""

from collections import defaultdict
from collections.abc import Mapping

from tests.simulation import books
from tests.simulation.consents import Consents
from tests.simulation.network import ORDERS, PAYMENTS, TERMINAL
from tests.simulation.node import SimulatedDatabase
from tests.simulation.reading import Violation, none, rows, same
from tillmesh import line_rows
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.cli.audit.databases import HISTORY_TABLES
from tillmesh.lines import totals
from tillmesh.storage.chains import HistoryTable

Databases = Mapping[str, SimulatedDatabase]
DEAD = ("RELEASED", "REFUSED")
ORDER_REQUESTS = {
    "CreateOrder": "CREATED",
    "ReplaceOrderLines": "LINES_REPLACED",
    "CancelOrder": "CANCELED",
    "CompleteFreeOrder": "COMPLETED_FREE",
}
"""What each request of an order leaves in its history, exactly once."""

SAME_END = {"COMPLETE_FREE_ORDER": "PAID", "CANCEL_ORDER": "CANCELED"}
"""What a till wants of an order, and is content with if somebody else has done it."""


def after_commit(databases: Databases, server: str, consents: Consents) -> None:
    """What no order of events may ever show, after a transaction of one of the servers."""
    orders, payments = databases[ORDERS], databases[PAYMENTS]
    if server == PAYMENTS:
        books.after_commit(payments)
        query = "SELECT payment_id, payer_kind, payer_value, identity_id, state, reason FROM payments"
        consents.check_payments(rows(payments, query))
    if server == ORDERS:
        free = "SELECT order_id, version, amount_minor FROM orders WHERE state = 'PAID' AND payment_id = ''"
        consents.check_orders(rows(orders, free))
    verdicts = dict(rows(orders, "SELECT payment_id, state FROM order_payments"))
    for payment_id, state, reason in rows(payments, "SELECT payment_id, state, reason FROM payments"):
        verdict = verdicts.get(payment_id)
        if reason == "VOIDED_BY_OPERATOR":
            raise Violation(f"rule 5: payment {payment_id} was ended by hand, and its order knows it: {verdict}")
        if state == "CAPTURED" and verdict != "PAID":
            raise Violation(f"rules 1, 5: payment {payment_id} is CAPTURED, its order says {verdict}")
        if state == "VOIDED" and verdict not in DEAD:
            raise Violation(f"rules 5 to 9: payment {payment_id} is VOIDED, its order says {verdict}")
        if verdict == "PAID" and state not in ("AUTHORIZED", "CAPTURED"):
            raise Violation(f"rule 1: the order is paid by payment {payment_id}, which holds no money: {state}")
    _till(databases[TERMINAL], orders, verdicts)
    _unsent(databases)


def _till(terminal: SimulatedDatabase, orders: SimulatedDatabase, verdicts: Mapping[str, str]) -> None:
    """What the till shows as PAID is paid, and what it calls safe to retry cannot pay any more (rule 11)."""
    states = dict(rows(orders, "SELECT order_id, state FROM orders"))
    query = "SELECT checkout_id, state, payment_id, order_version FROM checkouts"
    for checkout_id, state, payment_id, order_version in rows(terminal, query):
        if not order_version:
            continue  # an order of that number is somebody else's
        if state == "PAID" and states.get(checkout_id) != "PAID":
            raise Violation(f"rule 11: checkout {checkout_id} is PAID, its order is {states.get(checkout_id)}")
        if state == "CANCELED" and states.get(checkout_id) not in (None, "CANCELED"):
            raise Violation(f"rule 11: checkout {checkout_id} is CANCELED, its order is {states.get(checkout_id)}")
        if state == "CANCELED" and not verdicts.get(payment_id):
            continue  # an order that expired before the payment reached it: it can lock nothing
        if state in ("SUBMITTED", "CANCELED") and payment_id and verdicts.get(payment_id) not in DEAD:
            raise Violation(
                f"rule 11: the till gave payment {payment_id} up, its order says {verdicts.get(payment_id)}"
            )


def _unsent(databases: Databases) -> None:
    """What waits for an order that is not there, or was refused one, is asked of nobody."""
    query = "SELECT request_id, state FROM outbox WHERE kind IN ('PAY', 'COMPLETE_FREE_ORDER') AND state IN ({})"
    unsent = dict(rows(databases[TERMINAL], query.format("'WAITING', 'REFUSED'")))
    if not unsent:
        return
    known = {row[0] for row in rows(databases[PAYMENTS], "SELECT payment_id FROM payments")}
    known |= {row[0] for row in rows(databases[ORDERS], "SELECT request_id FROM requests WHERE refusal IS NULL")}
    if sent := sorted(known & unsent.keys()):
        raise Violation(f"payment {sent[0]} is {unsent[sent[0]]} at the till, for want of its order, and was made")


def unfinished(databases: Databases) -> list[str]:
    """What is not final yet, in words."""
    orders, payments, terminal = databases[ORDERS], databases[PAYMENTS], databases[TERMINAL]
    query = "SELECT order_id, epoch FROM orders WHERE state = 'LOCKED'"
    found = [f"order {row[0]} is LOCKED by epoch {row[1]}" for row in rows(orders, query)]
    query = "SELECT payment_id, state FROM payments WHERE state NOT IN ('CAPTURED', 'VOIDED')"
    found += [f"payment {row[0]} is {row[1]}" for row in rows(payments, query)]
    query = "SELECT request_id, kind, state FROM outbox WHERE state IN ('PENDING', 'WAITING')"
    found += [f"the till's {row[1]} {row[0]} is {row[2]}" for row in rows(terminal, query)]
    return found


def at_rest(databases: Databases, consents: Consents) -> None:
    """All invariants once everything is final."""
    orders, payments, terminal = databases[ORDERS], databases[PAYMENTS], databases[TERMINAL]
    for server in databases:
        after_commit(databases, server, consents)
    columns = "payment_id, order_id, epoch, {version}, payer_kind, payer_value, amount_minor, store_id"
    captured = f"SELECT {columns.format(version='order_version')} FROM payments WHERE state = 'CAPTURED'"
    paid = f"SELECT {columns.format(version='version')} FROM orders WHERE state = 'PAID' AND payment_id <> ''"
    same(
        "invariants 1, 3: what was captured and what is paid differ", set(rows(payments, captured)),
        set(rows(orders, paid)),
    )  # fmt: skip
    none(
        orders,
        "invariant 1: verdict and order differ",
        """
        SELECT order_id FROM orders o WHERE state = 'PAID' AND payment_id <> '' AND NOT EXISTS (
          SELECT 1 FROM order_payments p
          WHERE p.payment_id = o.payment_id AND p.state = 'PAID' AND p.epoch = o.epoch)
        UNION ALL
        SELECT order_id FROM order_payments p WHERE state = 'PAID' AND NOT EXISTS (
          SELECT 1 FROM orders o WHERE o.order_id = p.order_id AND o.state = 'PAID' AND o.payment_id = p.payment_id)
        UNION ALL
        SELECT order_id FROM orders o WHERE state = 'PAID' AND payment_id = '' AND NOT EXISTS (
          SELECT 1 FROM order_history h WHERE h.order_id = o.order_id AND h.number = o.event_count
          AND h.event = 'COMPLETED_FREE' AND h.version = o.version AND h.amount_minor = 0)
        """,
    )
    books.at_rest(payments)
    _requests(databases)
    _lines(orders, terminal)
    _returns(orders, payments)
    _sales(orders, payments, terminal)
    for database, table in zip((orders, payments, terminal), HISTORY_TABLES, strict=True):
        _history(database, table)
    none(
        orders,
        "invariant 9: a version or an epoch went back, or moved without a reason",
        """
        SELECT a.order_id, a.number FROM order_history a JOIN order_history b
        ON b.order_id = a.order_id AND b.number = a.number + 1
        WHERE b.version < a.version OR b.epoch < a.epoch OR (b.epoch > a.epoch) <> (b.event = 'LOCKED')
           OR (b.version > a.version) <> (b.event = 'LINES_REPLACED')
        """,
    )


def shown_at_rest(databases: Databases, checkout: checkout_pb2.Checkout) -> None:
    """What a till says of a checkout once all is final: it follows from the order alone, and from what was tried."""
    query = f"SELECT state, payment_id FROM orders WHERE order_id = '{checkout.checkout_id}'"
    state, paid_by = next(iter(rows(databases[ORDERS], query)), ("", "")) if checkout.order_version else ("", "")
    open_verdict = "SAFE_TO_RETRY" if checkout.payment_id else "NOT_TRIED"
    closed = state == "CANCELED" or (not state and checkout.state == checkout_pb2.Checkout.STATE_CANCELED)
    expected = "CLOSED" if closed else "HAND_OVER_GOODS" if state == "PAID" else open_verdict
    said = checkout_pb2.Verdict.Name(checkout.verdict).removeprefix("VERDICT_")
    if (said, checkout.paid_by_payment_id) != (expected, paid_by if state == "PAID" else ""):
        raise Violation(
            f"rule 11: the till says {said} of checkout {checkout.checkout_id}, paid by "
            f"{checkout.paid_by_payment_id or 'none'}; its order is {state or 'not there'}, paid by {paid_by or 'none'}"
        )


def _requests(databases: Databases) -> None:
    """What the till has as DONE was done; what it has as REFUSED was not; each request once (invariant 6)."""
    outbox = rows(
        databases[TERMINAL], "SELECT request_id, kind, state, checkout_id FROM outbox WHERE kind NOT IN ('PAY', 'VOID')"
    )
    done = {
        row[0]
        for server in (ORDERS, PAYMENTS)
        for row in rows(databases[server], "SELECT request_id FROM requests WHERE refusal IS NULL")
    }
    orders = {row[0]: row[1] for row in rows(databases[ORDERS], "SELECT order_id, state FROM orders")}
    for request_id, kind, state, checkout_id in outbox:
        by_another = state == "DONE" and orders.get(checkout_id) == SAME_END.get(kind, "none")
        if (state == "DONE") != (request_id in done) and not by_another:
            raise Violation(f"invariant 6: the till's {kind} {request_id} is {state}, the server differs")
    asked = "SELECT method, resource, count(*) FROM requests WHERE refusal IS NULL GROUP BY method, resource"
    happened = "SELECT event, order_id, count(*) FROM order_history GROUP BY event, order_id"
    same(
        "invariant 6: requests that were done, and what was done",
        {(ORDER_REQUESTS[row[0]], *row[1:]) for row in rows(databases[ORDERS], asked) if row[0] in ORDER_REQUESTS},
        {row for row in rows(databases[ORDERS], happened) if row[0] in ORDER_REQUESTS.values()},
    )
    refunds = rows(databases[PAYMENTS], "SELECT refund_id, amount_minor FROM refunds")
    at_till = rows(
        databases[TERMINAL],
        "SELECT refund_id, amount_minor FROM till_refunds JOIN outbox ON request_id = refund_id WHERE state = 'DONE'",
    )
    if not set(at_till) <= set(refunds):
        raise Violation(f"a refund that the till shows as DONE was not made so: {set(at_till) - set(refunds)}")


def _lines(orders: SimulatedDatabase, terminal: SimulatedDatabase) -> None:
    """Each version of an order comes to what it says, and a till that has that version shows the same."""
    amounts = {}
    query = "SELECT order_id, version, lines, prices_include_tax, amount_minor FROM order_versions"
    for order_id, version, lines, include_tax, amount_minor in rows(orders, query):
        came_to = totals(line_rows.from_text(lines), prices_include_tax=bool(include_tax)).amount_minor
        if came_to != amount_minor:
            raise Violation(
                f"invariant 3: order {order_id} comes to {came_to} at version {version}, not {amount_minor}"
            )
        amounts[order_id, version] = amount_minor
    history = "SELECT DISTINCT order_id, version, amount_minor FROM order_history"
    told = {(*key, amount) for key, amount in amounts.items()}
    same("invariant 3: versions, and what the history says of them", told, set(rows(orders, history)))
    shown = "SELECT checkout_id, order_version, amount_minor FROM checkouts WHERE order_version > 0"
    if wrong := set(rows(terminal, shown)) - told:
        raise Violation(f"invariant 3: a till shows another amount than its order's version has: {sorted(wrong)[:3]}")


def _returns(orders: SimulatedDatabase, payments: SimulatedDatabase) -> None:
    """No piece comes back twice, and whoever brings everything back by lines alone has all that was paid."""
    back: defaultdict[tuple[str, int], int] = defaultdict(int)
    for payment_id, line_number, quantity in rows(
        payments, "SELECT payment_id, line_number, quantity FROM refund_lines"
    ):
        back[payment_id, line_number] += quantity
    captured = {row[0]: row for row in rows(payments, "SELECT payment_id, amount_minor, refunded_minor FROM payments")}
    by_amount = "SELECT payment_id FROM refunds WHERE refund_id NOT IN (SELECT refund_id FROM refund_lines)"
    mixed = {row[0] for row in rows(payments, by_amount)}
    query = """
        SELECT o.payment_id, v.lines FROM orders o JOIN order_versions v USING (order_id, version)
        WHERE o.state = 'PAID' AND o.payment_id <> ''
    """
    for payment_id, lines in rows(orders, query):
        sold = {number: line.quantity for number, line in enumerate(line_rows.from_text(lines), 1)}
        returned = {number: quantity for (owner, number), quantity in back.items() if owner == payment_id}
        if any(quantity > sold.get(number, 0) for number, quantity in returned.items()):
            raise Violation(f"invariant 5: of payment {payment_id} {returned} came back, {sold} was sold")
        _, amount_minor, refunded_minor = captured[payment_id]
        if returned == sold and payment_id not in mixed and refunded_minor != amount_minor:
            raise Violation(
                f"invariant 5: all of payment {payment_id} came back, for {refunded_minor} of {amount_minor}"
            )


def _sales(orders: SimulatedDatabase, payments: SimulatedDatabase, terminal: SimulatedDatabase) -> None:
    """One sale is one order; what is to be undone is not paid any more, and all that was paid is given back."""
    none(
        orders,
        "invariant 6: one sale made several orders",
        "SELECT labels, count(*) FROM orders WHERE labels LIKE '%sale%' GROUP BY labels HAVING count(*) > 1",
    )
    none(
        terminal,
        "what was to be undone was paid, or left as it was",
        """
        SELECT c.checkout_id, c.state FROM checkouts c JOIN checkout_history v USING (checkout_id)
        WHERE v.event = 'VOID_ASKED' AND (c.state NOT IN ('PAID', 'CANCELED') OR EXISTS (
          SELECT 1 FROM checkout_history h WHERE h.checkout_id = c.checkout_id AND h.event = 'PAYMENT_STARTED'
          AND h.number > v.number))
        """,
    )
    query = """
        SELECT DISTINCT paid_by FROM checkouts JOIN checkout_history USING (checkout_id)
        WHERE event = 'VOID_ASKED' AND paid_by <> ''
    """
    undone = {row[0] for row in rows(terminal, query)}
    for payment_id, left in rows(payments, "SELECT payment_id, amount_minor - refunded_minor FROM payments"):
        if left and payment_id in undone:
            raise Violation(f"payment {payment_id} was to be undone, and {left} of it is left")


def _history(database: SimulatedDatabase, chained: HistoryTable) -> None:
    """Invariant 10: a row for each change, without a gap, each where the one before ended, the last as it is now."""
    table, history, key = chained.records, chained.name, chained.key
    none(
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
