"""Page tokens (AIP-158): opaque, and good only for the filters they were made with."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from tillmesh.runtime.errors import FieldViolation, invalid
from tillmesh.storage.lists import After
from tillmesh.storage.seal import Seal

Row = TypeVar("Row")
Shown = TypeVar("Shown", bound=Message)

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 200
PAGE_BYTES_MAX = 3 * 1024 * 1024  # gRPC clients accept 4 MiB


def page_size(requested: int) -> int:
    """The number of rows to return."""
    if requested < 0:
        raise invalid([FieldViolation("page_size", f"must not be negative, was {requested}")])
    return min(requested or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


class Page(Generic[Row]):
    """One page of a list: what to read for it, and how to cut what was read.

    `filters` begin with the list's name, so that no token is good for another list.
    """

    def __init__(self, seal: Seal, requested_size: int, token: str, filters: list[Any]) -> None:
        self.size = page_size(requested_size)
        """The most rows that the page may have."""
        self._seal = seal
        self._context = repr(filters)
        self.after: list[Any] | None = self._key_in(token) if token else None
        """Key of the row before the page; None on the first."""
        self.at_most = self.size + 1
        """Rows to read: one more than the page has tells whether there is another."""

    def cut(
        self, rows: Sequence[Row], key_of: Callable[[Row], Sequence[Any]], to_message: Callable[[Row], Shown]
    ) -> tuple[list[Shown], str]:
        """The page's messages, and the token of the next page (empty if this is the last).

        Large rows make a shorter page, as AIP-158 allows, so that every answer fits a message.
        """
        shown: list[Shown] = []
        size = 0
        for row in rows[: self.size]:
            message = to_message(row)
            size += message.ByteSize()
            if shown and size > PAGE_BYTES_MAX:
                break
            shown.append(message)
        if len(shown) == len(rows):
            return shown, ""
        return shown, self.token(key_of(rows[len(shown) - 1]))

    def token(self, end: After) -> str:
        """The token of the page that follows the row with that key; empty if there is none."""
        return "" if end is None else self._seal.close(json.dumps(end), self._context)

    def _key_in(self, token: str) -> list[Any]:
        text = self._seal.open(token, self._context)
        if text is None:
            description = "must be the next_page_token of an answer to the same request with the same filters"
            raise invalid([FieldViolation("page_token", description)])
        key: list[Any] = json.loads(text)
        return key
