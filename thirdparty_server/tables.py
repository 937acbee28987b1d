"""All tables of this server's database."""

from thirdparty_server.claims import tables as claim_tables
from thirdparty_server.ledger import tables as ledger_tables
from thirdparty_server.payers import tables as payer_tables
from thirdparty_server.payments import tables as payment_tables
from thirdparty_server.payments.refunds import tables as refund_tables
from thirdparty_server.schema import METADATA
from thirdparty_server.stores import tables as store_tables

__all__ = [
    "METADATA",
    "claim_tables",
    "ledger_tables",
    "payer_tables",
    "payment_tables",
    "refund_tables",
    "store_tables",
]
