"""One server, upgrade or prune for a SQLite file: two would write it, and each would believe that nobody else does."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tillmesh.storage.database import is_sqlite, parse_url


@contextmanager
def sole_user(url: str) -> Iterator[None]:
    """Holds the file of a SQLite database for one server, upgrade or prune; ValueError where another has it.

    The lock is on a file beside it, so that SQLite's own locks, commands that read and backups know nothing of it. The
    system gives it back when the process ends, however it ends.
    """
    if not url:
        yield  # a server without a database
        return
    database = parse_url(url)
    path = Path(database.database or "").resolve()
    if not is_sqlite(database) or database.database in (None, "", ":memory:") or not path.parent.is_dir():
        yield  # nothing to hold, or nothing that can be opened, which opening it will tell
        return
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"a server uses the database {path} already; stop it, or name another database") from None
        yield
