"""What comes back from a call."""

import hashlib
from dataclasses import dataclass
from typing import Any

from grpc import StatusCode, aio


@dataclass
class Reply:
    """An answer on its way back."""

    code: StatusCode
    payload: bytes = b""
    details: str = ""
    trailing: tuple[tuple[str, Any], ...] = ()
    brief: str = ""


def error_of(reply: Reply) -> aio.AioRpcError:
    """What a caller gets for a reply that is no answer."""
    return aio.AioRpcError(reply.code, aio.Metadata(), aio.Metadata(*reply.trailing), reply.details)


def hash_of(payload: bytes) -> str:
    """A payload for the trace."""
    return hashlib.sha256(payload).hexdigest()[:8]
