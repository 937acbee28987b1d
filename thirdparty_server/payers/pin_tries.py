"""Tries of a PIN, from their count to their outcome: a caller who leaves ends none of them.

Who could end one would guess without being counted, or would have a right PIN counted as wrong. So each is a task of
its own. A try waits for its turn before it is counted: those who leave by then have tried nothing, and however many
come and leave, few are under way.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import structlog

from thirdparty_server.payers import pin_counting
from thirdparty_server.payers.model import PinTry
from thirdparty_server.payers.vault import HASHES_MAX, Vault
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.secret import Secret
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey, remember_refusal
from tillmesh.storage.statements import Transaction

UNDER_WAY_MAX = 2 * HASHES_MAX
"""While one half is hashed, the other half is counted or settled."""
Outcome = TypeVar("Outcome", bound=PinTry | None)
NoteWrong = Callable[[Transaction, int], object]
"""Notes a wrong PIN, and how many tries are left."""
log = structlog.get_logger()


class PinTries:
    """Makes tries of PINs, each to its end."""

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._turns = asyncio.Semaphore(UNDER_WAY_MAX)
        self._running: set[asyncio.Task[Any]] = set()
        self._by_request: dict[tuple[str, bytes], asyncio.Task[PinTry | None]] = {}

    async def make(self, identity_id: str, pin: Secret) -> PinTry:
        """The try, if its PIN is right; raises the refusal of a wrong one."""
        await self._turns.acquire()
        return await asyncio.shield(self._start(self._try(identity_id, pin)))

    async def make_once(
        self, key: IdempotencyKey, identity_id: str, pin: Secret, note_wrong: NoteWrong
    ) -> PinTry | None:
        """The same, one try for all copies of a request; None if the request was answered before.

        A wrong one is noted once, in a transaction that follows the one that settled it.
        """
        name = key.request_id, key.content_hash
        if name not in self._by_request:
            await self._turns.acquire()
            if name in self._by_request:
                self._turns.release()
            else:
                task = self._start(self._try_once(key, identity_id, pin, note_wrong))
                self._by_request[name] = task
                task.add_done_callback(lambda _: self._by_request.pop(name))
        return await asyncio.shield(self._by_request[name])

    async def drain(self) -> None:
        """Returns once every try has its outcome."""
        while self._running:
            await asyncio.wait(self._running)

    async def _try(self, identity_id: str, pin: Secret) -> PinTry:
        begun = await self._database.run(pin_counting.begin_pin_try, identity_id)
        return await self._database.run(pin_counting.settle_pin_try, await self._vault.checked(begun, pin))

    async def _try_once(
        self, key: IdempotencyKey, identity_id: str, pin: Secret, note_wrong: NoteWrong
    ) -> PinTry | None:
        begin = partial(
            pin_counting.begin_once,
            key=key,
            identity_id=identity_id,
            replica=self._database.replica,
            now_ms=self._clock.now_ms(),
        )
        begun = await remember_refusal(self._database, key, begin)
        if begun is None or begun.right:
            return begun
        checked = await self._vault.checked(begun, pin)
        try:
            settle = partial(pin_counting.settle_once, key=key, pin_try=checked)
            return await remember_refusal(self._database, key, settle)
        except Refusal as refusal:
            await self._note(refusal, note_wrong)
            raise

    async def _note(self, refusal: Refusal, note_wrong: NoteWrong) -> None:
        """Notes a wrong PIN; where that fails the refusal is the same."""
        tries_left = pin_counting.tries_left(refusal)
        if tries_left is None:
            return
        try:
            await self._database.run(note_wrong, tries_left)
        except Refusal as failed:
            log.error("wrong_pin_not_noted", reason=failed.reason)

    def _start(self, work: Coroutine[Any, Any, Outcome]) -> "asyncio.Task[Outcome]":
        """Begins a try, which gives its turn back when it ends."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        self._turns.release()
        if not task.cancelled():
            task.exception()  # seen, also where the caller left
