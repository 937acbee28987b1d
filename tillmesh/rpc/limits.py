"""Limits on the calls in progress and the calls a second, of one caller and of all together.

All of it runs on every call and in the event loop's one thread: dictionaries and integers, no locks.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog

from tillmesh.auth.callers import Caller, Role
from tillmesh.runtime.errors import CommonReason, Refusal

CALLS_MAX = 256
"""A payment server makes hundreds of payments a second: so many calls are answered before their callers give up."""
CALLS_PER_S = 500
CALL_S_MAX = 60.0
SHARES = 4
"""A till or device has at most one of so many equal shares of the places, and one is kept for our own servers."""
PAYER_PART = 10
"""A phone serves one person: it has this part of the share and the calls a second of a till."""
BURST_S = 2
"""So many seconds' worth of calls a caller may make at once."""
OPEN_MAX = 64
OPEN_A_CALLER = 8
"""Of the streams of health and reflection, and of health checks, likewise."""
WATCHED_MAX = 2_000
WATCHED_A_CALLER = 16
"""Of the streams that send what happens, likewise."""
OVERLOAD_MS = 1_000
"""After so long it makes sense to try again."""
OWN = frozenset({Role.ORDERS, Role.PAYMENTS, Role.PLATFORM})
"""Our own servers and services: only the number of places bounds them."""

_NS = 1_000_000_000
_BUCKETS_MIN = 1_024
_REPORT_EVERY_NS = _NS
log = structlog.get_logger()


class Places:
    """Counts the calls in progress, in all and of each caller."""

    def __init__(self) -> None:
        self._taken = 0
        self._by_holder: dict[str, int] = {}

    def take(self, holder: str, *, of_holder: int, of_all: int) -> bool:
        """Takes a place unless there are so many taken already."""
        mine = self._by_holder.get(holder, 0)
        if mine >= of_holder or self._taken >= of_all:
            return False
        self._by_holder[holder] = mine + 1
        self._taken += 1
        return True

    def leave(self, holder: str) -> None:
        """Gives a place back."""
        self._taken -= 1
        mine = self._by_holder.pop(holder) - 1
        if mine:
            self._by_holder[holder] = mine

    @contextmanager
    def hold(self, holder: str, *, of_holder: int, of_all: int) -> Iterator[None]:
        """Holds a place for the length of a block; OVERLOADED without one."""
        if not self.take(holder, of_holder=of_holder, of_all=of_all):
            raise CommonReason.OVERLOADED(of_all=of_all, of_holder=of_holder, retry_after_ms=OVERLOAD_MS)
        try:
            yield
        finally:
            self.leave(holder)


