"""Requests whose effect is one record that is read again when they are repeated."""

from collections.abc import Callable
from typing import TypeVar

from thirdparty_server.schema import REQUESTS
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Transaction

Record = TypeVar("Record")


async def run_once(
    database: Database,
    key: IdempotencyKey,
    resource: str,
    *,
    effect: Callable[[Transaction], Record],
    read: Callable[[Transaction], Record],
) -> Record:
    """Runs `effect` the first time and `read` whenever the request is repeated; `resource` names the record."""
    return await REQUESTS.run(
        database,
        key,
        lambda transaction: REQUESTS.once(
            transaction,
            key,
            effect=lambda: effect(transaction),
            resource=lambda _record: resource,
            read=lambda _resource: read(transaction),
        ),
    )


async def create_named(
    database: Database,
    key: IdempotencyKey,
    *,
    create: Callable[[Transaction], Record],
    read: Callable[[Transaction], Record],
    exists: Callable[[], Refusal],
) -> Record:
    """The same for a record whose chosen name is the key, "store/store-1".

    `exists` is the refusal where the name was used with other content: no request id was used twice.
    """
    try:
        return await run_once(database, key, key.request_id, effect=create, read=read)
    except Refusal as refusal:
        if refusal.reason == CommonReason.REQUEST_ID_REUSED.name:
            raise exists() from None
        raise
