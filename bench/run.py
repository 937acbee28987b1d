"""The scale, the load and the samples that all parts of the benchmark share."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import Progress, TaskID

from bench.calls import CREATE_ORDER, EMPTY, create_orders, empty, send
from bench.checkouts import buy, keep_busy
from bench.databases import Databases
from bench.load import Generator, Sample
from bench.machine import Processes
from bench.servers import ORDERS, PAYMENTS, Stack
from bench.shoppers import SHOPPERS, Phone, give_phones, open_wallets, shopper
from tillmesh.auth.callers import Role


@dataclass(frozen=True)
class Scale:
    """The scale of a run."""

    repeat: int
    """The number of measurements. The report shows their median."""
    calls: int
    """Of one method, in one go."""
    checkouts: int
    """In one go at 8 or 32 at a time."""
    stored: tuple[int, ...]
    """Orders that are there already."""
    soak: int
    """Checkouts while memory is watched."""
    pgbench: int
    """Scale of its tables, at least as many as its clients for a figure that means something."""
    unfinished: int
    """Payments that wait for the order service's return."""
    overload_s: float
    """For how long too much is asked of a server."""


FULL = Scale(
    repeat=3,
    calls=2_000,
    checkouts=600,
    stored=(0, 100_000, 1_000_000),
    soak=100_000,
    pgbench=32,
    unfinished=20_000,
    overload_s=10,
)
QUICK = Scale(repeat=1, calls=200, checkouts=60, stored=(0, 2_000), soak=1_000, pgbench=1, unfinished=200, overload_s=1)
WARM_UP_AT_A_TIME = 16


@dataclass
class Run:
    """One run of the benchmark."""

    folder: Path
    generator: Generator
    scale: Scale
    databases: Databases
    progress: Progress
    samples: list[Mapping[str, Any]] = field(default_factory=list)
    _task: TaskID | None = None

    def expect(self, part: str, steps: int) -> Callable[[], None]:
        """Shows a progress bar for so many steps; what is returned takes one."""
        task = self._task = self.progress.add_task(part, total=steps)
        return lambda: self.progress.advance(task)

    @contextmanager
    def stack(self, name: str, **options: Any) -> Iterator[Stack]:
        """Servers that run on databases of that name, with shoppers who have money."""
        with Stack(self.folder / name, self.databases.of(name), **options) as stack:
            if stack.is_new:
                self.generator.run(open_wallets, stack.target(PAYMENTS, Role.PLATFORM, "bench"))
            yield stack

    @contextmanager
    def warm_stack(self, name: str, **options: Any) -> Iterator[Stack]:
        """The same once they have done everything often enough to do it as fast as they can."""
        with self.stack(name, **options) as stack:
            phones = self.phones(stack, self.scale.checkouts // 2)
            self.generator.run(keep_busy, stack.tills(), buy, phones, WARM_UP_AT_A_TIME, {})
            self.generator.run(send, stack.floor(), EMPTY, empty(self.scale.calls), WARM_UP_AT_A_TIME)
            yield stack

    def phones(self, stack: Stack, count: int, shoppers: int = SHOPPERS) -> list[Phone]:
        """Phones that have paid nothing yet, of so many shoppers."""
        platform = stack.target(PAYMENTS, Role.PLATFORM, "bench")
        phones: list[Phone] = self.generator.run(give_phones, platform, count, shoppers)
        return phones

    def raised(self, stack: Stack, count: int) -> list[bytes]:
        """Orders that nobody has paid, as CreateOrder answered them."""
        requests = create_orders(map(shopper, range(count)))
        orders: list[bytes] = self.generator.run(
            send, stack.target(ORDERS, Role.PLATFORM, "bench"), CREATE_ORDER, requests, WARM_UP_AT_A_TIME
        )
        return orders

    def processes(self, stack: Stack) -> Processes:
        """The processes whose CPU is measured: the servers, and the database servers if there are any."""
        return {**stack.processes, **self.databases.processes()}

    def measure(
        self, what: str, repeat: int, work: Callable[..., Coroutine[Any, Any, Sample]], *arguments: Any
    ) -> Sample:
        """Has the generator make a load; keeps what it came to."""
        sample = self.generator.run(work, *arguments)
        self.keep(what, repeat, sample)
        return sample

    def keep(self, what: str, repeat: int, sample: Sample) -> None:
        """Keeps a sample for the results."""
        cpu_ms = {name: sample.cpu_ms(name) for name in sample.cpu_s}
        kept = {"p50_ms": sample.latency_ms(50), "p99_ms": sample.latency_ms(99), "cpu_ms": cpu_ms}
        about = {"what": what, "repeat": repeat, "calls": sample.calls, "elapsed_s": sample.elapsed_s}
        self.samples.append({**about, **kept, "others_cores": sample.others_cores})
        if self._task is not None:
            self.progress.advance(self._task)

    @property
    def others_cores(self) -> float:
        """Cores that were busy with something else while it was measured, on average."""
        elapsed_s: float = sum(sample["elapsed_s"] for sample in self.samples)
        others_s: float = sum(sample["others_cores"] * sample["elapsed_s"] for sample in self.samples)
        return others_s / elapsed_s if elapsed_s else 0.0
