"""Every difference that `tillmesh reconcile` can find: its meaning, the next step, and the query that finds it.

A query reads the copy of the servers' lists (copy.py) and gives the ids of the records and how they stand. It takes
only records that have not changed since `:settled_ms`, as others may still be under way. The same query runs again on
records that were read anew, before a difference is told.
"""

from dataclasses import dataclass
from enum import Enum

_EXPLAIN = "`tillmesh explain ORDER`"
_AUDIT = "`tillmesh audit verify` tells whether somebody wrote to the database"


@dataclass(frozen=True)
class Rule:
    """How a difference is told and found; the columns are order, payment, refund, terminal, and how they stand."""

    meaning: str
    next_step: str
    query: str


class Difference(Rule, Enum):
    """The names are stable: scripts may rely on them."""

    ORDER_PAID_WITHOUT_CAPTURE = (
        "The order is PAID by a payment that the payment server has not captured or does not know.",
        f"{_EXPLAIN}. If the payment is AUTHORIZED, see that the payment server reaches the order service; it captures"
        " by itself. If it is VOIDED or unknown, see in `tillmesh statement ACCOUNT` whether anything was deducted.",
        """SELECT o.order_id, o.payment_id, NULL, NULL, printf('order PAID %d %s, payment %s',
          o.amount, o.currency, ifnull(p.state, 'unknown'))
        FROM orders o LEFT JOIN payments p ON p.payment_id = o.payment_id AND p.order_id = o.order_id
        WHERE o.state = 'PAID' AND o.amount <> 0 AND p.state IS NOT 'CAPTURED'
          AND max(o.changed_ms, ifnull(p.changed_ms, 0)) <= :settled_ms""",
    )
    CAPTURED_TWICE = (
        "Several payments of one order are captured: the shopper paid more than once.",
        f"{_EXPLAIN}, then refund the payment that the order does not name. {_AUDIT}.",
        """SELECT order_id, NULL, NULL, NULL, printf('captured: %s', group_concat(payment_id, ', '))
        FROM payments WHERE state = 'CAPTURED' GROUP BY order_id
        HAVING count(*) > 1 AND max(changed_ms) <= :settled_ms""",
    )
    CAPTURED_ORDER_NOT_PAID = (
        "Money was captured for an order that is not PAID.",
        f"{_EXPLAIN}. Hand nothing over before it is clear; refund the payment if the goods stay. {_AUDIT}.",
        """SELECT p.order_id, p.payment_id, NULL, NULL, printf('payment CAPTURED %d %s, order %s',
          p.amount, p.currency, o.state)
        FROM payments p JOIN orders o ON o.order_id = p.order_id
        WHERE p.state = 'CAPTURED' AND o.state <> 'PAID' AND max(p.changed_ms, o.changed_ms) <= :settled_ms""",
    )
    CAPTURED_WITHOUT_ORDER = (
        "Money was captured for an order that the order service does not know.",
        "Restore the order service's database, or refund the payment if its goods were not handed over.",
        """SELECT p.order_id, p.payment_id, NULL, NULL, printf('payment CAPTURED %d %s', p.amount, p.currency)
        FROM payments p LEFT JOIN orders o ON o.order_id = p.order_id
        WHERE p.state = 'CAPTURED' AND o.order_id IS NULL AND p.changed_ms <= :settled_ms""",
    )
    PAYMENT_DIFFERS_FROM_ORDER = (
        "The order and the captured payment that it names differ in amount, currency, payer, version, epoch or store.",
        f"{_EXPLAIN}: the history of each tells which side was changed. {_AUDIT}.",
        """SELECT o.order_id, p.payment_id, NULL, NULL, printf(
          'order %d %s v%d epoch %d %s %s, payment %d %s v%d epoch %d %s %s', o.amount, o.currency, o.version, o.epoch,
          o.payer, o.store_id, p.amount, p.currency, p.order_version, p.epoch, p.payer, p.store_id)
        FROM orders o JOIN payments p ON p.payment_id = o.payment_id AND p.order_id = o.order_id
        WHERE o.state = 'PAID' AND p.state = 'CAPTURED' AND max(o.changed_ms, p.changed_ms) <= :settled_ms
          AND (o.amount, o.currency, o.version, o.epoch, o.payer, o.store_id)
            <> (p.amount, p.currency, p.order_version, p.epoch, p.payer, p.store_id)""",
    )
    ORDER_LOCKED_TOO_LONG = (
        "The order is LOCKED, its lease is over, and it was not unlocked.",
        "See whether the order service's clock and log are in order: its sweeper unlocks. Then "
        "`tillmesh explain ORDER`.",
        """SELECT order_id, payment_id, NULL, NULL, printf('LOCKED, %d ms of the lease left', lease_ms)
        FROM orders WHERE state = 'LOCKED' AND lease_ms = 0 AND changed_ms <= :settled_ms""",
    )
    PAYMENT_UNFINISHED = (
        "The payment is neither captured nor voided, and has not changed for long.",
        "See that the payment server reaches the order service; it goes on by itself. "
        "docs/operations.md, Holds without end, says when `tillmesh void PAYMENT` may help.",
        """SELECT order_id, payment_id, NULL, NULL, printf('payment %s %d %s', state, amount, currency)
        FROM payments WHERE state NOT IN ('CAPTURED', 'VOIDED') AND changed_ms <= :settled_ms
          AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.payment_id = payments.payment_id AND o.state = 'PAID')""",
    )
    CAPTURED_WITHOUT_ENTRY = (
        "The payment is CAPTURED, but the ledger has not posted it.",
        f"{_AUDIT}. Restore the payment server's database.",
        """SELECT p.order_id, p.payment_id, NULL, NULL, printf('payment CAPTURED %d %s', p.amount, p.currency)
        FROM payments p LEFT JOIN booked b ON b.reference = p.payment_id AND b.purpose = 'PAYMENT'
        WHERE p.state = 'CAPTURED' AND ifnull(b.moves, 0) = 0 AND p.changed_ms <= :settled_ms""",
    )
    ENTRY_WITHOUT_CAPTURE = (
        "The ledger has posted a payment that is not CAPTURED, or that the payment server does not know.",
        f"{_AUDIT}. Compare with `tillmesh statement ACCOUNT`.",
        """SELECT p.order_id, b.reference, NULL, NULL, printf('%s: %d %s, payment %s',
          b.account_id, b.moved, b.currency, ifnull(p.state, 'unknown'))
        FROM booked b LEFT JOIN payments p ON p.payment_id = b.reference
        WHERE b.purpose = 'PAYMENT' AND b.moves > 0 AND p.state IS NOT 'CAPTURED'
          AND max(b.changed_ms, ifnull(p.changed_ms, 0)) <= :settled_ms""",
    )
    ENTRY_DIFFERS_FROM_PAYMENT = (
        "The ledger has posted a payment with another amount, in other accounts, or more than once.",
        f"{_AUDIT}. Compare with `tillmesh statement ACCOUNT`.",
        """SELECT p.order_id, p.payment_id, NULL, NULL, printf(
          'payment %d %s, ledger %d in %d entries from %s to %s', p.amount, p.currency, b.moved, b.moves,
          b.other_account_id, b.account_id)
        FROM payments p JOIN booked b ON b.reference = p.payment_id AND b.purpose = 'PAYMENT'
        WHERE p.state = 'CAPTURED' AND b.moves > 0 AND max(p.changed_ms, b.changed_ms) <= :settled_ms
          AND (b.moves, b.moved, b.account_id, b.other_account_id) <> (1, p.amount,
            printf('sales/%s/%s', p.store_id, p.currency), printf('wallet/%s/%s', p.identity_id, p.currency))""",
    )
    HOLD_LEFT = (
        "Money is held for a payment that is final, or that the payment server does not know.",
        f"{_AUDIT}. docs/operations.md, Holds without end.",
        """SELECT p.order_id, b.reference, NULL, NULL, printf('held %d %s, payment %s',
          b.held, b.currency, ifnull(p.state, 'unknown'))
        FROM booked b LEFT JOIN payments p ON p.payment_id = b.reference
        WHERE b.purpose = 'PAYMENT' AND b.held <> 0 AND ifnull(p.state, 'VOIDED') IN ('CAPTURED', 'VOIDED')
          AND NOT (p.state IS 'CAPTURED' AND b.moves = 0)
          AND max(b.changed_ms, ifnull(p.changed_ms, 0)) <= :settled_ms""",
    )
    REFUND_WITHOUT_PAYMENT = (
        "A refund names a payment that is not CAPTURED, or that the payment server does not know.",
        f"{_AUDIT}. Restore the payment server's database.",
        """SELECT p.order_id, r.payment_id, r.refund_id, NULL, printf('refund %d %s, payment %s',
          r.amount, r.currency, ifnull(p.state, 'unknown'))
        FROM refunds r LEFT JOIN payments p ON p.payment_id = r.payment_id
        WHERE r.payment_id <> '' AND p.state IS NOT 'CAPTURED'
          AND max(r.changed_ms, ifnull(p.changed_ms, 0)) <= :settled_ms""",
    )
    REFUNDED_TOTAL_DIFFERS = (
        "What a payment says was refunded of it is not the sum of its refunds, or is more than was captured.",
        f"{_EXPLAIN}. {_AUDIT}.",
        """SELECT p.order_id, p.payment_id, NULL, NULL, printf('payment %d, refunded %d, refunds come to %d %s',
          p.amount, p.refunded, ifnull(sum(r.amount), 0), p.currency)
        FROM payments p LEFT JOIN refunds r ON r.payment_id = p.payment_id
        WHERE p.state = 'CAPTURED' AND p.changed_ms <= :settled_ms GROUP BY p.payment_id
        HAVING (p.refunded <> ifnull(sum(r.amount), 0) OR p.refunded > p.amount)
          AND ifnull(max(r.changed_ms), 0) <= :settled_ms""",
    )
    REFUND_WITHOUT_ENTRY = (
        "The payment server knows a refund that the ledger has not booked.",
        f"{_AUDIT}. Restore the payment server's database.",
        """SELECT NULL, nullif(r.payment_id, ''), r.refund_id, NULL, printf('refund %d %s', r.amount, r.currency)
        FROM refunds r LEFT JOIN booked b
          ON b.reference = r.refund_id AND b.purpose IN ('REFUND', 'UNREFERENCED_REFUND')
        WHERE b.reference IS NULL AND r.changed_ms <= :settled_ms""",
    )
    ENTRY_WITHOUT_REFUND = (
        "The ledger has booked a refund that the payment server does not know.",
        f"{_AUDIT}. Compare with `tillmesh statement ACCOUNT`.",
        """SELECT NULL, NULL, b.reference, NULL, printf('%s: %d %s', b.account_id, b.moved, b.currency)
        FROM booked b LEFT JOIN refunds r ON r.refund_id = b.reference
        WHERE b.purpose IN ('REFUND', 'UNREFERENCED_REFUND') AND r.refund_id IS NULL AND b.changed_ms <= :settled_ms""",
    )
    ENTRY_DIFFERS_FROM_REFUND = (
        "The ledger has booked a refund with another amount, in another account, or more than once.",
        f"{_AUDIT}. Compare with `tillmesh statement ACCOUNT`.",
        """SELECT NULL, nullif(r.payment_id, ''), r.refund_id, NULL, printf(
          'refund %d %s, ledger %d in %d entries of %s', r.amount, r.currency, -b.moved, b.moves, b.account_id)
        FROM refunds r JOIN booked b ON b.reference = r.refund_id AND b.purpose IN ('REFUND', 'UNREFERENCED_REFUND')
        WHERE max(r.changed_ms, b.changed_ms) <= :settled_ms AND (b.moves, -b.moved, b.account_id) <> (1, r.amount,
          printf('%s/%s/%s', iif(r.payment_id = '', 'returns', 'sales'), r.store_id, r.currency))""",
    )
    LEDGER_NOT_BALANCED = (
        "The accounts of a currency do not sum to zero.",
        "`tillmesh audit verify` adds the whole ledger up from its transfers and names what differs.",
        "SELECT NULL, NULL, NULL, NULL, printf('%s does not sum to zero', currency) FROM balances WHERE sum <> 0",
    )
    BALANCE_DIFFERS = (
        "The payment server found a balance that is not the sum of the account's transfers.",
        "`tillmesh audit verify` adds the whole ledger up from its transfers and names what differs.",
        "SELECT NULL, NULL, NULL, NULL, account_id FROM differing",
    )
    CHECKOUT_PAID_ORDER_NOT = (
        "The till has told to hand over the goods of an order that is not PAID.",
        f"{_EXPLAIN}. If the goods are gone and no payment of the order is CAPTURED, take the money; {_AUDIT}.",
        """SELECT c.checkout_id, nullif(c.paid_by, ''), NULL, c.terminal, printf('checkout PAID, order %s', o.state)
        FROM checkouts c JOIN orders o ON o.order_id = c.checkout_id
        WHERE c.state = 'PAID' AND o.state <> 'PAID' AND max(c.changed_ms, o.changed_ms) <= :settled_ms""",
    )
    CHECKOUT_DIFFERS_FROM_ORDER = (
        "Checkout and order are PAID, but differ in amount, version or the payment that paid.",
        f"{_EXPLAIN}: the history of each tells which side was changed. {_AUDIT}.",
        """SELECT c.checkout_id, nullif(o.payment_id, ''), NULL, c.terminal, printf(
          'checkout %d %s v%d by %s, order %d %s v%d by %s', c.amount, c.currency, c.order_version, c.paid_by,
          o.amount, o.currency, o.version, o.payment_id)
        FROM checkouts c JOIN orders o ON o.order_id = c.checkout_id
        WHERE c.state = 'PAID' AND o.state = 'PAID' AND max(c.changed_ms, o.changed_ms) <= :settled_ms
          AND (c.amount, c.currency, c.order_version, c.paid_by) <> (o.amount, o.currency, o.version, o.payment_id)""",
    )
    CHECKOUT_BEHIND_ORDER = (
        "The checkout is open, though its order is PAID or CANCELED for long.",
        "See that the terminal reaches the order service; it asks again by itself. The order is right.",
        """SELECT c.checkout_id, nullif(o.payment_id, ''), NULL, c.terminal, printf('checkout %s, order %s',
          c.state, o.state)
        FROM checkouts c JOIN orders o ON o.order_id = c.checkout_id
        WHERE c.state IN ('BASKET', 'SUBMITTED', 'PAYING') AND o.state IN ('PAID', 'CANCELED')
          AND max(c.changed_ms, o.changed_ms) <= :settled_ms""",
    )
    CHECKOUT_CANCELED_ORDER_NOT = (
        "The till has told that the order can no longer be paid, but it is not CANCELED.",
        f"{_EXPLAIN}. If it is PAID, refund it or hand over the goods; if it is OPEN, cancel it.",
        """SELECT c.checkout_id, nullif(o.payment_id, ''), NULL, c.terminal,
          printf('checkout CANCELED, order %s', o.state)
        FROM checkouts c JOIN orders o ON o.order_id = c.checkout_id
        WHERE c.state = 'CANCELED' AND o.state <> 'CANCELED' AND max(c.changed_ms, o.changed_ms) <= :settled_ms""",
    )
    CHECKOUT_WITHOUT_ORDER = (
        "The terminal has submitted an order that the order service does not know.",
        "Restore the order service's database.",
        """SELECT c.checkout_id, nullif(iif(c.paid_by = '', c.payment_id, c.paid_by), ''), NULL, c.terminal, printf(
          'checkout %s v%d',
          c.state, c.order_version)
        FROM checkouts c LEFT JOIN orders o ON o.order_id = c.checkout_id
        WHERE c.order_version > 0 AND o.order_id IS NULL AND c.changed_ms <= :settled_ms""",
    )
    ORDER_UNKNOWN_TO_TERMINAL = (
        "The order was raised by one of the terminals, which does not have it.",
        "See whether the terminal lost its database. `tillmesh refund ORDER` and the like take the order up again.",
        """SELECT o.order_id, nullif(o.payment_id, ''), NULL, t.terminal,
          printf('order %s of %s', o.state, o.terminal_id)
        FROM orders o JOIN terminals t ON t.store_id = o.store_id AND t.terminal_id = o.terminal_id
        LEFT JOIN checkouts c ON c.checkout_id = o.order_id AND c.terminal = t.terminal
        WHERE c.checkout_id IS NULL AND o.changed_ms <= :settled_ms""",
    )
    TILL_REFUND_UNFINISHED = (
        "The terminal has asked for a refund and has no answer for long.",
        "See that the terminal reaches the payment server; it repeats by itself.",
        """SELECT nullif(t.checkout_id, ''), NULL, t.refund_id, t.terminal, 'till refund PENDING' FROM till_refunds t
        WHERE t.state = 'PENDING' AND t.changed_ms <= :settled_ms""",
    )
    TILL_REFUND_WITHOUT_REFUND = (
        "The till has told that the shopper has the money, but the payment server does not know the refund.",
        "Restore the payment server's database; the shopper may still be owed the money.",
        """SELECT nullif(t.checkout_id, ''), NULL, t.refund_id, t.terminal, printf('till refund DONE %d %s',
          t.amount, t.currency)
        FROM till_refunds t LEFT JOIN refunds r ON r.refund_id = t.refund_id
        WHERE t.state = 'DONE' AND r.refund_id IS NULL AND t.changed_ms <= :settled_ms""",
    )
    TILL_REFUND_DIFFERS = (
        "The terminal says REFUSED or another amount, but the payment server gave the money back.",
        f"The payment server's refund is what the shopper has. {_AUDIT}.",
        """SELECT nullif(t.checkout_id, ''), nullif(r.payment_id, ''), r.refund_id, t.terminal, printf(
          'till refund %s %d %s, refund %d %s', t.state, t.amount, t.currency, r.amount, r.currency)
        FROM till_refunds t JOIN refunds r ON r.refund_id = t.refund_id
        WHERE max(t.changed_ms, r.changed_ms) <= :settled_ms AND (t.state = 'REFUSED'
          OR t.state = 'DONE' AND (t.amount, t.currency) <> (r.amount, r.currency))""",
    )
    REFUND_UNKNOWN_TO_TERMINAL = (
        "The refund was asked for by one of the terminals, which does not have it.",
        "See whether the terminal lost its database. The money was given back.",
        """SELECT NULL, nullif(r.payment_id, ''), r.refund_id, t.terminal, printf('refund %d %s by %s',
          r.amount, r.currency, r.terminal_id)
        FROM refunds r JOIN terminals t ON t.store_id = r.store_id AND t.terminal_id = r.terminal_id
        LEFT JOIN till_refunds f ON f.refund_id = r.refund_id AND f.terminal = t.terminal
        WHERE f.refund_id IS NULL AND r.changed_ms <= :settled_ms""",
    )
