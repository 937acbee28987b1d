"""Structured logs, and the trace id that follows a payment through all processes."""

import logging
import random
import re
import sys
from collections.abc import Iterable
from contextvars import ContextVar

import structlog

TRACEPARENT = "traceparent"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")

_ids = random.Random()  # they tell traces apart and protect nothing, and the system's own random numbers cost a call

trace_id: ContextVar[str] = ContextVar("trace_id", default="")


def adopt_trace(metadata: Iterable[tuple[str, str | bytes]]) -> None:
    """Continues the caller's trace (W3C Trace Context), or starts one."""
    for key, value in metadata:
        if key == TRACEPARENT and isinstance(value, str) and (match := _TRACEPARENT.fullmatch(value)):
            trace_id.set(match.group(1))
            return
    trace_id.set(_new_id(128))


def traceparent() -> str:
    """The header for a call made within the current trace."""
    return f"00-{trace_id.get() or _new_id(128)}-{_new_id(64)}-01"


def _new_id(bits: int) -> str:
    return f"{_ids.getrandbits(bits):0{bits // 4}x}"


def _add_trace(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if trace := trace_id.get():
        event["trace_id"] = trace
    return event


def configure_logs(server: str, level: str) -> None:
    """One JSON object a line on standard error; `level` as in the logging module."""
    structlog.configure(
        processors=[
            _add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    logging.basicConfig(stream=sys.stderr, level=level, format=f"{server} %(levelname)s %(name)s %(message)s")
