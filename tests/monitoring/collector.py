"""A collector of OpenTelemetry, which keeps what it is sent."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as api
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service


@dataclass(frozen=True)
class Seen:
    """A span as it came."""

    server: str
    name: str
    trace_id: str
    span_id: str
    above: str
    facts: dict[str, str]


class Collector(service.TraceServiceServicer):
    """What came so far."""

    def __init__(self) -> None:
        self._spans: list[Seen] = []
        self._lock = threading.Lock()

    def Export(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """Takes spans in."""
        with self._lock:
            for of_server in request.resource_spans:
                (server,) = (
                    one.value.string_value for one in of_server.resource.attributes if one.key == "service.name"
                )
                self._spans += [_seen(server, span) for part in of_server.scope_spans for span in part.spans]
        return api.ExportTraceServiceResponse()

    def spans(self) -> list[Seen]:
        """All of them."""
        with self._lock:
            return list(self._spans)


def _seen(server: str, span: Any) -> Seen:
    facts = {fact.key: fact.value.string_value for fact in span.attributes}
    return Seen(server, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), facts)


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """A collector, and where it listens."""
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    service.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None)
