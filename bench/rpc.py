"""Measures one call on one server process, beside an empty call on the floor."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench import calls
from bench.calls import COMPLETE, CREATE_ORDER, CREATE_PAYMENT, EMPTY, LOCK_ORDER, Method, make_calls, send
from bench.load import CLIENT, Sample
from bench.report import Findings, Ratio, Section, middle
from bench.run import Run
from bench.servers import FLOOR, ORDERS, PAYMENTS, STORE, TILL, Stack, Target
from bench.shoppers import shopper
from tillmesh.auth.callers import Role

PART = "rpc"
AT_A_TIME = 32


@dataclass(frozen=True)
class Measured:
    """A method in one repeat, with the empty calls that were made right before and right after it."""

    sample: Sample
    floors: Sequence[Sample]
    server: str

    @property
    def cost(self) -> float:
        """CPU of its server, as a multiple of the floor's."""
        return self.sample.cpu_ms(self.server) / middle(floor.cpu_ms(FLOOR) for floor in self.floors)

    @property
    def rate(self) -> float:
        """Calls a second, as a share of the floor's."""
        return self.sample.per_s / middle(floor.per_s for floor in self.floors)


@dataclass(frozen=True)
class Subject:
    """A method that is measured."""

    method: Method
    target: Target
    server: str

    @property
    def name(self) -> str:
        """The method without its service."""
        return self.method.path.rpartition("/")[2]


def measure(run: Run) -> Findings:
    """Floor, method, floor, method, floor and so on; every other repeat the other way round."""
    measured: dict[str, list[Measured]] = defaultdict(list)
    with run.warm_stack(PART) as stack:
        subjects = _subjects(stack)
        run.expect("single calls", run.scale.repeat * (2 * len(subjects) + 1))
        for repeat in range(run.scale.repeat):
            prepared = _prepare(run, stack, subjects)
            before = _floor(run, stack, repeat)
            for subject in subjects if repeat % 2 == 0 else reversed(subjects):
                requests, processes = prepared[subject.name](), run.processes(stack)
                what = f"{PART}: {subject.name}"
                sample = run.measure(
                    what, repeat, make_calls, subject.target, subject.method, requests, AT_A_TIME, processes
                )
                after = _floor(run, stack, repeat)
                measured[subject.name].append(Measured(sample, (before, after), subject.server))
                before = after
    costs = {name: Ratio.of([one.cost for one in repeats]) for name, repeats in measured.items()}
    return Findings([_section(measured, costs)], costs)


def _subjects(stack: Stack) -> list[Subject]:
    by_payments = stack.target(ORDERS, Role.PAYMENTS, "bench")
    return [
        Subject(CREATE_ORDER, stack.target(ORDERS, Role.PLATFORM, "bench"), ORDERS),
        Subject(LOCK_ORDER, by_payments, ORDERS),
        Subject(COMPLETE, by_payments, ORDERS),
        Subject(CREATE_PAYMENT, stack.target(PAYMENTS, Role.TERMINAL, STORE, TILL), PAYMENTS),
    ]


def _prepare(run: Run, stack: Stack, subjects: Sequence[Subject]) -> dict[str, Callable[[], list[bytes]]]:
    """Makes what each method is about, so that it is there when the clock starts; returns how to ask for it."""
    create, lock, complete, pay = subjects
    count = run.scale.calls
    phones = run.phones(stack, count // 2)

    def raised(payers: Iterable[str]) -> list[bytes]:
        requests = calls.create_orders(payers)
        return run.generator.run(send, create.target, CREATE_ORDER, requests, AT_A_TIME)

    payers = [shopper(number) for number in range(count)]
    to_lock, to_pay = raised(payers), raised(phone.identity_id for phone in phones)
    locks = run.generator.run(send, lock.target, LOCK_ORDER, calls.lock_orders(raised(payers)), AT_A_TIME)
    return {
        create.name: lambda: calls.create_orders(payers),
        lock.name: lambda: calls.lock_orders(to_lock),
        complete.name: lambda: calls.complete_payments(locks),
        pay.name: lambda: calls.create_payments(to_pay, phones),
    }


def _floor(run: Run, stack: Stack, repeat: int) -> Sample:
    what, requests = f"{PART}: floor", calls.empty(run.scale.calls)
    return run.measure(what, repeat, make_calls, stack.floor(), EMPTY, requests, AT_A_TIME, run.processes(stack))


def _section(measured: dict[str, list[Measured]], costs: dict[str, Ratio]) -> Section:
    floors = [floor for repeats in measured.values() for one in repeats for floor in one.floors]
    rows = [_row("floor: an empty call", FLOOR, floors, "1", "1", "")]
    for name, repeats in measured.items():
        samples, server = [one.sample for one in repeats], repeats[0].server
        rate = Ratio.of([one.rate for one in repeats])
        rows.append(_row(f"{name} ({server})", server, samples, rate.median, costs[name].median, costs[name].spread()))
    return Section(
        f"One call, {AT_A_TIME} at a time, one server process",
        ["call", "calls/s", "of floor", "CPU ms", "× floor", "repeats", "p50 ms", "p99 ms", "cores", "client ms"],
        rows,
        (
            "CPU ms: of the server process alone, a call. × floor: that as a multiple of the floor's, the lower the "
            "better. of floor: calls/s as a share of the floor's. cores: how busy the server was; well below 1, "
            "something else sets the pace, as CreatePayment waits for order_service. client ms: CPU of the generator.",
        ),
    )


def _row(
    name: str, server: str, samples: Sequence[Sample], rate: float | str, cost: float | str, spread: str
) -> list[float | str]:
    return [
        name,
        middle(sample.per_s for sample in samples),
        rate,
        middle(sample.cpu_ms(server) for sample in samples),
        cost,
        spread,
        middle(sample.latency_ms(50) for sample in samples),
        middle(sample.latency_ms(99) for sample in samples),
        middle(sample.busy(server) for sample in samples),
        middle(sample.cpu_ms(CLIENT) for sample in samples),
    ]
