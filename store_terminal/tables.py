"""All tables of this server's database."""

from store_terminal.catalogue import tables as catalogue_tables
from store_terminal.checkouts import tables as checkout_tables
from store_terminal.outbox import tables as outbox_tables
from store_terminal.presenting import tables as presenting_tables
from store_terminal.receipts import tables as receipt_tables
from store_terminal.refunds import tables as refund_tables
from store_terminal.scanning import tables as scanning_tables
from store_terminal.schema import METADATA

__all__ = [
    "METADATA",
    "catalogue_tables",
    "checkout_tables",
    "outbox_tables",
    "presenting_tables",
    "receipt_tables",
    "refund_tables",
    "scanning_tables",
]
