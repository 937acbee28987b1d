"""Request ids, kept for ever in the transaction of their effect (AIP-155).

The first answer is stored beside its id, so that a repeated request returns it
whatever has happened since. A refusal is an answer as well: a copy of the request
that comes late finds the same no, and can not do what its sender was told was not done.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc import StatusCode
from sqlalchemy import Boolean, Column, LargeBinary, MetaData, String, Table, bindparam, insert, select

from tillmesh.runtime.callers import principal
from tillmesh.runtime.database import Database
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.statements import Connection

Answer = TypeVar("Answer", bound=Message)
Result = TypeVar("Result")


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
        Column("refused", Boolean, nullable=False),
        Column("answer", LargeBinary, nullable=False),
    )


def content_hash(request: Any) -> bytes:
    """What makes two requests the same: who calls, their type and every field but secrets.

    A hash of a PIN is as good as the PIN: there are only so many.
    """
    if secret := _secret_fields(request.DESCRIPTOR):
        public = type(request)()
        public.CopyFrom(request)
        for name in secret:
            public.ClearField(name)
        request = public
    prefix = f"{principal()}\0{type(request).__name__}\0".encode()
    return hashlib.sha256(prefix + request.SerializeToString(deterministic=True)).digest()


@cache
def _secret_fields(descriptor: Descriptor) -> list[str]:
    """Fields that the contracts mark with debug_redact."""
    return [field.name for field in descriptor.fields if field.GetOptions().debug_redact]


class RequestLog:
    """Runs each request's effect once."""

    def __init__(self, metadata: MetaData) -> None:
        table = requests_table(metadata)
        self._find = select(table).where(table.c.request_id == bindparam("key"))
        self._insert = insert(table)

    async def run(self, database: Database, request: Request, operation: Callable[[Connection], Result]) -> Result:
        """Runs an operation that uses `once` or `first`, and remembers its refusal if it is refused."""
        try:
            return await database.run(operation)
        except Refusal as refusal:
            if refusal.code in (StatusCode.UNAVAILABLE, StatusCode.PERMISSION_DENIED):
                raise  # nothing was decided, or not for this caller
            status = refusal.to_status("").SerializeToString()
        # Another copy of the request may have been first: then its answer counts, whatever it is.
        await database.run(lambda connection: self._store(connection, request, status, refused=True))
        return await database.run(operation)

    def once(
        self, connection: Connection, request: Request, answer_type: type[Answer], effect: Callable[[], Answer]
    ) -> Answer:
        """The first answer to this request; makes it by `effect` the first time.

        Raises REQUEST_ID_REUSED when the id came with other content before.
        """
        stored = self._stored(connection, request)
        if stored is not None:
            return answer_type.FromString(stored)
        answer = effect()
        self._store(connection, request, answer.SerializeToString())
        return answer

    def first(self, connection: Connection, request: Request) -> bool:
        """True the first time; for requests that are answered with how things stand now.

        Raises REQUEST_ID_REUSED when the id came with other content before.
        """
        if self.seen(connection, request):
            return False
        self._store(connection, request, b"")
        return True

    def seen(self, connection: Connection, request: Request) -> bool:
        """True if the request was answered before; raises what it was refused with, and as `first`."""
        return self._stored(connection, request) is not None

    def _stored(self, connection: Connection, request: Request) -> bytes | None:
        row = connection.execute(self._find, {"key": request.request_id}).one_or_none()
        if row is None:
            return None
        if row["content_hash"] != content_hash(request):
            raise CommonReason.REQUEST_ID_REUSED(request_id=request.request_id)
        answer = bytes(row["answer"])
        if row["refused"]:
            raise Refusal.from_status(status_pb2.Status.FromString(answer)) or CommonReason.INTERNAL(trace_id="")
        return answer

    def _store(self, connection: Connection, request: Request, answer: bytes, *, refused: bool = False) -> None:
        """Keeps the first answer; of a refusal, unless there is an answer already."""
        if refused and connection.execute(self._find, {"key": request.request_id}).first():
            return
        values = {"request_id": request.request_id, "content_hash": content_hash(request)}
        connection.execute(self._insert, values | {"refused": refused, "answer": answer})
