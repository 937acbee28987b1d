"""Request ids, kept for ever in the transaction of their effect (AIP-155).

What is kept of an id is small: who used it, for what, and either the record that came of it or the refusal. So a
repeated request gets that record as it is now. A refusal is kept as well: a copy of the request that comes late finds
the same no, and cannot do what its sender was told was not done. No id is ever freed.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Concatenate, ParamSpec, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc import StatusCode
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String, Table, bindparam, insert, select

from tillmesh.api.type.v1 import annotations_pb2
from tillmesh.auth.callers import actor, principal
from tillmesh.runtime.errors import CommonReason, Refusal, invalid
from tillmesh.storage.batches import like
from tillmesh.storage.database import Database, append_only
from tillmesh.storage.statements import Transaction

NOT_REMEMBERED = (StatusCode.UNAVAILABLE, StatusCode.PERMISSION_DENIED, StatusCode.RESOURCE_EXHAUSTED)
"""Refusals that are not remembered: nothing was decided, or not for this caller."""

Record = TypeVar("Record")
Arguments = ParamSpec("Arguments")


def requests_table(metadata: MetaData) -> Table:
    """The table of one database's request ids; the database lets nobody free one."""
    table = Table(
        "requests",
        metadata,
        Column("request_id", String, primary_key=True),
        Column("actor", String, nullable=False),
        Column("method", String, nullable=False),
        Column("content_hash", LargeBinary, nullable=False),
        Column("resource", String, nullable=False),
        Column("refusal", LargeBinary),
        Column("at_ms", BigInteger, nullable=False),
    )
    append_only(table)
    return table


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A request id, and what makes two requests with it the same."""

    request_id: str
    content_hash: bytes
    method: str
    actor: str
    at_ms: int

    @staticmethod
    def of(request: Message, request_id: str, now_ms: int) -> "IdempotencyKey":
        """The key of a request that is being served."""
        method = type(request).__name__.removesuffix("Request")
        return IdempotencyKey(request_id, content_hash(request), method, actor(), now_ms)


def content_hash(request: Message) -> bytes:
    """The identity of a request: its caller, its type and every field but secrets.

    A hash of a PIN is as good as the PIN: there are only so many.
    """
    if secret := secret_fields(request.DESCRIPTOR):
        public = type(request)()
        public.CopyFrom(request)
        for name in secret:
            public.ClearField(name)
        request = public
    prefix = f"{principal()}\0{type(request).__name__}\0".encode()
    return hashlib.sha256(prefix + request.SerializeToString(deterministic=True)).digest()


@cache
def secret_fields(descriptor: Descriptor) -> list[str]:
    """Fields of a message that the contracts mark as secret."""
    return [field.name for field in descriptor.fields if field.GetOptions().Extensions[annotations_pb2.secret]]


def _kept(refusal: Refusal) -> Refusal:
    """The part of a refusal that is kept for ever: of many violations the first.

    Without RetryInfo, which makes clients repeat the id that is refused for ever.
    """
    kept = invalid(refusal.violations[:1]) if refusal.violations else refusal
    kept.retry_after_ms = None
    return kept


_REQUESTS = requests_table(MetaData())
_FIND = select(_REQUESTS).where(_REQUESTS.c.request_id == bindparam("key"))
_INSERT = insert(_REQUESTS)


def answer_once(
    database: Database,
    key: IdempotencyKey,
    resource: str | Callable[[Record], str | None],
    read: Callable[[Transaction, str], Record],
    effect: Callable[Concatenate[Transaction, Arguments], Record],
    /,
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Awaitable[Record]:
    """Makes `effect` once, which makes or changes the record of the id `resource`; `read` answers a repeat.

    A repeat gets the record as it is now. Raises what the request was refused with, and REQUEST_ID_REUSED when
    the id came with other content before. A function as `resource` names the record that came of it; None says that
    nothing was done, and so nothing is kept.
    """

    def once(transaction: Transaction) -> Record:
        known = find_resource(transaction, key)
        if known is not None:
            return read(transaction, known)
        record = effect(transaction, *args, **kwargs)
        made = resource(record) if callable(resource) else resource
        if made is not None:
            _store(transaction, key, made, None)
        return record

    return remember_refusal(database, key, like(effect, once))


async def remember_refusal(
    database: Database, key: IdempotencyKey, operation: Callable[[Transaction], Record]
) -> Record:
    """Runs an operation of a request, and remembers its refusal if it is refused."""
    try:
        return await database.run(operation)
    except Refusal as refusal:
        if refusal.code in NOT_REMEMBERED:
            raise
        refused = _kept(refusal).to_status("").SerializeToString()
    # Another copy of the request may have been first: then its answer counts, whatever it is.
    await database.run(_store_refusal, key, refused)
    return await database.run(operation)


def find_resource(transaction: Transaction, key: IdempotencyKey) -> str | None:
    """The id of the record that the request was about, None the first time; raises as `answer_once` does."""
    row = transaction.execute(_FIND, {"key": key.request_id}).one_or_none()
    if row is None:
        return None
    if row["content_hash"] != key.content_hash:
        raise CommonReason.REQUEST_ID_REUSED(request_id=key.request_id)
    if row["refusal"] is not None:
        status = status_pb2.Status.FromString(row["refusal"])
        raise Refusal.from_status(status) or CommonReason.INTERNAL(trace_id="")
    resource: str = row["resource"]
    return resource


def is_used(transaction: Transaction, request_id: str) -> bool:
    """True for an id that came before."""
    return transaction.execute(_FIND, {"key": request_id}).first() is not None


def use_up(transaction: Transaction, key: IdempotencyKey, resource: str) -> None:
    """Uses up a second id of a request, within its effect; REQUEST_ID_REUSED if that id came before."""
    if is_used(transaction, key.request_id):
        raise CommonReason.REQUEST_ID_REUSED(request_id=key.request_id)
    _store(transaction, key, resource, None)


def _store_refusal(transaction: Transaction, key: IdempotencyKey, refusal: bytes) -> None:
    """Keeps a refusal, unless there is an answer already."""
    if not is_used(transaction, key.request_id):
        _store(transaction, key, "", refusal)


def _store(transaction: Transaction, key: IdempotencyKey, resource: str, refusal: bytes | None) -> None:
    transaction.execute(_INSERT, {**asdict(key), "resource": resource, "refusal": refusal})
