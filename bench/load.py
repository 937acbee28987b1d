"""The load generator: a process of its own, so that making load does not slow down who measures it.

It also reads the CPU clocks of the servers, right before and right after what it times.
"""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop
from grpc import aio

from bench.machine import Processes, busy_s, cpu_of
from bench.servers import Target
from tillmesh.client.failures import Failure

CONNECT_WITHIN_S = 30.0
OPTIONS = (("grpc.enable_retries", 0),)
TIMEOUT_S = 60.0
"""Of every call, as every client should have one."""
CLIENT = "client"
"""The load generator itself, among the processes of a sample."""

Result = TypeVar("Result")
Call = Callable[[int], Awaitable[object]]
"""Does the thing of that number once."""


@dataclass(frozen=True)
class Sample:
    """The calls and latencies of one timed load."""

    calls: int
    elapsed_s: float
    latencies_s: Sequence[float]
    """Of every call, sorted."""
    cpu_s: Mapping[str, float]
    """Used meanwhile, by name of process."""
    others_cores: float
    """Cores that were busy with something else meanwhile: noise."""

    @property
    def per_s(self) -> float:
        """Calls a second."""
        return self.calls / self.elapsed_s

    def cpu_ms(self, *names: str) -> float:
        """CPU milliseconds that these processes used for a call, together."""
        return sum(self.cpu_s[name] for name in names) / self.calls * 1000

    def busy(self, name: str) -> float:
        """Share of a core that a process used: near 1, it is what limits the calls a second."""
        return self.cpu_s[name] / self.elapsed_s

    def latency_ms(self, percentile: float) -> float:
        """The latency that so many percent of the calls did not exceed."""
        last = len(self.latencies_s) - 1
        return self.latencies_s[round(last * percentile / 100)] * 1000


class Generator:
    """The process that makes load; use it as a context manager."""

    def __enter__(self) -> Self:
        # gRPC does not survive a fork; Ctrl-C is for the process that waits for this one.
        ignore_interrupts = (signal.SIGINT, signal.SIG_IGN)
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), signal.signal, ignore_interrupts)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, work: Callable[..., Coroutine[Any, Any, Result]], *arguments: Any) -> Result:
        """Runs a coroutine function of a module there, to its end."""
        return self._pool.submit(_run, work, arguments).result()


def _run(work: Callable[..., Coroutine[Any, Any, Result]], arguments: Sequence[Any]) -> Result:
    try:
        return uvloop.run(work(*arguments))
    except (aio.AioRpcError, ExceptionGroup) as error:
        raise _portable(error) from None


def _portable(error: Exception) -> Exception:
    """The first error as text: an error of gRPC cannot be sent to the other process."""
    if isinstance(error, ExceptionGroup):
        return _portable(error.exceptions[0])
    if isinstance(error, aio.AioRpcError):
        return Failure(f"A call was not answered: {error.code().name}: {error.details()}")
    return error


async def connect(target: Target) -> aio.Channel:
    """A connection to a server, which stands before anything is timed."""
    channel = target.caller.open_channel(target.address, target.role, OPTIONS)
    await asyncio.wait_for(channel.channel_ready(), CONNECT_WITHIN_S)
    return channel


async def timed(processes: Processes, load: Callable[[], Awaitable[Sequence[float]]]) -> Sample:
    """Runs load that returns the latency of each call, and times it."""
    busy_before, cpu_before = busy_s(), cpu_of(processes)
    own_before, started = time.process_time(), time.perf_counter()  # innermost, or reading the others would count
    latencies_s = await load()
    elapsed_s, own_s = time.perf_counter() - started, time.process_time() - own_before
    cpu_after, busy_after = cpu_of(processes), busy_s()
    cpu_s = {name: cpu_after[name] - cpu_before[name] for name in processes} | {CLIENT: own_s}
    others_cores = max(0.0, busy_after - busy_before - sum(cpu_s.values())) / elapsed_s
    return Sample(len(latencies_s), elapsed_s, sorted(latencies_s), cpu_s, others_cores)


async def closed_loop(call: Call, numbers: range, at_a_time: int) -> list[float]:
    """Always `at_a_time` calls under way: the next one starts when one is answered."""
    left = iter(numbers)
    latencies_s: list[float] = []

    async def lane() -> None:
        for number in left:
            started = time.perf_counter()
            await call(number)
            latencies_s.append(time.perf_counter() - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(lane())
    return latencies_s


async def open_loop(call: Call, numbers: range, per_s: float, rng: random.Random) -> list[float]:
    """Calls arrive when they do (Poisson), whether or not earlier ones are answered.

    The latency counts from the arrival, so a server that falls behind is seen to.
    """
    latencies_s: list[float] = []

    async def visit(number: int, arrival: float) -> None:
        await call(number)
        latencies_s.append(time.perf_counter() - arrival)

    arrival = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in numbers:
            arrival += rng.expovariate(per_s)
            await asyncio.sleep(max(0.0, arrival - time.perf_counter()))
            group.create_task(visit(number, arrival))
    return latencies_s
