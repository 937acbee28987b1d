"""Page tokens (AIP-158): opaque, and good only for the filters they were made with."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

from tillmesh.runtime.errors import FieldViolation, invalid
from tillmesh.runtime.fields import CONTROL

Row = TypeVar("Row")

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 200
TOKEN_LENGTH_MAX = 2_000  # ours are shorter
LINES_A_PAGE_MAX = 3_000  # of 1.2 KB at the most: below the 4 MiB that gRPC clients accept


def page_size(requested: int) -> int:
    """The number of rows to return."""
    if requested < 0:
        raise invalid([FieldViolation("page_size", f"must not be negative, was {requested}")])
    return min(requested or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def page_token(key: list[Any], filters: list[Any]) -> str:
    """A token for the page after the row with `key`."""
    return base64.urlsafe_b64encode(json.dumps([key, _digest(filters)]).encode()).decode()


def page_key(token: str, filters: list[Any], types: list[type]) -> list[Any] | None:
    """The key in `token`, of the given types; None for the first page."""
    if not token:
        return None
    try:
        key, digest = json.loads(base64.urlsafe_b64decode(token[:TOKEN_LENGTH_MAX].encode()))
        if digest == _digest(filters) and [type(part) for part in key] == types and all(map(_is_storable, key)):
            return list(key)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        key = None
    description = "must be the next_page_token of an answer to the same request with the same filters"
    raise invalid([FieldViolation("page_token", description)])


class Page(Generic[Row]):
    """One page of a list: what to read for it, and how to cut what was read."""

    def __init__(self, requested_size: int, token: str, filters: list[Any], key_types: list[type]) -> None:
        self._size = page_size(requested_size)
        self._filters = filters
        self.after = page_key(token, filters, key_types)
        """Key of the row before the page; None on the first."""
        self.at_most = self._size + 1
        """Rows to read: one more than the page has tells whether there is another."""

    def cut(
        self,
        rows: Sequence[Row],
        key_of: Callable[[Row], list[Any]],
        lines_of: Callable[[Row], int] = lambda _row: 1,
    ) -> tuple[Sequence[Row], str]:
        """The page's rows, and the token of the next page (empty if this is the last).

        Rows of many lines make a shorter page, as AIP-158 allows, so that every answer fits a message.
        """
        sizes = accumulate(lines_of(row) for row in rows[: self._size])
        fitting = max(1, sum(size <= LINES_A_PAGE_MAX for size in sizes))
        if fitting >= len(rows):
            return rows, ""
        return rows[:fitting], page_token(key_of(rows[fitting - 1]), self._filters)


def _is_storable(part: Any) -> bool:
    """False for what no record has, and a database may not even be asked for."""
    return -(2**63) <= part < 2**63 if isinstance(part, int) else not CONTROL.search(part)


def _digest(filters: list[Any]) -> str:
    return hashlib.sha256(json.dumps(filters).encode()).hexdigest()[:16]
