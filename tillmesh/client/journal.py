"""A till's own notes: each request is written down, on the disk, before it is sent."""

import asyncio
import json
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from tillmesh.client.failures import Failure
from tillmesh.storage.requests import secret_fields

ENTRIES_MAX = 10_000
IN_MEMORY = ":memory:"
OWNER_ALONE = 0o600
_TABLE = """
CREATE TABLE IF NOT EXISTS requests (
    request_id TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    terminal TEXT NOT NULL,
    type TEXT NOT NULL,
    content BLOB NOT NULL,
    has_lost_secret INTEGER NOT NULL
)
"""
_READ = "SELECT request_id, subject, type, content, has_lost_secret FROM requests ORDER BY rowid"
_STRIKE = "DELETE FROM requests WHERE request_id IN (SELECT value FROM json_each(?))"
_MOVE = "UPDATE requests SET subject = ? WHERE request_id = ?"
_WRITE = "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?)"

log = structlog.get_logger()


@dataclass(frozen=True)
class Entry:
    """A request that may have been sent."""

    request_id: str
    subject: str
    """The sale or refund that it is about."""
    request: Message = field(repr=False)
    has_lost_secret: bool = False
    """True if it was read back from the disk, which has no PINs and no pay codes."""


class Journal:
    """The requests of everything that is not final.

    It is a SQLite file that one process uses at a time, and that its owner alone can read. An entry is on the disk
    before `write` returns. Secrets are left out: a till that starts anew asks for a new pay code.
    """

    def __init__(self, path: Path | None, terminal: str) -> None:
        self._name = str(path) if path else IN_MEMORY
        self._terminal = terminal
        self._writer = ThreadPoolExecutor(1, "journal")  # a slow disk holds up no screen
        self._entries: dict[str, Entry] = {}
        self._is_open = True
        try:
            if path:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ALONE))  # SQLite's other files get the same mode
            self._disk = sqlite3.connect(self._name, timeout=0, isolation_level=None, check_same_thread=False)
            self._entries = {entry.request_id: entry for entry in self._open()}
        except (sqlite3.Error, OSError) as error:
            raise Failure(f"The journal {self._name} cannot be opened: {_why(error)}.") from error

    def _open(self) -> list[Entry]:
        self._disk.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._disk.execute("PRAGMA synchronous = EXTRA")
        self._disk.execute("BEGIN EXCLUSIVE")  # from here on no other process has it
        self._disk.execute(_TABLE)
        elsewhere = self._disk.execute("SELECT terminal FROM requests WHERE terminal <> ?", (self._terminal,))
        if other := elsewhere.fetchone():
            self._disk.close()
            raise Failure(
                f"The journal {self._name} has unfinished requests to the terminal at {other[0]}. Resume them there "
                f"first: to the terminal at {self._terminal} they would be new sales."
            )
        rows = self._disk.execute(_READ).fetchall()
        self._disk.execute("COMMIT")
        return [self._entry(*row) for row in rows]

    def _entry(self, request_id: str, subject: str, type_name: str, content: bytes, has_lost_secret: int) -> Entry:
        try:
            made = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(type_name))
            return Entry(request_id, subject, made.FromString(content), bool(has_lost_secret))
        except (KeyError, DecodeError) as error:
            self._disk.close()
            raise Failure(
                f"The journal {self._name} has a request that this version cannot read: {request_id} ({type_name}). "
                "Resume it with the version that wrote it, which is perhaps newer."
            ) from error

    def require_open(self) -> None:
        """Raises `Failure` after `close`."""
        if not self._is_open:
            raise Failure("The till is closed: its block has ended. Connect again; nothing was sent.")

    def subjects(self) -> list[str]:
        """All that is not final, oldest first."""
        return list(dict.fromkeys(entry.subject for entry in self._entries.values()))

    def entries(self, subject: str) -> list[Entry]:
        """The requests about something that is not final, oldest first."""
        return [entry for entry in self._entries.values() if entry.subject == subject]

    async def write(self, entry: Entry) -> None:
        """Puts an entry on the disk; Failure if that cannot be done, and then nothing may be sent."""
        self.require_open()
        if len(self._entries) >= ENTRIES_MAX and not self.entries(entry.subject):  # what is open can be ended
            raise Failure(
                f"The journal {self._name} has {ENTRIES_MAX:,} open requests. Resume them, and cancel what was left; "
                "nothing was sent."
            )
        public, has_secret = _public(entry.request)
        known = self._entries.get(entry.request_id)
        if known and _public(known.request)[0] != public:
            raise Failure(f"{entry.request_id} is the id of another request that is not final. Nothing was sent.")
        row = (
            entry.request_id,
            entry.subject,
            self._terminal,
            entry.request.DESCRIPTOR.full_name,
            public.SerializeToString(deterministic=True),
            has_secret,
        )
        try:
            self._entries[entry.request_id] = entry
            await self._run(_WRITE, row)
        except sqlite3.Error as error:
            if known is None:
                del self._entries[entry.request_id]
            raise Failure(f"The journal {self._name} cannot be written: {_why(error)}. So nothing was sent.") from error

    async def strike(self, *entries: Entry) -> None:
        """Removes entries: nothing is left to ask about them."""
        ids = [entry.request_id for entry in entries if self._entries.pop(entry.request_id, None)]
        if ids:
            await self._tidy(_STRIKE, json.dumps(ids))

    async def move(self, entry: Entry, subject: str) -> None:
        """Files an entry under another subject."""
        self._entries[entry.request_id] = replace(entry, subject=subject)
        await self._tidy(_MOVE, subject, entry.request_id)

    def close(self) -> None:
        """Closes the file; what is being written is written first."""
        self._is_open = False
        self._writer.shutdown()
        self._disk.close()

    async def _tidy(self, statement: str, *values: str) -> None:
        try:
            await self._run(statement, values)
        except sqlite3.Error as error:  # what stays is repeated after the next start, which does nothing twice
            log.warning("journal_not_tidied", journal=self._name, error=_why(error))

    async def _run(self, statement: str, values: Sequence[object]) -> None:
        """One transaction, which is on the disk when this returns."""

        def run() -> None:
            self._disk.execute(statement, values).close()

        await asyncio.get_running_loop().run_in_executor(self._writer, run)


def _public(request: Message) -> tuple[Message, bool]:
    """A request without its secrets, and whether it had any."""
    public = type(request)()
    public.CopyFrom(request)
    for name in secret_fields(request.DESCRIPTOR):
        public.ClearField(name)
    return public, public != request


def _why(error: sqlite3.Error | OSError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "another till uses it" if "locked" in str(error) else str(error)
