"""Logs that cannot be written: a full disk, and a pipe whose reader does not read."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tillmesh.local.processes import ServerName

FULL_LOGS: Mapping[ServerName, Path] = dict.fromkeys(ServerName, Path("/dev/full"))
PIPE_BYTES = 4_096
"""A few dozen lines."""


@contextmanager
def stalled_logs(folder: Path) -> Iterator[Mapping[ServerName, Path]]:
    """Named pipes which somebody has open, and does not read."""
    folder.mkdir(parents=True)
    pipes = {role: folder / f"{role}.pipe" for role in ServerName}
    readers = []
    for path in pipes.values():
        os.mkfifo(path)
        readers.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        fcntl.fcntl(readers[-1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        yield pipes
    finally:
        for reader in readers:
            os.close(reader)
