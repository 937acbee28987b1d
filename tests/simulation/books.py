"""What must hold in the payment server's database after each of its transactions, read with plain SQL."""

from tests.simulation.node import SimulatedDatabase
from tests.simulation.reading import none, rows, same

AFTER_COMMIT = {
    "invariant 2: an order was captured twice": (
        "SELECT order_id FROM payments WHERE state = 'CAPTURED' GROUP BY order_id HAVING count(*) > 1"
    ),
    "invariant 4: a kept balance differs from its transfers, or is below its limit": """
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
    "invariant 4: what is added up of an account differs from its transfers": """
        SELECT account_id FROM accounts a LEFT JOIN account_sums s USING (account_id)
        WHERE coalesce(s.posted_minor, 0) <> (
          SELECT coalesce(sum(CASE WHEN credit_account_id = a.account_id THEN amount_minor ELSE -amount_minor END), 0)
          FROM transfers JOIN ledger_progress ON transfer_id <= through_transfer_id
          WHERE phase IN ('SINGLE', 'POST') AND a.account_id IN (credit_account_id, debit_account_id)
        ) OR coalesce(s.held_minor, 0) <> (
          SELECT coalesce(sum(CASE phase WHEN 'HOLD' THEN amount_minor ELSE -amount_minor END), 0)
          FROM transfers JOIN ledger_progress ON transfer_id <= through_transfer_id
          WHERE phase IN ('HOLD', 'POST', 'VOID') AND debit_account_id = a.account_id)
        """,
    "invariant 4: what is added up of a currency differs from its accounts": """
        SELECT c.currency, c.kind FROM currency_sums c
        LEFT JOIN accounts a ON (a.currency, a.kind) = (c.currency, c.kind)
        LEFT JOIN account_sums s USING (account_id) GROUP BY c.currency, c.kind
        HAVING c.posted_minor <> coalesce(sum(s.posted_minor), 0) OR c.held_minor <> coalesce(sum(s.held_minor), 0)
        """,
    "invariant 4: an account was found to differ": "SELECT account_id FROM differing_accounts",
    "invariant 4: an unfinished payment and its hold differ": """
        SELECT payment_id FROM payments p WHERE (state = 'AUTHORIZED') <> (
          SELECT coalesce(sum(CASE phase WHEN 'HOLD' THEN 1 ELSE -1 END), 0) FROM transfers
          WHERE reference = p.payment_id AND phase IN ('HOLD', 'POST', 'VOID'))
        """,
    "invariant 5: more was refunded than captured": """
        SELECT p.payment_id FROM payments p JOIN refunds r ON r.payment_id = p.payment_id
        GROUP BY p.payment_id
        HAVING sum(r.amount_minor) > CASE p.state WHEN 'CAPTURED' THEN p.amount_minor ELSE 0 END
        """,
    "invariant 5: what is kept of refunds differs from them": """
        SELECT payment_id FROM payments p WHERE refunded_minor <>
          (SELECT coalesce(sum(amount_minor), 0) FROM refunds r WHERE r.payment_id = p.payment_id)
        """,
    "rule 9: declined for money that an attempt with a smaller epoch, dead by then, still held": """
        SELECT p.payment_id FROM payments p JOIN payments older ON older.order_id = p.order_id
        WHERE p.reason = 'INSUFFICIENT_FUNDS' AND older.state = 'AUTHORIZED' AND older.epoch < p.epoch
        """,
    "rule 9: an attempt goes on, though a larger epoch of its order is recorded": """
        SELECT p.payment_id, p.epoch, larger.epoch FROM payments p JOIN payments larger ON larger.order_id = p.order_id
        WHERE p.state IN ('AUTHORIZED', 'AWAITING_PAYER') AND larger.epoch > p.epoch
        """,
    "who pays without a code or a claim is not whose code counted for that order, or was not asked": """
        SELECT payment_id FROM payments p WHERE payer_kind = 'REFERENCE' AND NOT by_code AND identity_id IS NOT NULL
        AND (NOT confirm OR identity_id NOT IN (
          SELECT shown.identity_id FROM payments shown
          WHERE shown.by_code AND shown.order_id = p.order_id AND shown.payer_value = p.payer_value))
        AND 'spiffe://tillmesh/phone/' || p.identity_id NOT IN (
          SELECT actor FROM payment_history h WHERE h.payment_id = p.payment_id AND h.event = 'CREATED'
          UNION SELECT actor FROM requests WHERE request_id = p.payment_id)
        """,
}
"""No row may come out of any of these."""

AT_REST = {
    "money is still held": "SELECT account_id FROM accounts WHERE held_minor <> 0",
    "invariant 6: a refund without exactly one transfer of its amount": """
        SELECT refund_id FROM refunds r WHERE (amount_minor > 0) <> (
          SELECT count(*) FROM transfers t WHERE t.reference = r.refund_id AND t.phase = 'SINGLE'
          AND t.amount_minor = r.amount_minor
          AND t.purpose = CASE r.payment_id WHEN '' THEN 'UNREFERENCED_REFUND' ELSE 'REFUND' END)
        """,
    "invariant 6: requests that were done, and what was done": """
        SELECT method, request_id FROM requests WHERE refusal IS NULL AND CASE method
          WHEN 'CreatePayment' THEN request_id NOT IN (SELECT payment_id FROM payments)
          WHEN 'CreateDeposit' THEN request_id NOT IN (SELECT reference FROM transfers WHERE purpose = 'DEPOSIT')
          WHEN 'RefundPayment' THEN request_id NOT IN (SELECT refund_id FROM refunds WHERE payment_id <> '')
          WHEN 'CreateUnreferencedRefund' THEN request_id NOT IN (SELECT refund_id FROM refunds WHERE payment_id = '')
          ELSE false END
        UNION ALL SELECT 'payment', payment_id FROM payments
        WHERE payment_id NOT IN (SELECT request_id FROM requests WHERE refusal IS NULL)
        UNION ALL SELECT 'refund', refund_id FROM refunds
        WHERE refund_id NOT IN (SELECT request_id FROM requests WHERE refusal IS NULL)
        """,
}
"""Nor of these, once everything is final."""

_BALANCES = "SELECT account_id, posted_minor FROM accounts WHERE kind = 'WALLET'"
_WHAT_BECAME_OF_IT = """
    SELECT account_id,
      (SELECT coalesce(sum(amount_minor), 0) FROM transfers
       WHERE purpose = 'DEPOSIT' AND credit_account_id = w.account_id)
      - (SELECT coalesce(sum(amount_minor), 0) FROM payments p
         WHERE state = 'CAPTURED' AND p.identity_id = w.identity_id AND p.currency = w.currency)
      + (SELECT coalesce(sum(r.amount_minor), 0) FROM refunds r LEFT JOIN payments p ON p.payment_id = r.payment_id
         WHERE coalesce(p.identity_id, r.payer_value) = w.identity_id AND r.currency = w.currency)
    FROM wallets w
"""


def after_commit(payments: SimulatedDatabase) -> None:
    """Invariants 2, 4 and 5."""
    for what, query in AFTER_COMMIT.items():
        none(payments, what, query)


def at_rest(payments: SimulatedDatabase) -> None:
    """Invariant 4 from the other side: each wallet's balance follows from what was paid in, bought and given back."""
    for what, query in AT_REST.items():
        none(payments, what, query)
    same(
        "invariant 4: wallets, and what was paid in, bought and given back",
        dict(rows(payments, _BALANCES)),
        dict(rows(payments, _WHAT_BECAME_OF_IT)),
    )
