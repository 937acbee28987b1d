"""Page tokens (AIP-158): opaque, and good only for the filters they were made with."""

import base64
import binascii
import hashlib
import json
from typing import Any

from tillmesh.runtime.errors import FieldViolation, invalid

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 200


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
        key, digest = json.loads(base64.urlsafe_b64decode(token.encode()))
        if digest == _digest(filters) and [type(part) for part in key] == types:
            return list(key)
    except (ValueError, TypeError, binascii.Error):
        key = None
    description = "must be the next_page_token of an answer to the same request with the same filters"
    raise invalid([FieldViolation("page_token", description)])


def _digest(filters: list[Any]) -> str:
    return hashlib.sha256(json.dumps(filters).encode()).hexdigest()[:16]
