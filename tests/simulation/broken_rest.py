"""Ways in which the till, and what the servers keep of request ids, could go wrong; see `mutants`."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from store_terminal.checkouts import verdicts
from tests.simulation.process import is_dead
from tillmesh.storage.requests import IdempotencyKey, RequestLog

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

    def once(
        self: RequestLog,
        connection: Any,
        key: IdempotencyKey,
        *,
        effect: Callable[[], Any],
        resource: Callable[[Any], str],
        read: Callable[[str], Any],
    ) -> Any:
        known = self.resource(connection, key)
        if known is not None:
            return read(known)
        record = effect()
        row = key.request_id, key.actor, key.method, key.content_hash, resource(record), key.at_ms
        sqlite = connection._cursor.connection

        def store() -> None:
            if not is_dead():
                sqlite.execute(insert, row)

        asyncio.get_running_loop().call_later(1.0, store)
        return record

    return [(RequestLog, "once", once)]


def refusals_are_not_kept() -> list[Patch]:
    """A request that was refused is as good as new."""
    return [(RequestLog, "_remember_refusal", lambda _self, _connection, _key, _refusal: None)]


def claims_forget_refusals() -> list[Patch]:
    """The refusal is kept, but whoever claims the id does not look at it."""
    real = RequestLog.claim

    def claim(self: RequestLog, connection: Any, key: IdempotencyKey, resource: str) -> bool:
        known = connection.execute(self._find, {"key": key.request_id}).one_or_none()
        return bool(known and known["refusal"]) or real(self, connection, key, resource)

    return [(RequestLog, "claim", claim)]
