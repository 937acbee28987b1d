"""Sends spans to a collector of OpenTelemetry by OTLP. Nobody imports this unless a collector is named."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    format_span_id,
    set_span_in_context,
)
from opentelemetry.trace import Span as OpenSpan

from tillmesh.runtime import spans
from tillmesh.runtime.telemetry import span_id, trace_id

WAITING_MAX = 4_096
"""So many spans wait for a collector that is slow or away; what comes then is dropped."""
SENT_AT_ONCE = 512
SEND_EVERY_MS = 1_000
SEND_WITHIN_S = 5
END_WITHIN_S = 1.0
"""How long the end of a server waits for the collector."""
KINDS = {
    spans.Kind.SERVED: SpanKind.SERVER,
    spans.Kind.MADE: SpanKind.CLIENT,
    spans.Kind.INSIDE: SpanKind.INTERNAL,
}


class _Ids(IdGenerator):
    """Begins no trace of its own: a span without one above it is the first of the trace that the task is in."""

    def __init__(self) -> None:
        self._rng = random.Random()

    def generate_trace_id(self) -> int:
        """That of the task."""
        return int(trace_id.get() or "0", 16) or self._rng.getrandbits(128)

    def generate_span_id(self) -> int:
        """A new one."""
        return self._rng.getrandbits(64) or 1


class _Span:
    """A span of the library, as ours."""

    def __init__(self, made: OpenSpan) -> None:
        self._made = made
        self.span_id = format_span_id(made.get_span_context().span_id)

    def say(self, **facts: str) -> None:
        """Adds facts."""
        for name, value in facts.items():
            self._made.set_attribute(f"rpc.{name}", value)

    def end(self) -> None:
        """Hands it to the thread that sends."""
        self._made.end()


@contextmanager
def exporting(server: str, endpoint: str) -> Iterator[None]:
    """Sends spans to the collector for the length of a block. A collector that is away holds nothing up."""
    exporter = OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http://"), timeout=SEND_WITHIN_S)
    provider = TracerProvider(resource=Resource({"service.name": server}), id_generator=_Ids(), shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=WAITING_MAX,
            max_export_batch_size=SENT_AT_ONCE,
            schedule_delay_millis=SEND_EVERY_MS,
        )
    )
    tracer = provider.get_tracer("tillmesh")

    def begin(name: str, kind: spans.Kind) -> spans.Span:
        context = set_span_in_context(NonRecordingSpan(_above()))
        return _Span(tracer.start_span(name, context=context, kind=KINDS[kind]))

    spans.make_with(begin)
    try:
        yield
    finally:
        spans.make_with(None)
        ending = threading.Thread(target=provider.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(END_WITHIN_S)


def _above() -> SpanContext:
    """The span that this task is in."""
    if not span_id.get():
        return INVALID_SPAN_CONTEXT
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id.get(), 16), int(span_id.get(), 16), is_remote=True, trace_flags=flags)
