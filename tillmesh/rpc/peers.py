"""Calls to another server: traced, bounded in time, retried only when UNAVAILABLE."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar, cast

from google.rpc import status_pb2
from grpc import StatusCode, aio
from grpc_status.rpc_status import GRPC_DETAILS_METADATA_KEY
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from tillmesh.auth.callers import Role
from tillmesh.auth.tls import RenewedChannel, TlsFiles
from tillmesh.runtime import metrics, spans
from tillmesh.runtime.deadlines import remaining_s
from tillmesh.runtime.errors import Failed, Refusal, Unanswered
from tillmesh.runtime.telemetry import TRACEPARENT, traceparent

Req = TypeVar("Req")
Res = TypeVar("Res")

CALL_TIMEOUT_S = 5.0
ATTEMPTS_MAX = 5
SILENCE_S_MAX = 30.0
"""A stream sends something every 15 seconds: one that is silent for longer than two of these is dead."""
BUDGET_MAX = 20.0
BUDGET_PER_CALL = 0.1

# Money needs to know of every try, so gRPC's own retries are off.
CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # what a connection gets to be made; refused ones wait for the backoff
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class RetryBudget:
    """Bounds retries to a tenth of all calls, so that they never feed an overload."""

    def __init__(self) -> None:
        self._tokens = BUDGET_MAX

    def earn(self) -> None:
        """Counts a call."""
        self._tokens = min(BUDGET_MAX, self._tokens + BUDGET_PER_CALL)

    def spend(self) -> bool:
        """True if a retry may be made."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Peer:
    """Makes the calls to one other server; `metadata` goes with each of them."""

    def __init__(self, metadata: Sequence[tuple[str, str]] = ()) -> None:
        self._budget = RetryBudget()
        self._metadata = tuple(metadata)

    async def call(
        self,
        method: aio.UnaryUnaryMultiCallable[Req, Res],
        request: Req,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        attempts: int = ATTEMPTS_MAX,
    ) -> Res:
        """Calls `method` within the deadline of the request being served.

        Raises the peer's `Refusal` as it is, and `Unanswered` for everything that is not a definite
        answer: a time-out, a lost connection, a server that failed.
        """
        self._budget.earn()
        name, started, code = type(request).__name__.removesuffix("Request"), time.monotonic(), metrics.UNANSWERED
        within_s = remaining_s(timeout_s)
        end = asyncio.get_running_loop().time() + within_s
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_unavailable),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=lambda state: _no_more(state, attempts, end) or not self._budget.spend(),
            reraise=True,
        )
        try:
            with spans.span(name, spans.Kind.MADE) as span:
                async for attempt in retrying:
                    with attempt:
                        left_s = end - asyncio.get_running_loop().time()
                        metadata = ((TRACEPARENT, traceparent()), *self._metadata)
                        answer = await method(request, timeout=max(left_s, 0.001), metadata=metadata)
                        code = StatusCode.OK.name
                        span.say(code=code)
                        return answer
        except aio.AioRpcError as error:
            failure = _failure(error)
            if isinstance(failure, Refusal):
                code = failure.code.name
            raise failure from error
        finally:
            metrics.count_made_call(name, code, time.monotonic() - started)
        raise Unanswered("no attempt was made")

    async def watch(self, method: "aio.UnaryStreamMultiCallable[Req, Res]", request: Req) -> AsyncGenerator[Res]:
        """The answers of one stream until the peer ends it. Raises as `call` does, and opens it once."""
        stream = method(request, metadata=((TRACEPARENT, traceparent()), *self._metadata))
        answers = aiter(stream)
        try:
            while True:
                async with asyncio.timeout(SILENCE_S_MAX):
                    answer = await anext(answers)
                yield answer
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Unanswered(f"nothing came for {SILENCE_S_MAX:g} s") from None
        except aio.AioRpcError as error:
            raise _failure(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise Unanswered("the channel was closed") from None  # a channel that is renewed cancels its streams
        finally:
            stream.cancel()


def _is_unavailable(error: BaseException) -> bool:
    return isinstance(error, aio.AioRpcError) and error.code() is StatusCode.UNAVAILABLE


def _no_more(state: RetryCallState, attempts: int, end: float) -> bool:
    pause_s = state.upcoming_sleep
    return state.attempt_number >= attempts or asyncio.get_running_loop().time() + pause_s >= end


# A server that says these has decided nothing about the request.
UNDECIDED = {
    StatusCode.UNAVAILABLE,
    StatusCode.INTERNAL,
    StatusCode.UNKNOWN,
    StatusCode.CANCELLED,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.UNAUTHENTICATED,
}


def _failure(error: aio.AioRpcError) -> Refusal | Unanswered:
    said = _said(error)
    if said and error.code() not in UNDECIDED:
        return said
    failed = Failed if error.code() in (StatusCode.INTERNAL, StatusCode.UNKNOWN) else Unanswered
    return failed(f"{error.code().name}: {error.details()}", said)


def _said(error: aio.AioRpcError) -> Refusal | None:
    for key, value in error.trailing_metadata() or ():
        if key == GRPC_DETAILS_METADATA_KEY and isinstance(value, bytes):
            return Refusal.from_status(status_pb2.Status.FromString(value))
    return None


def open_channel(address: str, role: Role, tls: TlsFiles | None) -> aio.Channel:
    """A kept-open channel to a server of that role; without TLS files, to whoever listens there."""
    if tls is None:
        return aio.insecure_channel(address, options=list(CHANNEL_OPTIONS))
    files = tls
    return cast(aio.Channel, RenewedChannel(files, lambda: files.open_channel(address, role, CHANNEL_OPTIONS)))
