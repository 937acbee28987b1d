"""A network that loses, doubles, reorders and delays, behind the interface of a grpc.aio channel."""

import asyncio
import contextvars
import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import text_format
from google.protobuf.message import Message
from grpc import StatusCode

from tests.simulation.process import is_dead, nothing_more
from tests.simulation.replies import Reply, error_of, hash_of
from tests.simulation.streaming import Stream

ORDERS, PAYMENTS, TERMINAL = "orders", "payments", "terminal"
SERVERS = (ORDERS, PAYMENTS, TERMINAL)
LINKS = ((PAYMENTS, ORDERS), (TERMINAL, ORDERS), (TERMINAL, PAYMENTS))
CLIENTS = frozenset({"clients"})
"""The link of every shopper's and till's device."""
SIGNED_IN = "signed-in-"
"""So begins the source of calls from a phone, before the name of who is signed in on it."""
SLOW_S = 4.5
"""Just in time for a caller who waits for five seconds."""
PAST_EVERY_TIMEOUT_S = 15.0
LATE_S = 20.0
PAST_ALL_MESSAGES_S = PAST_EVERY_TIMEOUT_S + LATE_S + 1
Serializer = Callable[[Any], bytes]
Link = frozenset[str]


@dataclass
class Faults:
    """How hostile a link is; shares of its messages."""

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    """Comes 0 to 20 s after every time-out."""
    slow: float = 0.0
    """Comes within the time-out, but after much else has happened."""
    reset: float = 0.0
    """The caller is told UNAVAILABLE though the message goes on."""


@dataclass(frozen=True)
class Fate:
    """What becomes of one message: how long each of its copies is under way."""

    delays_s: tuple[float, ...]


class Aborted(Exception):
    """A handler ended its call with a status."""

    def __init__(self, status: grpc.Status) -> None:
        super().__init__()
        self.status = status


class Context:
    """What a handler sees of its call."""

    def __init__(self, payload: bytes, metadata: Any, deadline_s: float) -> None:
        self._payload = payload
        self._metadata = metadata
        self._deadline_s = deadline_s
        self.write: Callable[[Any], Awaitable[None]]
        """Sends one answer of a stream."""

    async def read(self) -> bytes:
        """The request."""
        return self._payload

    def invocation_metadata(self) -> Any:
        """The caller's metadata."""
        return self._metadata

    def peer(self) -> str:
        """Where the caller is; here it has no address."""
        return "simulated"

    def time_remaining(self) -> float:
        """Seconds until the caller gives up."""
        return max(0.0, self._deadline_s - asyncio.get_running_loop().time())

    async def abort_with_status(self, status: grpc.Status) -> None:
        """Ends the call."""
        raise Aborted(status)


Handle = Callable[[str, str, bytes, Any, float], Awaitable[Reply]]
"""Serves a call from a source: method, request, metadata and deadline."""
HandleStream = Callable[[str, bytes, Any, Stream], Coroutine[Any, Any, None]]


@dataclass
class Endpoint:
    """A server as the network sees it."""

    name: str
    handle: Handle | None = None
    """None while the process is down."""
    handle_stream: HandleStream | None = None


