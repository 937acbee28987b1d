"""Request ids, kept for ever in the transaction of their effect (AIP-155).

The first answer is stored beside its id, so that a repeated request returns it
whatever has happened since. A refused request has no effect and is not kept.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message
from sqlalchemy import Column, Connection, LargeBinary, MetaData, String, Table, bindparam, insert, select

from tillmesh.runtime.errors import CommonReason

Answer = TypeVar("Answer", bound=Message)


class Request(Protocol):
    """A protobuf request that carries a request id."""

    request_id: str

    def SerializeToString(self, *, deterministic: bool = False) -> bytes:
        """The message as bytes."""


def requests_table(metadata: MetaData) -> Table:
    """The table of one database's request ids."""
    return Table(
        "requests",
        metadata,
        Column("request_id", String, primary_key=True),
        Column("content_hash", LargeBinary, nullable=False),
        Column("answer", LargeBinary, nullable=False),
    )


def content_hash(request: Any) -> bytes:
    """What makes two requests the same: their type and every field."""
    name = type(request).__name__.encode()
    return hashlib.sha256(name + b"\0" + request.SerializeToString(deterministic=True)).digest()


class RequestLog:
    """Runs each request's effect once."""

    def __init__(self, metadata: MetaData) -> None:
        table = requests_table(metadata)
        self._find = select(table.c.content_hash, table.c.answer).where(table.c.request_id == bindparam("request_id"))
        self._insert = insert(table)

    def once(
        self, connection: Connection, request: Request, answer_type: type[Answer], effect: Callable[[], Answer]
    ) -> Answer:
        """The first answer to this request; makes it by `effect` the first time.

        Raises REQUEST_ID_REUSED when the id came with other content before.
        """
        digest = content_hash(request)
        stored = self._stored(connection, request.request_id, digest)
        if stored is not None:
            return answer_type.FromString(stored)
        answer = effect()
        self._store(connection, request.request_id, digest, answer.SerializeToString())
        return answer

    def first(self, connection: Connection, request: Request) -> bool:
        """True the first time; for requests that are answered with how things stand now.

        Raises REQUEST_ID_REUSED when the id came with other content before.
        """
        digest = content_hash(request)
        if self._stored(connection, request.request_id, digest) is not None:
            return False
        self._store(connection, request.request_id, digest, b"")
        return True

    def _stored(self, connection: Connection, request_id: str, digest: bytes) -> bytes | None:
        row = connection.execute(self._find, {"request_id": request_id}).one_or_none()
        if row is None:
            return None
        if row.content_hash != digest:
            raise CommonReason.REQUEST_ID_REUSED(request_id=request_id)
        return bytes(row.answer)

    def _store(self, connection: Connection, request_id: str, digest: bytes, answer: bytes) -> None:
        values = {"request_id": request_id, "content_hash": digest, "answer": answer}
        connection.execute(self._insert, values)
