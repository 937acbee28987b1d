"""Updates of a record, from the version that the caller read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from thirdparty_server.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned:
    """A record that is updated."""

    version: int = 1
    created_at_ms: int


Record = TypeVar("Record", bound=Versioned)


@dataclass(frozen=True, slots=True)
class Update:
    """The changes to a record, by field, if it still has the version that the caller read."""

    version: int
    changes: Mapping[str, Any]

    def of(self, resource: str, record: Record) -> Record:
        """The record as it is to be; VERSION_MISMATCH if the caller read another version."""
        if record.version != self.version:
            raise Reason.VERSION_MISMATCH(resource=resource, version=record.version, wanted=self.version)
        return replace(record, version=record.version + 1, **self.changes)
