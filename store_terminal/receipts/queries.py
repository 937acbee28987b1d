"""Queries about what is printed."""

import orjson
from sqlalchemy import bindparam, select

from store_terminal.checkouts.lifecycle import CheckoutEvent
from store_terminal.checkouts.tables import checkout_history
from store_terminal.receipts.model import Decline, StoreRecord
from store_terminal.receipts.tables import store_records
from tillmesh.runtime.money import Money
from tillmesh.storage.records import Records, as_text
from tillmesh.storage.statements import Transaction

STORE_RECORDS = Records(
    StoreRecord,
    store_records,
    parts={
        "address_lines": as_text(
            "address_lines", lambda text: tuple(orjson.loads(text)), lambda lines: orjson.dumps(lines).decode()
        )
    },
)
_DECLINE = (
    select(checkout_history)
    .where(
        checkout_history.c.checkout_id == bindparam("key"),
        checkout_history.c.event == CheckoutEvent.PAYMENT_ENDED.value,
        checkout_history.c.reference == bindparam("payment_id"),
    )
    .order_by(checkout_history.c.number.desc())
    .limit(1)
)


def store_record(transaction: Transaction, store_id: str) -> StoreRecord:
    """What is known of a store; until its record was read its id stands for its name."""
    return STORE_RECORDS.find(transaction, store_id) or StoreRecord(store_id, store_id)


def keep_store_record(transaction: Transaction, record: StoreRecord) -> None:
    """Keeps what the payment server says of a store."""
    before = STORE_RECORDS.find(transaction, record.store_id)
    if before is None:
        STORE_RECORDS.insert(transaction, record)
    elif before != record:
        STORE_RECORDS.change(transaction, before, record)


def find_decline(transaction: Transaction, checkout_id: str, payment_id: str) -> Decline | None:
    """The end of a payment that did not pay; None where that event is pruned."""
    row = transaction.execute(_DECLINE, {"key": checkout_id, "payment_id": payment_id}).one_or_none()
    if row is None:
        return None
    return Decline(payment_id, Money(row["currency"], row["amount_minor"]), row["reason"], row["at_ms"])
