"""A stream between two endpoints of the network: in order, never doubled, and cut at any time."""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from tests.simulation.process import is_dead, nothing_more, running
from tests.simulation.replies import Reply, error_of, hash_of

if TYPE_CHECKING:
    from tests.simulation.network import Network

WINDOW = 2
"""So many answers may be under way, or wait for their reader."""
TAKEN_AFTER_S = 0.005
"""When the server hears that an answer was taken."""
SILENT_S = 25.0
"""Within so long an end finds out that nothing comes through any more (keep-alive)."""
RESET_S = 0.05


class Stream:
    """One stream. Its reader iterates over it; the server that serves it uses the other half."""

    def __init__(
        self, network: "Network", source: str, target: str, what: str, deserialize: Callable[[bytes], Any]
    ) -> None:
        self._network, self._source, self._target, self._what = network, source, target, what
        self._deserialize = deserialize
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[bytes] = deque()
        self._end: Reply | None = None
        self._news = asyncio.Event()
        self._under_way: deque[Callable[[], None]] = deque()
        self._last_at_s = 0.0
        self._is_cut = False
        self._room = asyncio.Semaphore(WINDOW)
        self._task: asyncio.Task[Any] | None = None
        self._process = running.get()
        if self._process:
            self._process.at_death[self] = self.cancel

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Any:
        """The next answer, once it is there."""
        while not self._arrived and self._end is None:
            self._news.clear()
            await self._news.wait()
        if is_dead():
            await nothing_more()
        if self._arrived:
            self._loop.call_later(TAKEN_AFTER_S, self._room.release)
            return self._deserialize(self._arrived.popleft())
        assert self._end is not None
        if self._end.code is StatusCode.OK:
            raise StopAsyncIteration
        raise error_of(self._end)

    def cancel(self) -> None:
        """The reader leaves; the server learns of it."""
        self._close(Reply(StatusCode.CANCELLED, details="the reader left"))
        self.cut("its reader left", server_within_s=RESET_S)

    def cut(self, why: str, *, reader_within_s: float = RESET_S, server_within_s: float = RESET_S) -> None:
        """Nothing that is under way arrives any more; each end finds out by itself."""
        if self._is_cut:
            return
        self._is_cut = True
        self._under_way.clear()
        rng = self._network.rng
        if self._end is None:
            self._network.counts["streams_cut"] += 1
            self._network.note(f"--- stream {self._what} of {self._source} was cut: {why}")
        broken = Reply(StatusCode.UNAVAILABLE, details="connection reset")
        self._later(rng.uniform(0, reader_within_s), lambda: self._close(broken))
        self._later(rng.uniform(0, server_within_s), self._stop_serving)

    def serve(self, task: "asyncio.Task[Any]") -> None:
        """Notes who serves it."""
        self._task = task

    async def send(self, payload: bytes, brief: str) -> None:
        """Sends an answer once there is room for it."""
        await self._room.acquire()
        if is_dead() or self._is_cut:  # whoever serves it is told soon
            await nothing_more()
        self._carry("OK", payload, brief, lambda: self._arrive(payload))

    def finish(self, reply: Reply) -> None:
        """Ends it behind all that was sent."""
        if not self._is_cut:
            self._carry(f"ended {reply.code.name}", reply.payload, "", lambda: self._close(reply))

    def open(self, arrive: Callable[[], None]) -> None:
        """Carries the request to the server."""
        self._send(self._source, self._target, self._what, "", arrive)

    def _carry(self, how: str, payload: bytes, brief: str, deliver: Callable[[], None]) -> None:
        what = f"{self._what} {how} {hash_of(payload)}"
        self._send(self._target, self._source, what, brief, deliver)

    def _send(self, source: str, target: str, what: str, brief: str, deliver: Callable[[], None]) -> None:
        """Whatever is sent arrives behind what was sent before, or the stream is cut."""
        network = self._network
        network.counts["messages"] += 1
        fate = network.fate_of(source, target, what)
        if not fate.delays_s:
            network.note(f"{source} > {target}: {what} LOST", brief)
            self.cut("nothing came through", reader_within_s=SILENT_S, server_within_s=SILENT_S)
            return
        if network.rng.random() < network.faults_between(source, target).reset:
            network.counts["reset"] += 1
            self.cut("connection reset")
            return
        self._last_at_s = max(self._last_at_s, self._loop.time() + fate.delays_s[0])
        self._under_way.append(deliver)
        self._loop.call_at(self._last_at_s, self._deliver_next, context=contextvars.Context())
        network.note(f"{source} > {target}: {what} in {self._last_at_s - self._loop.time():.3f} s", brief)

    def _deliver_next(self) -> None:
        if self._under_way:
            self._under_way.popleft()()

    def _arrive(self, payload: bytes) -> None:
        if self._end is None:
            self._arrived.append(payload)
            self._news.set()

    def _close(self, end: Reply) -> None:
        if self._end is None:
            self._end = end
            self._news.set()
            if self._process:
                self._process.at_death.pop(self, None)

    def _stop_serving(self) -> None:
        if self._task:
            self._task.cancel()

    def _later(self, delay_s: float, do: Callable[[], None]) -> None:
        self._loop.call_later(delay_s, do, context=contextvars.Context())
