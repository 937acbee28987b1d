"""Structured logs, and the trace id that follows a payment through all processes."""

import logging
import random
import re
import sys
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import structlog

from tillmesh.runtime.foreign_text import visible_json
from tillmesh.runtime.log_lines import LineWriter

FLUSH_WITHIN_S = 2.0
"""How long the end of a process waits for its log."""
NO_FILE = -1
TRACEPARENT = "traceparent"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")

_ids = random.Random()  # they tell traces apart and protect nothing, and the system's own random numbers cost a call

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
span_id: ContextVar[str] = ContextVar("span_id", default="")
"""The part of the trace that a task is in; empty at its begin."""


def adopt_trace(metadata: Iterable[tuple[str, str | bytes]]) -> None:
    """Continues the caller's trace (W3C Trace Context), or starts one."""
    for key, value in metadata:
        if key == TRACEPARENT and isinstance(value, str) and (match := _TRACEPARENT.fullmatch(value)):
            trace_id.set(match.group(1))
            span_id.set(match.group(2))
            return
    trace_id.set(_new_id(128))
    span_id.set("")


def traceparent() -> str:
    """The header for a call made within the current trace."""
    return f"00-{trace_id.get() or _new_id(128)}-{span_id.get() or _new_id(64)}-01"


def _new_id(bits: int) -> str:
    return f"{_ids.getrandbits(bits):0{bits // 4}x}"


def _add_trace(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if trace := trace_id.get():
        event["trace_id"] = trace
    return event


def _text(make: Callable[[], str], make_plainly: Callable[[Exception], str]) -> str:
    """A text of what was logged, whatever that raises: nobody fails because of the log."""
    try:
        return make()
    except Exception as error:
        return make_plainly(error)


def _shown(value: object) -> str:
    """What an object says of itself, or that it says nothing."""
    return _text(lambda: repr(value), lambda error: f"<{type(value).__name__} that raises {type(error).__name__}>")


def render(logger: object, method: str, event: structlog.typing.EventDict) -> str:
    """One JSON object, whatever was logged: it shows as a text what JSON cannot show."""
    given = dict(event)

    def plainly(_error: Exception) -> str:
        shown = {str(key): value if isinstance(value, str) else _shown(value) for key, value in given.items()}
        return _rendered(logger, method, shown)

    return _text(lambda: _rendered(logger, method, event), plainly)


def _rendered(logger: object, method: str, event: structlog.typing.EventDict) -> str:
    rendered: Any = event
    for processor in _PROCESSORS:
        rendered = processor(logger, method, rendered)
    return visible_json(str(rendered))


_PROCESSORS: tuple[structlog.typing.Processor, ...] = (
    _add_trace,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(),
)


def _lines_dropped(count: int) -> str:
    return render(None, "warning", {"event": "log_lines_dropped", "count": count})


class _Lines:
    """The logger of structlog behind which a `LineWriter` is."""

    def __init__(self, writer: LineWriter) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = self.msg = writer.add


class _LineHandler(logging.Handler):
    """The handler of the logging module behind which a `LineWriter` is."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Hands the line on; where it cannot be made, what it was to be made of."""
        told = f"{record.levelname} {record.name}"
        line = _text(lambda: self.format(record), lambda _error: f"{told} {_shown(record.msg)} {_shown(record.args)}")
        self._writer.add(line)


class Logs:
    """The log of this process."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def tell(self, line: str) -> None:
        """Writes a line for people, after all that was logged before."""
        self._writer.add(line)

    def lines_dropped(self) -> int:
        """How many lines were lost since the start."""
        return self._writer.dropped_ever

    def flush(self) -> None:
        """Returns once everything is written; it does not wait long for a reader that does not read."""
        self._writer.flush(FLUSH_WITHIN_S)


def configure_logs(server: str, level: str) -> Logs:
    """One JSON object a line on standard error; `level` as in the logging module.

    Who logs neither waits nor fails, whatever standard error is.
    """
    writer = LineWriter(sys.stderr.fileno() if sys.stderr else NO_FILE, _lines_dropped)
    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=lambda *_: _Lines(writer),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    handlers = [_LineHandler(writer)]
    logging.basicConfig(handlers=handlers, level=level, format=f"{server} %(levelname)s %(name)s %(message)s")
    _log_what_python_says()
    return Logs(writer)


def _log_what_python_says() -> None:
    """Python itself writes warnings and uncaught errors to standard error, and waits for it."""
    said = logging.getLogger("python")
    logging.captureWarnings(True)
    sys.unraisablehook = lambda what: said.error("%s", what.err_msg or "ignored", exc_info=what.exc_value)
    threading.excepthook = lambda what: said.error("a thread ended", exc_info=what.exc_value)
