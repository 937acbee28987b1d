"""Everything that a server counts and measures, in one place; `tillmesh.rpc.metrics_page` shows it to Prometheus.

To count costs a microsecond, and never waits or fails. Labels have values from closed sets alone, such as methods,
codes and states: a caller can make no new ones.
"""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
COMMIT_SECONDS = (0.0001, 0.00025, 0.0005, *SECONDS[:13])
OPERATIONS = (1, 2, 4, 8, 16, 32)
UNANSWERED = "UNANSWERED"
"""The code of a call to another server that nobody answered in time."""

CALLS = Counter(
    "tillmesh_calls", "Calls that were served, by method and gRPC code.", ["method", "code"], registry=REGISTRY
)
CALL_SECONDS = Histogram(
    "tillmesh_call_seconds",
    "How long a served call took, streams left out.",
    ["method"],
    buckets=SECONDS,
    registry=REGISTRY,
)
CALLS_OF_ROLE = Counter(
    "tillmesh_calls_of_role",
    "The same calls by the role in the caller's certificate; unknown for a caller without one.",
    ["role"],
    registry=REGISTRY,
)
CALLS_UNDER_WAY = Gauge("tillmesh_calls_under_way", "Calls that are being served, streams left out.", registry=REGISTRY)
STREAMS = Gauge("tillmesh_streams", "Streams that are open.", registry=REGISTRY)
REFUSALS = Counter(
    "tillmesh_refusals", "Calls that were refused, by the reason in ErrorInfo.", ["reason"], registry=REGISTRY
)
CALLS_MADE = Counter(
    "tillmesh_calls_made",
    "Calls to other servers, by method and gRPC code, repeats left out; UNANSWERED where no answer came in time.",
    ["method", "code"],
    registry=REGISTRY,
)
CALL_MADE_SECONDS = Histogram(
    "tillmesh_call_made_seconds",
    "How long a call to another server took, repeats included.",
    ["method"],
    buckets=SECONDS,
    registry=REGISTRY,
)
COMMIT = Histogram(
    "tillmesh_commit_seconds",
    "SQLite: how long a commit took to be on disk. PostgreSQL: how long a whole transaction took.",
    buckets=COMMIT_SECONDS,
    registry=REGISTRY,
)
OPERATIONS_A_COMMIT = Histogram(
    "tillmesh_operations_a_commit",
    "How many operations shared a transaction.",
    buckets=OPERATIONS,
    registry=REGISTRY,
)
WAITING = Gauge(
    "tillmesh_operations_waiting",
    "Operations that waited for the database when the last transaction began. At 64 calls are refused.",
    registry=REGISTRY,
)
WRONG_PAY_CODES = Counter(
    "tillmesh_wrong_pay_codes",
    "Payments that were asked for with a pay code that does not count, by reason. A repeated request counts again.",
    ["reason"],
    registry=REGISTRY,
)
UNFINISHED = Gauge(
    "tillmesh_unfinished",
    "Records that are not final and that the server has to act on, by kind and state. At 1,000 the count ends.",
    ["kind", "state"],
    registry=REGISTRY,
)
OLDEST_SECONDS = Gauge(
    "tillmesh_oldest_unfinished_seconds",
    "For how long the oldest of them has been as it is. Of lapsed leases: by how much the sweeper is late.",
    ["kind", "state"],
    registry=REGISTRY,
)
BACKLOG_READ = Gauge(
    "tillmesh_backlog_read_timestamp_seconds",
    "When the two above were last read, as a Unix time. They are read every 10 seconds.",
    registry=REGISTRY,
)
BOUND_SECONDS = Gauge(
    "tillmesh_row_bound_age_seconds",
    "PostgreSQL: for how long the oldest open transaction of the cluster has held back rows of streams and statements.",
    registry=REGISTRY,
)
LOG_LINES_DROPPED = Gauge(
    "tillmesh_log_lines_dropped",
    "Lines that the log lost since the start, because their reader was too slow or the disk was full.",
    registry=REGISTRY,
)


def count_call(method: str, code: str, role: str, seconds: float | None) -> None:
    """Counts a served call; `seconds` is None for a stream."""
    _calls(method, code).inc()
    _of_role(role).inc()
    if seconds is not None:
        _took(method).observe(seconds)


def count_made_call(method: str, code: str, seconds: float) -> None:
    """Counts a call to another server."""
    _made(method, code).inc()
    _made_took(method).observe(seconds)


# To look labels up costs more than to count.
_calls = cache(CALLS.labels)
_took = cache(CALL_SECONDS.labels)
_of_role = cache(CALLS_OF_ROLE.labels)
_made = cache(CALLS_MADE.labels)
_made_took = cache(CALL_MADE_SECONDS.labels)
