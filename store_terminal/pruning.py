"""What is old and may be pruned: histories, baskets that never became an order, requests that were done, and imports.

A request that was refused stays, as the refusal stands there. So does one of a refund, whose state it is.
"""

from collections.abc import Sequence

from sqlalchemy import and_, bindparam

from store_terminal.catalogue.model import ImportState
from store_terminal.catalogue.tables import imports
from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.tables import UNPRUNED, checkout_history, checkouts, pruned
from store_terminal.outbox.model import EntryState, RequestKind
from store_terminal.outbox.tables import outbox
from tillmesh.storage.pruning import Histories, Leftovers, Prunable
from tillmesh.storage.statements import Row


class CheckoutHistories(Histories):
    """Checkouts; of a basket that nobody else ever knew nothing stays but its entry."""

    def is_needless(self, record: Row) -> bool:
        """True for a basket that was canceled before it became an order."""
        return bool(record["state"] == CheckoutState.CANCELED and record["order_version"] == 0)


_done = and_(
    outbox.c.state == EntryState.DONE,
    outbox.c.kind.not_in([RequestKind.REFUND, RequestKind.UNREFERENCED_REFUND]),
    outbox.c.created_at_ms < bindparam("before_ms"),
)
_ended = and_(
    imports.c.state.not_in([ImportState.OPEN, ImportState.CHECKING]),
    imports.c.updated_at_ms < bindparam("before_ms"),
)

PRUNABLE: Sequence[Prunable] = [
    CheckoutHistories(checkouts, checkout_history, pruned, UNPRUNED),
    Leftovers(outbox.c.request_id, _done),
    Leftovers(imports.c.import_id, _ended),
]
