"""Puts plain servicer classes behind grpc.aio; the only place that knows both."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc
import structlog
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc import aio
from grpc_status import rpc_status

from tillmesh.runtime.callers import Caller, Gate, Role, caller
from tillmesh.runtime.deadlines import set_deadline
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.fields import refuse_nul
from tillmesh.runtime.peers import Unanswered
from tillmesh.runtime.secret import Secret
from tillmesh.runtime.telemetry import adopt_trace, trace_id

Behavior = Callable[[Any], Awaitable[Message]]
Access = Mapping[str, frozenset[Role]]
"""The roles that may call a method, by its name."""
SignIn = Callable[[Caller, str, Secret], Awaitable[Caller]]
"""Finds out whose a payer's terminal is: from caller, method and bearer token to the caller with its payer_id."""
_BEARER = "Bearer "
log = structlog.get_logger()


async def no_payers(_caller: Caller, _method: str, _token: Secret) -> Caller:
    """The `SignIn` of a server that knows no payers."""
    raise CommonReason.SIGN_IN_REQUIRED()


def generic_handler(
    service: str, servicer: object, domain: str, access: Access, gate: Gate | None, sign_in: SignIn = no_payers
) -> grpc.GenericRpcHandler:
    """A handler for every method of the proto service with that full name.

    The servicer has one coroutine a method, of the method's name, from request to answer. `access` has the
    roles that may call each method; a method that it does not name is an error here, not open to all. Without
    a gate everybody may call everything. `sign_in` refuses a payer's terminal on which nobody is signed in.
    """
    descriptor = descriptor_pool.Default().FindServiceByName(service)
    handlers = {
        method.name: grpc.unary_unary_rpc_method_handler(
            _served(getattr(servicer, method.name), method.name, domain, access[method.name], gate, sign_in),
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
        )
        for method in descriptor.methods
    }
    return grpc.method_handlers_generic_handler(service, handlers)


def _served(
    behavior: Behavior, method: str, domain: str, allowed: frozenset[Role], gate: Gate | None, sign_in: SignIn
) -> Callable[[Any, aio.ServicerContext[Any, Any]], Any]:
    async def handle(request: Any, context: aio.ServicerContext[Any, Any]) -> Message:
        adopt_trace(context.invocation_metadata() or ())
        set_deadline(context.time_remaining())
        started = time.monotonic()
        try:
            if gate is not None:
                admitted = gate.admit(context.auth_context(), method, allowed)
                if admitted.role is Role.PAYER:
                    admitted = await sign_in(admitted, method, _bearer_token(context.invocation_metadata() or ()))
                caller.set(admitted)
            refuse_nul(request)
            answer = await behavior(request)
        except asyncio.CancelledError:
            raise  # the caller went away; what was recorded is driven on
        except Exception as error:
            refusal = as_refusal(error, method)
            log.info("rpc", method=method, code=refusal.code.name, reason=refusal.reason, ms=_ms(started))
            await context.abort_with_status(rpc_status.to_status(refusal.to_status(domain)))
            raise  # not reached: abort raises
        log.info("rpc", method=method, code="OK", ms=_ms(started))
        return answer

    return handle


def _bearer_token(metadata: Iterable[tuple[str, str | bytes]]) -> Secret:
    """The token of `authorization: Bearer TOKEN`; empty if there is none."""
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str) and value.startswith(_BEARER):
            return Secret(value.removeprefix(_BEARER).encode())
    return Secret(b"")


def as_refusal(error: Exception, method: str) -> Refusal:
    """What the caller is told of an exception."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Unanswered):
        log.info("peer_unanswered", method=method, error=str(error))
        return CommonReason.PEER_UNAVAILABLE(retry_after_ms=1_000)
    log.exception("rpc_failed", method=method, exc_info=error)
    return CommonReason.INTERNAL(trace_id=trace_id.get())


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 2)
