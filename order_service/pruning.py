"""What of old orders may be pruned: their histories, and the lines of the versions before the last.

The lines of the last version stay: they are what was paid, and refunds are computed from them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select

from order_service.audit import changed, is_covered
from order_service.tables import UNPRUNED, order_history, order_versions, orders, pruned
from tillmesh.storage.pruning import Histories, Prunable
from tillmesh.storage.statements import Row, Transaction

_FIND_VERSION = select(order_versions).where(
    order_versions.c.order_id == bindparam("key"), order_versions.c.version == bindparam("wanted")
)
_DELETE_VERSIONS = delete(order_versions).where(
    order_versions.c.order_id == bindparam("key"),
    order_versions.c.version <= bindparam("through_version"),
    order_versions.c.version < bindparam("last_version"),
)


class OrderHistories(Histories):
    """Orders with their versions."""

    def differences(self, transaction: Transaction, record: Row, rows: Sequence[Row]) -> list[str]:
        """Versions that are not those that the history covers."""
        found = []
        for row in filter(makes_a_version, rows):
            values = {"key": row["order_id"], "wanted": row["version"]}
            version = transaction.execute(_FIND_VERSION, values).one_or_none()
            if version is None or not is_covered(record, version, row):
                found.append(changed(row["version"]))
        return found

    def covered(self, rows: Sequence[Row], entry: Row | None) -> Mapping[str, Any]:
        """The hash of the last version that these rows made, or rows that are gone already."""
        if made := list(filter(makes_a_version, rows)):
            last = made[-1]
            return {"version": last["version"], "content_hash": last["content_hash"], "content_at_ms": last["at_ms"]}
        assert entry is not None, "the first row of a history makes a version"
        return {name: entry[name] for name in ("version", "content_hash", "content_at_ms")}

    def remove_others(self, transaction: Transaction, record: Row, entry: Row) -> None:
        """Removes the lines of versions whose rows are gone, but those of the last."""
        values = {
            "key": record["order_id"],
            "through_version": entry["version"],
            "last_version": record["version"],
        }
        transaction.execute(_DELETE_VERSIONS, values)


def makes_a_version(row: Row) -> bool:
    """True for a row of the history that made a version."""
    return row["content_hash"] is not None


PRUNABLE: Sequence[Prunable] = [OrderHistories(orders, order_history, pruned, UNPRUNED)]
