"""Puts plain servicer classes behind grpc.aio; the only place that knows both."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import grpc
import structlog
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc import StatusCode, aio
from grpc_status import rpc_status
from prometheus_client import Gauge

from tillmesh.auth.callers import Caller, Gate, Role, caller
from tillmesh.rpc.fields import parser
from tillmesh.rpc.limits import Limits
from tillmesh.runtime import metrics, spans
from tillmesh.runtime.deadlines import set_deadline
from tillmesh.runtime.errors import CommonReason, Refusal, Unanswered
from tillmesh.runtime.secret import Secret
from tillmesh.runtime.telemetry import adopt_trace, span_id, trace_id

Context = aio.ServicerContext[Any, Any]
Access = Mapping[str, frozenset[Role]]
"""The roles that may call a method, by its name."""
SignIn = Callable[[Caller, str, Secret], Awaitable[Caller]]
"""Finds out whose a phone is: from caller, method and bearer token to the caller with its identity_id."""
_BEARER = "Bearer "
UNKNOWN = "unknown"
"""The role and name of a caller without a certificate that counts."""
FLOODING = (StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAUTHENTICATED)
"""Refusals that a caller can cause thousands of times a second. They are not logged one by one."""
log = structlog.get_logger()


async def no_payers(_caller: Caller, _method: str, _token: Secret) -> Caller:
    """The `SignIn` of a server that knows no payers."""
    raise CommonReason.SIGN_IN_REQUIRED()


def method_handlers(
    service: str,
    servicer: object,
    domain: str,
    access: Access,
    gate: Gate | None,
    limits: Limits,
    sign_in: SignIn = no_payers,
    calls: Any = log,
) -> dict[str, "grpc.RpcMethodHandler[bytes, Message]"]:
    """A handler for every method of the proto service with that full name, by the method's name.

    The servicer has one coroutine a method, of the method's name, from request to answer. `access` has the
    roles that may call each method; a method that it does not name is an error here, not open to all. Without
    a gate everybody may call everything. `sign_in` refuses a phone on which nobody is signed in. `calls` is the logger
    that gets a line for each call.

    No request is a stream, and yet each handler takes one: so it runs before the message is there, and a
    caller is refused, counted and given a deadline also if it sends none, half of one, or one that is none.
    """
    descriptor = descriptor_pool.Default().FindServiceByName(service)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, Message]] = {}
    for method in descriptor.methods:
        served = _Method(
            method, getattr(servicer, method.name), domain, access[method.name], gate, limits, sign_in, calls
        )
        serialize = message_factory.GetMessageClass(method.output_type).SerializeToString
        if method.server_streaming:
            handlers[method.name] = grpc.stream_stream_rpc_method_handler(served.stream, None, serialize)
        else:
            handlers[method.name] = grpc.stream_unary_rpc_method_handler(served.answer, None, serialize)
    return handlers


@dataclass(frozen=True)
class _Method:
    """One method as it is served."""

    descriptor: MethodDescriptor
    behavior: Callable[[Any], Any]
    domain: str
    allowed: frozenset[Role]
    gate: Gate | None
    limits: Limits
    sign_in: SignIn
    calls: Any

    @cached_property
    def parse(self) -> Callable[[Any], Message]:
        """From what was sent to the request."""
        return parser(self.descriptor.input_type)

    async def answer(self, _requests: object, context: Context) -> Message:
        """Serves a call that has one answer."""
        async with self._served(context, metrics.CALLS_UNDER_WAY):
            self._admit(context)
            self.limits.enter(caller.get())
            left_s = self.limits.time_left_s(context.time_remaining())
            set_deadline(left_s)
            async with self.limits.cap(left_s):
                await self._sign_in(context)
                answered: Message = await self.behavior(self.parse(await context.read()))
        return answered

    async def stream(self, _requests: object, context: Context) -> None:
        """Serves a call that has many answers; before each its caller is looked at anew."""
        async with self._served(context, metrics.STREAMS):
            self._admit(context)
            self.limits.enter_stream(caller.get())
            async with self.limits.cap():
                await self._sign_in(context)
                request = self.parse(await context.read())
            async with aclosing(self.behavior(request)) as answers:
                async for answered in answers:
                    self._admit(context)
                    await self._sign_in(context)
                    await context.write(answered)

    @asynccontextmanager
    async def _served(self, context: Context, under_way: Gauge) -> AsyncIterator[None]:
        """Answers with the refusal that comes out of the block."""
        adopt_trace(context.invocation_metadata() or ())
        method, started, code = self.descriptor.name, time.monotonic(), StatusCode.UNKNOWN.name
        under_way.inc()
        span = spans.begin(method, spans.Kind.SERVED)
        if span.span_id:
            span_id.set(span.span_id)
        try:
            yield
            code = StatusCode.OK.name
        except asyncio.CancelledError:  # what was recorded is driven on
            code = _why_canceled(context).name
            self._log_call(context, code, started)
            raise
        except Exception as error:
            refusal = as_refusal(error, method)
            code = refusal.code.name
            metrics.REFUSALS.labels(refusal.reason).inc()
            if refusal.code in FLOODING:
                self.limits.report(refusal, caller.get())
            else:
                self._log_call(context, code, started, reason=refusal.reason)
            await refuse(context, refusal, self.domain)
            raise  # not reached: abort raises
        finally:
            under_way.dec()
            took_s = None if under_way is metrics.STREAMS else time.monotonic() - started
            known = caller.get()
            span.say(code=code, role=known.role if known else UNKNOWN)
            span.end()
            metrics.count_call(method, code, known.role if known else UNKNOWN, took_s)
        self._log_call(context, code, started)

    def _log_call(self, context: Context, code: str, started: float, **more: str) -> None:
        known = caller.get()
        actor = known.uri if known else context.peer() or UNKNOWN  # gRPC forgets the peer of a call that is over
        _log_after(self.calls.info, "rpc", method=self.descriptor.name, code=code, actor=actor, **more, ms=_ms(started))

    def _admit(self, context: Context) -> None:
        if self.gate is not None:
            self.gate.admit(context.auth_context(), self.descriptor.name, self.allowed)

    async def _sign_in(self, context: Context) -> None:
        known = caller.get()
        if known and known.role is Role.PHONE:
            token = _bearer_token(context.invocation_metadata() or ())
            caller.set(await self.sign_in(known, self.descriptor.name, token))


def _why_canceled(context: Context) -> StatusCode:
    """Why gRPC ended a call: its time was over, or its caller left."""
    left_s = context.time_remaining()
    return StatusCode.CANCELLED if left_s is None or left_s > 0 else StatusCode.DEADLINE_EXCEEDED


def _bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> Secret:
    """The token of `authorization: Bearer TOKEN`; empty if there is none."""
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str) and value.startswith(_BEARER):
            return Secret(value.removeprefix(_BEARER).encode())
    return Secret(b"")


async def refuse(context: Context, refusal: Refusal, domain: str) -> None:
    """Ends a call with a refusal."""
    await context.abort_with_status(rpc_status.to_status(refusal.to_status(domain)))


def as_refusal(error: Exception, method: str) -> Refusal:
    """The status that the caller gets for an exception."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Unanswered):
        _log_after(log.info, "peer_unanswered", method=method, error=str(error))
        return CommonReason.PEER_UNAVAILABLE(retry_after_ms=1_000)
    _log_after(log.exception, "rpc_failed", method=method, exc_info=error)
    return CommonReason.INTERNAL(trace_id=trace_id.get())


def _log_after(say: Callable[..., object], event: str, **fields: object) -> None:
    """Logs once the answer is on its way, so that nothing about the log can change the answer."""
    asyncio.get_running_loop().call_soon(partial(say, event, **fields))


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 2)
