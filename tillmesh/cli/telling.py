"""How a command that cannot go on ends: with one plain line, and never with a traceback."""

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from tillmesh.cli.display import err
from tillmesh.client.failures import Failure
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.foreign_text import named, visible

FAILED, WRONG_USAGE, FAULT, INTERRUPTED = 1, 2, 70, 130
_ADVICE = {
    errno.ENOENT: "Check the name.",
    errno.EEXIST: "It is in the way: name another place, or remove it.",
    errno.ENOTDIR: "A folder is needed there, and this is a file: name another place.",
    errno.EISDIR: "A file is needed there, and this is a folder: name another place.",
    errno.EACCES: "Change its rights, or name another place.",
    errno.EPERM: "Change its rights, or name another place.",
    errno.EROFS: "Name a place that can be written.",
    errno.ENOSPC: "Make room on that disk, and try again.",
    errno.EDQUOT: "Make room on that disk, and try again.",
    errno.EFBIG: "Make room on that disk, and try again.",
}
"""What to do about an error of the system."""


@contextmanager
def told_plainly(name: Callable[[], str]) -> Iterator[None]:
    """Ends the process with a line about whatever fails in the block; `name` is the command's."""
    try:
        yield
    except Failure as error:
        _end(name(), str(error), error.exit_status)
    except Refusal as refusal:
        _end(name(), refusal.text, FAILED)
    except BrokenPipeError:  # `tillmesh orders | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
    except OSError as error:
        _end(name(), sentence(error), FAILED)
    except KeyboardInterrupt:
        _end(name(), "Interrupted.", INTERRUPTED)
    except Exception as error:  # noqa: BLE001  # told, and kept as a whole for whoever mends it
        _end(
            name(), f"This is a fault of tillmesh: {visible(repr(error))}. Please report it with {_keep(error)}.", FAULT
        )


def require_text(arguments: list[str]) -> None:
    """Raises `Failure` for an argument that is no UTF-8: no request could carry it."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise WrongUsage(f"The argument {argument!a} is not UTF-8. Type it anew, or rename the file.") from None


class WrongUsage(Failure):
    """A command was called in a wrong way."""

    exit_status = WRONG_USAGE


def sentence(error: OSError) -> str:
    """What the system refused, why, and what to do."""
    what = f"{named(os.fsdecode(error.filename))}: " if isinstance(error.filename, str | bytes) else ""
    advice = _ADVICE.get(error.errno or 0, "")
    return f"{what}{error.strerror or error}. {advice}".rstrip()


def _keep(error: Exception) -> str:
    """The file that the traceback is in; where none can be written, it is shown."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="tillmesh-", suffix=".txt", delete=False) as file:
            file.writelines(traceback.format_exception(error))
            return file.name
    except OSError:
        traceback.print_exception(error)
        return "the lines above"


def _end(name: str, message: str, status: int) -> NoReturn:
    err.print(f"{name}: {message}", soft_wrap=True)
    raise SystemExit(status)
