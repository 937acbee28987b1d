"""A link between two servers that can be cut, stopped, slowed or made one-way."""

import asyncio
import random
from contextlib import suppress
from enum import Enum

CHUNK_BYTES = 65_536


class Fault(Enum):
    """What can be wrong with a link."""

    CUT = "cut"  # connections end, new ones are refused
    BLACKHOLE = "blackhole"  # connections stay, nothing arrives; what was sent arrives once it heals
    DEAF = "deaf"  # requests arrive, their answers only once it heals
    SLOW = "slow"  # everything arrives late


class Link:
    """Passes bytes both ways between who connects to `address` and the target, or any of several that is up.

    A target is HOST:PORT, or the path of a socket.
    """

    def __init__(self, rng: random.Random, *targets: str) -> None:
        self._targets = targets
        self._rng = rng
        self._fault: Fault | None = None
        self._delay_s: float | None = None
        self._healed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._joints: set[asyncio.Task[None]] = set()
        self.address = ""

    @property
    def is_broken(self) -> bool:
        """True if something is wrong with it."""
        return self._fault is not None

    async def open(self) -> None:
        """Starts to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Ends everything."""
        assert self._server is not None
        self._server.close()
        self.break_by(Fault.CUT)
        self._healed.set()
        await self._server.wait_closed()
        await asyncio.gather(*self._joints)

    def break_by(self, fault: Fault, delay_s: float | None = None) -> None:
        """From now on this is wrong with it. A slow link delays by that time, else by 0.3 s on average."""
        self._fault = fault
        self._delay_s = delay_s
        self._healed.clear()
        if fault is Fault.CUT:
            self._drop()

    def heal(self, *, lose: bool = False) -> None:
        """Works again; what was stopped on the way arrives late, or is lost with its connection."""
        self._fault = None
        if lose:
            self._drop()
        self._healed.set()

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        joint = asyncio.create_task(self._connected(reader, writer))
        self._joints.add(joint)
        joint.add_done_callback(self._joints.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._fault is not Fault.CUT:
                await self._join(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await self._open_far()
        if far is None:
            return  # the server is down: its client sees a connection that ends
        far_reader, far_writer = far
        self._writers.add(far_writer)
        requests = asyncio.create_task(self._pump(reader, far_writer, (Fault.BLACKHOLE,)))
        answers = asyncio.create_task(self._pump(far_reader, writer, (Fault.BLACKHOLE, Fault.DEAF)))
        try:
            await asyncio.wait({requests, answers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers.discard(far_writer)
            far_writer.transport.abort()
            for task in (requests, answers):
                task.cancel()
            await asyncio.gather(requests, answers, return_exceptions=True)

    async def _open_far(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for target in self._rng.sample(self._targets, k=len(self._targets)):
            with suppress(OSError):
                if target.startswith("/"):
                    return await asyncio.open_unix_connection(target)
                host, _, port = target.rpartition(":")
                return await asyncio.open_connection(host, int(port))
        return None

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, stopped_by: tuple[Fault, ...]
    ) -> None:
        with suppress(OSError):  # one end is gone
            while data := await source.read(CHUNK_BYTES):
                while self._fault in stopped_by:
                    await self._healed.wait()
                if self._fault is Fault.SLOW:
                    await asyncio.sleep(self._rng.expovariate(1 / 0.3) if self._delay_s is None else self._delay_s)
                sink.write(data)
                await sink.drain()