class Rate:
    """A token bucket for each caller, kept as the one moment at which it will be full again."""

    def __init__(self, per_s: int, clock_ns: Callable[[], int]) -> None:
        self.per_s = per_s
        self._token_ns = _NS // per_s
        self._bucket_ns = BURST_S * _NS
        self._clock_ns = clock_ns
        self._full_at_ns: dict[str, int] = {}
        self._forget_beyond = _BUCKETS_MIN

    def __len__(self) -> int:
        """The number of buckets kept."""
        return len(self._full_at_ns)

    def wait_ns(self, caller: str) -> int:
        """Takes a token and returns 0, or takes none and returns for how long there is none."""
        now_ns = self._clock_ns()
        full_at_ns = max(self._full_at_ns.get(caller, 0), now_ns) + self._token_ns
        wait_ns = full_at_ns - now_ns - self._bucket_ns
        if wait_ns > 0:
            return wait_ns
        self._full_at_ns[caller] = full_at_ns
        if len(self._full_at_ns) > self._forget_beyond:
            self._forget(now_ns)
        return 0

    def _forget(self, now_ns: int) -> None:
        """A full bucket is as good as none; looks again once there are twice as many as are left."""
        self._full_at_ns = {caller: at_ns for caller, at_ns in self._full_at_ns.items() if at_ns > now_ns}
        self._forget_beyond = max(_BUCKETS_MIN, 2 * len(self._full_at_ns))


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of one caller."""

    of_holder: int
    """Calls in progress."""
    of_all: int
    """Calls in progress in all, beyond which it gets no more."""
    rate: Rate | None
    """Calls a second; None for as many as it likes."""


class Limits:
    """The limits of one process."""

    def __init__(
        self,
        calls_max: int = CALLS_MAX,
        calls_per_s: int = CALLS_PER_S,
        call_s_max: float = CALL_S_MAX,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        share = calls_max // SHARES
        for_guests = calls_max - share
        shop = Allowance(share, for_guests, Rate(calls_per_s, clock_ns))
        payer = Allowance(max(1, share // PAYER_PART), for_guests, Rate(max(1, calls_per_s // PAYER_PART), clock_ns))
        self._own = Allowance(calls_max, calls_max, None)
        self._guests = {role: payer if role is Role.PHONE else shop for role in Role if role not in OWN}
        self.call_s_max = call_s_max
        self.open = Allowance(OPEN_A_CALLER, OPEN_MAX, Rate(calls_per_s, clock_ns))
        """Of what is open to everybody with a certificate."""
        self.calls, self.streams, self.checks, self.watched = Places(), Places(), Places(), Places()
        for_guests_watching = WATCHED_MAX - WATCHED_MAX // SHARES
        self._own_watch = Allowance(WATCHED_MAX, WATCHED_MAX, None)
        self._watch = {
            role: Allowance(a_caller, for_guests_watching, allowed.rate)
            for role, allowed in self._guests.items()
            for a_caller in [WATCHED_A_CALLER // 4 if role is Role.PHONE else WATCHED_A_CALLER]
        }
        self._clock_ns = clock_ns
        self._refused, self._report_at_ns = 0, 0

    def enter(self, who: Caller | None) -> None:
        """Begins a call, which ends with the task that serves it; RATE_LIMITED or OVERLOADED if it may not.

        None is anybody in a server without certificates, where nobody can be told from another.
        """
        if who is None:
            self.occupy(self.calls, "", self._own)
        else:
            allowed = self._guests.get(who.role, self._own)
            self.spend(who.uri, allowed)
            self.occupy(self.calls, who.uri, allowed)

    def enter_stream(self, who: Caller | None) -> None:
        """The same for a stream, which takes no place of a call."""
        if who is None:
            self.occupy(self.watched, "", self._own_watch)
        else:
            allowed = self._watch.get(who.role, self._own_watch)
            self.spend(who.uri, allowed)
            self.occupy(self.watched, who.uri, allowed)

    def spend(self, holder: str, allowed: Allowance) -> None:
        """Takes one of a caller's tokens; RATE_LIMITED without one."""
        rate = allowed.rate
        if rate is not None and (wait_ns := rate.wait_ns(holder)):
            raise CommonReason.RATE_LIMITED(calls_per_s=rate.per_s, retry_after_ms=-(-wait_ns // 1_000_000))

    def occupy(self, places: Places, holder: str, allowed: Allowance) -> None:
        """Takes a place until the running task, which also sends the answer, has ended; OVERLOADED without one."""
        if not places.take(holder, of_holder=allowed.of_holder, of_all=allowed.of_all):
            raise CommonReason.OVERLOADED(
                of_all=allowed.of_all, of_holder=allowed.of_holder, retry_after_ms=OVERLOAD_MS
            )
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _task: places.leave(holder))

    def time_left_s(self, remaining_s: float | None) -> float:
        """For how long a call may go on; DEADLINE_REQUIRED where its caller does not say."""
        if remaining_s is None:
            raise CommonReason.DEADLINE_REQUIRED(seconds=f"{self.call_s_max:g}")
        return min(remaining_s, self.call_s_max)

    @asynccontextmanager
    async def cap(self, left_s: float = math.inf) -> AsyncIterator[None]:
        """Gives up what is done within, once it has taken as long as any call may."""
        if left_s < self.call_s_max:  # its caller ends it before
            yield
            return
        try:
            async with asyncio.timeout(self.call_s_max) as limit:
                yield
        except TimeoutError:
            if limit.expired():
                raise CommonReason.DEADLINE_CAPPED(seconds=f"{self.call_s_max:g}") from None
            raise

    def report(self, refusal: Refusal, who: Caller | None) -> None:
        """Logs that calls are refused, at most once a second, with how many there were since."""
        self._refused += 1
        if (now_ns := self._clock_ns()) >= self._report_at_ns:
            log.warning("calls_refused", caller=who and who.uri, why=str(refusal), calls=self._refused)
            self._refused, self._report_at_ns = 0, now_ns + _REPORT_EVERY_NS
