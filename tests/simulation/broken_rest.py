"""Ways in which the till, and what the servers keep of request ids, could go wrong; see `mutants`."""

import asyncio
from dataclasses import replace
from typing import Any

from store_terminal.checkouts import verdicts
from tests.simulation.process import is_dead
from tillmesh.storage import requests
from tillmesh.storage.requests import IdempotencyKey

Patch = tuple[Any, str, Any]
COLUMNS = "request_id, actor, method, content_hash, resource, refusal, at_ms"


def time_out_is_safe_to_retry() -> list[Patch]:
    """Whoever waits no longer need not wait for the order's word."""
    real = verdicts._while_paying

    def while_paying(attempt: Any, locked_by_another: bool, now_ms: int, age_ms: int) -> Any:
        told = real(attempt, locked_by_another, now_ms, age_ms)
        over = now_ms >= attempt.deadline_at_ms or told.verdict is verdicts.Verdict.DO_NOT_RETRY
        return replace(told, verdict=verdicts.Verdict.SAFE_TO_RETRY) if over else told

    return [(verdicts, "_while_paying", while_paying)]


def request_id_is_stored_later() -> list[Patch]:
    """A second transaction stores the id, a second after the effect; a crash in between forgets it."""
    insert = f"INSERT OR IGNORE INTO requests ({COLUMNS}) VALUES (?, ?, ?, ?, ?, NULL, ?)"

    real = requests._store

    def store(transaction: Any, key: IdempotencyKey, resource: str, refusal: bytes | None) -> None:
        if refusal is not None:
            real(transaction, key, resource, refusal)
            return
        row = key.request_id, key.actor, key.method, key.content_hash, resource, key.at_ms
        sqlite = transaction._cursor.connection

        def later() -> None:
            if not is_dead():
                sqlite.execute(insert, row)

        asyncio.get_running_loop().call_later(1.0, later)

    return [(requests, "_store", store)]


def refusals_are_not_kept() -> list[Patch]:
    """A request that was refused is as good as new."""
    return [(requests, "_store_refusal", lambda _transaction, _key, _refusal: None)]


def answers_forget_refusals() -> list[Patch]:
    """The refusal is kept, but whoever answers the request does not look at it."""
    real, real_store = requests.find_resource, requests._store

    def refused(transaction: Any, key: IdempotencyKey) -> bool:
        known = transaction.execute(requests._FIND, {"key": key.request_id}).one_or_none()
        return bool(known and known["refusal"])

    def find_resource(transaction: Any, key: IdempotencyKey) -> str | None:
        return None if refused(transaction, key) else real(transaction, key)

    def store(transaction: Any, key: IdempotencyKey, *rest: Any) -> None:
        if not refused(transaction, key):
            real_store(transaction, key, *rest)

    return [(requests, "find_resource", find_resource), (requests, "_store", store)]
