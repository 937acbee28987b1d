"""What a row may lack; the database refuses it without anything else, whatever the code does."""

import pytest
from sqlalchemy import inspect

from tests.migrations.test_migrations import tables
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.schema import VERSION_TABLE, prepare

MAY_LACK = {
    "order_service": {
        "order_history": {"content_hash", "from_state"},  # no new version, and no state before the first
        # An attempt that was refused or canceled before it was asked for.
        "order_payments": {
            "amount_minor",
            "asking_store_id",
            "currency",
            "order_version",
            "payer_kind",
            "payer_value",
        },
        "requests": {"refusal"},
    },
    "thirdparty_server": {
        "accounts": {"credit_limit_minor"},
        "identities": {"pin_hash"},
        "order_presentations": {"claim_place", "claimed_by", "sticker_hash"},  # claimed by nobody; without a sticker
        "payment_history": {"from_state", "identity_id", "pin_tries_left"},  # nobody was found; no PIN was wrong
        "payments": {"hold_id", "identity_id"},  # before the order was locked for it, and who pays was known
        "phones": {"token_expires_at_ms", "token_hash"},  # signed out
        "pin_tries": {"right_pin"},  # not known yet, or wrong
        "requests": {"refusal"},
        "stores": {"unreferenced_refund_limit_minor"},
        "transfers": {"ends_phase", "hold_id"},  # of what ends no hold
        "wallets": {"threshold_minor", "unconfirmed_per_day_max"},
    },
    "store_terminal": {
        "checkout_history": {"from_state"},
        "requests": {"refusal"},
        "till_refunds": {"amount_minor", "payer_kind", "payer_value"},  # not answered yet; by pay code
    },
}


@pytest.mark.parametrize("service", MAY_LACK)
def test_a_row_has_everything_but_what_it_may_lack(service: str, database_url: str) -> None:
    engine = open_engine(parse_url(database_url))
    prepare(engine, tables(service))
    inspector = inspect(engine)
    lacking = {
        table: {column["name"] for column in inspector.get_columns(table) if column["nullable"]}
        for table in inspector.get_table_names()
        if table != VERSION_TABLE
    }
    assert {table: columns for table, columns in lacking.items() if columns} == MAY_LACK[service]
