"""Damages the write-ahead logs that killed servers left behind, and opens what remains."""

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import log
from pathlib import Path

from sqlalchemy import MetaData

from order_service.tables import METADATA as ORDERS
from store_terminal.tables import METADATA as TERMINAL
from tests.chaos.books import broken_in
from tests.processes import start_server
from thirdparty_server.tables import METADATA as PAYMENTS
from tillmesh.local.processes import ServerName
from tillmesh.storage.database import open_database
from tillmesh.storage.sqlite import FREE_PRAGMAS

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
# From here on SQLite copies the log into the database. What it copies it has synced before, so
# there no torn tail can reach.
CHECKPOINT_FRAMES = FREE_PRAGMAS["wal_autocheckpoint"]
ONE_IN = 4  # is opened by a server process, the others by the database class that it uses
NOBODY = "127.0.0.1:1"

METADATA: dict[ServerName, MetaData] = {
    ServerName.ORDERS: ORDERS,
    ServerName.PAYMENTS: PAYMENTS,
    ServerName.TERMINAL: TERMINAL,
}
# Rows of these are added and never changed, so a prefix of the commits is a prefix of the rows.
APPEND_ONLY = {
    ServerName.ORDERS: ("requests", "order_history", "order_versions"),
    ServerName.PAYMENTS: ("requests", "payment_history", "transfers", "refunds", "refund_lines"),
    ServerName.TERMINAL: ("requests", "checkout_history"),
}
PEERS = {
    ServerName.ORDERS: [],
    ServerName.PAYMENTS: ["--orders", NOBODY],
    ServerName.TERMINAL: ["--orders", NOBODY, "--payments", NOBODY, "--store-id", "store-1"],
}
Rows = dict[str, list[tuple[object, ...]]]


@dataclass
class Damages:
    """What was done, and what came of it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    by_process: int = 0
    rows_dropped: int = 0
    broken: list[str] = field(default_factory=list)


def committed_bytes(wal: bytes | bytearray) -> int:
    """Where the last commit ends; what follows is left over from an earlier use of the file."""
    page_bytes, salt = int.from_bytes(wal[8:12], "big"), wal[16:24]
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    end = HEADER_BYTES
    for start in range(HEADER_BYTES, len(wal) - frame_bytes + 1, frame_bytes):
        if wal[start + 8 : start + 16] != salt:
            break
        if any(wal[start + 4 : start + 8]):  # the size of the database after a commit, else 0
            end = start + frame_bytes
    return end


def can_be_torn(database: Path) -> bool:
    """True for a log with commits in it, none of which is copied into the database yet."""
    wal = Path(f"{database}-wal").read_bytes()
    page_bytes = int.from_bytes(wal[8:12], "big")
    frames = (committed_bytes(wal) - HEADER_BYTES) // (FRAME_HEADER_BYTES + page_bytes) if page_bytes else 0
    return 0 < frames < CHECKPOINT_FRAMES


def damage_many(
    remains: Mapping[ServerName, Sequence[Path]],
    count: int,
    folder: Path,
    rng: random.Random,
    damaged: Callable[[], None] = lambda: None,
) -> Damages:
    """Damages the log of one of these databases after the other, `count` times."""
    result = Damages()
    torn = {role: [path for path in paths if can_be_torn(path)] for role, paths in remains.items()}
    missing = [role for role, paths in torn.items() if not paths]
    if missing:
        raise ValueError(f"no killed server left a log to damage: {missing}")
    whole = {
        path: _rows(_copy(path, folder / f"whole-{path.parent.name}"), role) for role in torn for path in torn[role]
    }
    with ThreadPoolExecutor(2) as pool:
        jobs = []
        for number in range(count):
            role = list(ServerName)[number % len(ServerName)]
            path = rng.choice(torn[role])
            copy = _copy(path, folder / str(number))
            _damage(Path(f"{copy}-wal"), rng)
            by_process = number // len(ServerName) % ONE_IN == 0
            jobs.append(pool.submit(partial(_open, role, copy, whole[path], by_process, result)))
        for job in jobs:
            job.result()
            damaged()
    return result


def _copy(database: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for suffix in ("", "-wal"):
        shutil.copy(f"{database}{suffix}", folder)
    return folder / database.name


def _damage(path: Path, rng: random.Random) -> None:
    """Cuts the log or flips bytes in it; more often near its end than far from it."""
    wal = bytearray(path.read_bytes())
    end = committed_bytes(wal)
    at = end - int(2 ** rng.uniform(0, log(end, 2)))
    if rng.random() < 0.5:
        del wal[at:]
    else:
        for _ in range(rng.randint(1, 8)):
            wal[rng.randrange(at, end)] ^= rng.randint(1, 255)
    path.write_bytes(wal)


def _open(role: ServerName, database: Path, whole: Rows, by_process: bool, result: Damages) -> None:
    """Opens it as the server does: a committed prefix, or one clear line."""
    untouched = _copy(database, database.parent / "untouched") if by_process else None
    try:
        open_database(f"sqlite:///{database}", METADATA[role])
    except ValueError as refusal:
        result.outcomes["refused"] += 1
        if len(str(refusal).splitlines()) != 1 or str(database) not in str(refusal):
            result.broken.append(f"{database} was refused unclearly: {refusal}")
    else:
        result.outcomes["opened"] += 1
        result.broken += broken_in(role, database)
        kept = _rows(database, role)
        for table, rows in whole.items():
            result.rows_dropped += len(rows) - len(kept[table])
            if kept[table] != rows[: len(kept[table])]:
                result.broken.append(f"{table} of {database} is no prefix of what was committed")
    if untouched:
        result.by_process += 1
        result.broken += _serve(role, untouched)


def _serve(role: ServerName, database: Path) -> list[str]:
    """Starts the server on it: it serves, and what it does keeps the invariants, or it says why not in a line."""
    try:
        start_server(role, database.parent, *PEERS[role], "--log-level=ERROR").kill()
    except AssertionError:
        said = (database.parent / f"{role}.log").read_text().splitlines()
        return [] if len(said) == 1 and said[0].startswith(f"{role}: ") else [f"{role} started not and said {said}"]
    return broken_in(role, database)


def _rows(database: Path, role: ServerName) -> Rows:
    """All rows that are never changed, in the order in which they were added."""
    connection = sqlite3.connect(database)
    try:
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall() if table in found else []
            for table in APPEND_ONLY[role]
        }
    finally:
        connection.close()