@dataclass
class Network:
    """Carries every message between endpoints, and keeps a digest of all that happened."""

    rng: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    keep_trace: bool = False

    def __post_init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.faults: dict[Link, Faults] = {}
        self.cuts: dict[Link, int] = {}
        self.decide: Callable[[str, str, str], Fate | None] = lambda _source, _target, _what: None
        """A script that has a fate for some messages; chance decides on the others."""
        self._digest = hashlib.sha256()

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint of that name."""
        return self.endpoints.setdefault(name, Endpoint(name))

    def cut_for(self, one: str, other: str, seconds: float) -> None:
        """Nothing passes between two endpoints for a while; cuts may overlap."""
        link = frozenset((one, other))
        self.cuts[link] = self.cuts.get(link, 0) + 1
        self.counts["partitions"] += 1
        self.note(f"--- cut {one} {other} for {seconds:.1f} s")
        asyncio.get_running_loop().call_later(seconds, self._mend, link)

    def _mend(self, link: Link) -> None:
        if self.cuts.get(link):
            self.cuts[link] -= 1

    def heal(self) -> None:
        """Mends all links and ends all faults."""
        self.cuts.clear()
        self.faults.clear()
        self.note("--- all is healed")

    def note(self, line: str, brief: str = "") -> None:
        """Adds a line to the trace, and all but what is in `brief` to the digest."""
        text = f"{asyncio.get_running_loop().time():10.4f} {line}"
        self._digest.update(text.encode())
        if self.keep_trace:
            self.trace.append(f"{text}  {brief}" if brief else text)

    def brief(self, message: Message) -> str:
        """A message for who reads the trace."""
        return text_format.MessageToString(message, as_one_line=True)[:300] if self.keep_trace else ""

    def digest(self) -> str:
        """What happened, in one number."""
        return self._digest.hexdigest()

    def faults_between(self, source: str, target: str) -> Faults:
        """How hostile it is between two endpoints now."""
        between_servers = source in SERVERS and target in SERVERS
        return self.faults.get(frozenset((source, target)) if between_servers else CLIENTS, Faults())

    def carry(self, source: str, target: str, what: str, brief: str, deliver: Callable[[], None]) -> None:
        """Delivers a message never, once or twice, sooner or later."""
        self.counts["messages"] += 1
        fate = self.fate_of(source, target, what)
        for delay_s in fate.delays_s:
            # In a context of its own: what arrives runs in no process of the sender's.
            asyncio.get_running_loop().call_later(delay_s, deliver, context=contextvars.Context())
        delays = " and ".join(f"{delay_s:.3f} s" for delay_s in fate.delays_s)
        self.note(f"{source} > {target}: {what} {f'in {delays}' if delays else 'LOST'}", brief)

    def fate_of(self, source: str, target: str, what: str) -> Fate:
        """What becomes of a message: as the script has it, or as it comes."""
        return self.decide(source, target, what) or self._chance(source, target)

    def _chance(self, source: str, target: str) -> Fate:
        if self.cuts.get(frozenset((source, target))):
            self.counts["cut_off"] += 1
            return Fate(())
        faults, draw = self.faults_between(source, target), self.rng.random()
        if draw < faults.lost:
            self.counts["lost"] += 1
            return Fate(())
        if draw < faults.lost + faults.doubled:
            self.counts["doubled"] += 1
            return Fate((self._delay_s(faults), self._delay_s(faults)))
        return Fate((self._delay_s(faults),))

    def _delay_s(self, faults: Faults) -> float:
        draw = self.rng.random()
        if draw < faults.late:
            self.counts["late"] += 1
            return PAST_EVERY_TIMEOUT_S + self.rng.uniform(0, LATE_S)
        if draw < faults.late + faults.slow:
            self.counts["slow"] += 1
            return self.rng.uniform(0, SLOW_S)
        return self.rng.expovariate(1 / 0.01)


class Channel:
    """A grpc.aio channel from one endpoint to another, over the network."""

    def __init__(self, network: Network, source: str, target: str) -> None:
        self._network = network
        self._source = source
        self._target = target

    def unary_unary(
        self, method: str, request_serializer: Serializer, response_deserializer: Callable[[bytes], Any], **_: Any
    ) -> Callable[..., Awaitable[Any]]:
        """A callable that makes calls of `method`."""

        async def call(request: Any, timeout: float, metadata: Any = ()) -> Any:  # noqa: ASYNC109 as grpc.aio has it
            if is_dead():
                await nothing_more()
            brief = self._network.brief(request)
            reply = await self._call(method, request_serializer(request), brief, timeout, metadata)
            if reply.code is StatusCode.OK:
                return response_deserializer(reply.payload)
            raise error_of(reply)

        return call

    def unary_stream(
        self, method: str, request_serializer: Serializer, response_deserializer: Callable[[bytes], Any], **_: Any
    ) -> Callable[..., Stream]:
        """A callable that opens streams of `method`."""

        def call(request: Any, metadata: Any = ()) -> Stream:
            payload = request_serializer(request)
            what = f"{method.rsplit('/', 1)[1]} {hash_of(payload)}"
            stream = Stream(self._network, self._source, self._target, what, response_deserializer)
            stream.open(lambda: self._arrived(stream, method, payload, metadata))
            return stream

        return call

    def _arrived(self, stream: Stream, method: str, payload: bytes, metadata: Any) -> None:
        handle = self._network.endpoint(self._target).handle_stream
        if handle is None:
            stream.cut("connection refused")
        else:
            asyncio.get_running_loop().create_task(handle(method, payload, metadata, stream))

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _call(self, method: str, payload: bytes, brief: str, timeout_s: float, metadata: Any) -> Reply:
        network, loop = self._network, asyncio.get_running_loop()
        answered: asyncio.Future[Reply] = loop.create_future()
        deadline_s = loop.time() + timeout_s
        what = f"{method.rsplit('/', 1)[1]} {hash_of(payload)}"

        def resolve(reply: Reply) -> None:
            if not answered.done():
                answered.set_result(reply)

        async def serve(handle: Handle) -> None:
            reply = await handle(self._source, method, payload, metadata, deadline_s)
            answer = f"{what} {reply.code.name} {hash_of(reply.payload)}"
            network.carry(self._target, self._source, answer, reply.brief, lambda: resolve(reply))

        def arrive() -> None:
            handle = network.endpoint(self._target).handle
            if handle is None:
                resolve(Reply(StatusCode.UNAVAILABLE, details="connection refused"))
            else:
                loop.create_task(serve(handle))

        network.carry(self._source, self._target, what, brief, arrive)
        if network.rng.random() < network.faults_between(self._source, self._target).reset:
            network.counts["reset"] += 1
            loop.call_later(0.001, resolve, Reply(StatusCode.UNAVAILABLE, details="connection reset"))
        try:
            return await asyncio.wait_for(answered, timeout_s)
        except TimeoutError:
            return Reply(StatusCode.DEADLINE_EXCEEDED, details="no answer in time")
