"""Measures how fast payments are finished that an outage left unfinished, and what other callers notice of it."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpc import StatusCode, aio

from bench import calls
from bench.calls import CREATE_PAYMENT, make_calls
from bench.load import TIMEOUT_S, Sample, closed_loop, connect, timed
from bench.machine import Processes
from bench.report import Cell, Findings, Ratio, Section, middle
from bench.run import Run
from bench.servers import ORDERS, PAYMENTS, Stack, Target
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.auth.callers import Role
from tillmesh.client.failures import Failure

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceAsyncStub

PART = "backlog"
AT_A_TIME = 64
PATIENCE_S = 0.5
"""Of the callers whose payments stay unfinished."""
HONEST_EVERY_S = 0.05
"""One caller goes on paying; so long after an answer comes their next payment."""
LOOK_EVERY_S = 0.1
PATIENT = ("--lock-patience-s", "86400", "--instant-lease-s", "600")
"""No payment is given up in the outage: each is locked, held, completed and captured afterwards, as a fresh one is."""
Payment = payment_pb2.Payment
UNFINISHED = (Payment.STATE_PENDING, Payment.STATE_AUTHORIZED, Payment.STATE_VOIDING)


@dataclass(frozen=True)
class Measured:
    """One repeat."""

    fresh: Sample
    idle: Sample
    """Of the honest caller who is alone."""
    meanwhile: Sample
    """Of the same while the backlog is finished, which took as long as this."""
    unfinished: int

    @property
    def fresh_s(self) -> float:
        """The time that as many fresh payments take."""
        return self.unfinished / self.fresh.per_s

    @property
    def cost(self) -> float:
        """CPU of the servers for a payment of the backlog, as a multiple of that for a fresh one."""
        used_s = sum(self.meanwhile.cpu_s[name] for name in (ORDERS, PAYMENTS))
        made = self.unfinished + self.meanwhile.calls
        return used_s / made * 1000 / self.fresh.cpu_ms(ORDERS, PAYMENTS)


def measure(run: Run) -> Findings:
    """Fresh payments, an honest caller alone, an outage, and what follows it."""
    run.expect("unfinished payments", 3 * run.scale.repeat)
    with run.warm_stack(PART, payment_flags=PATIENT) as stack:
        found = [_measured(run, stack, repeat) for repeat in range(run.scale.repeat)]
    return Findings([_section(found)])


def _measured(run: Run, stack: Stack, repeat: int) -> Measured:
    count, processes = run.scale.unfinished, run.processes(stack)
    platform = stack.target(PAYMENTS, Role.PLATFORM, "bench")
    honest = run.raised(stack, max(count // 20, 50))
    fresh, left = (calls.ask_payments(run.raised(stack, count)) for _ in range(2))
    alone, beside = (calls.ask_payments(half) for half in (honest[: len(honest) // 5], honest[len(honest) // 5 :]))
    idle = run.measure(f"{PART}: honest caller alone", repeat, pay_now_and_then, platform, alone, processes)
    paid = run.measure(
        f"{PART}: fresh payments", repeat, make_calls, platform, CREATE_PAYMENT, fresh, AT_A_TIME, processes
    )
    with _away(stack.processes[ORDERS]):
        run.generator.run(leave_unfinished, platform, left)
    meanwhile = run.measure(f"{PART}: finishing", repeat, watch_finish, platform, beside, processes)
    return Measured(paid, idle, meanwhile, count)


@contextmanager
def _away(pids: Sequence[int]) -> Iterator[None]:
    """Processes that answer nothing within the block: connections to them stay, and calls time out."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def pay_now_and_then(target: Target, requests: Sequence[bytes], processes: Processes) -> Sample:
    """An honest caller pays all of these, one at a time, with a pause after each."""
    channel = await connect(target)
    try:
        return await timed(processes, lambda: _pay_now_and_then(channel, requests, asyncio.Event()))
    finally:
        await channel.close()


async def leave_unfinished(target: Target, requests: Sequence[bytes]) -> None:
    """Asks for payments that get no further than to be recorded, as the order service does not answer."""
    channel = await connect(target)
    method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CREATE_PAYMENT.path)
    stub = PaymentServiceStub(channel)

    async def leave(number: int) -> None:
        recorded = False
        while not recorded:
            try:
                await method(requests[number], timeout=PATIENCE_S)
            except aio.AioRpcError as error:
                if error.code() not in (StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED):
                    raise
            recorded = await _is_recorded(stub, requests[number])

    await closed_loop(leave, range(len(requests)), 2 * AT_A_TIME)
    await channel.close()


async def _is_recorded(stub: "PaymentServiceAsyncStub", request: bytes) -> bool:
    payment_id = payments_api.CreatePaymentRequest.FromString(request).payment_id
    try:
        await stub.GetPayment(payments_api.GetPaymentRequest(payment_id=payment_id), timeout=TIMEOUT_S)
    except aio.AioRpcError as error:
        if error.code() not in (StatusCode.NOT_FOUND, StatusCode.RESOURCE_EXHAUSTED):
            raise
        return False
    return True


async def watch_finish(target: Target, requests: Sequence[bytes], processes: Processes) -> Sample:
    """Returns once no payment is unfinished; an honest caller goes on paying meanwhile."""
    channel = await connect(target)
    stub, finished = PaymentServiceStub(channel), asyncio.Event()

    async def look() -> None:
        unfinished = payments_api.ListPaymentsRequest(states=UNFINISHED, page_size=1)
        while not finished.is_set():
            await asyncio.sleep(LOOK_EVERY_S)
            if not (await stub.ListPayments(unfinished, timeout=TIMEOUT_S)).payments:
                finished.set()

    async def load() -> list[float]:
        async with asyncio.TaskGroup() as group:
            group.create_task(look())
            paying = group.create_task(_pay_now_and_then(channel, requests, finished))
        return paying.result()

    try:
        sample = await timed(processes, load)
        given_up = payments_api.ListPaymentsRequest(states=[Payment.STATE_VOIDED], page_size=1)
        if (await stub.ListPayments(given_up, timeout=TIMEOUT_S)).payments:
            raise Failure("A payment was given up instead of finished.")
    finally:
        await channel.close()
    return sample


async def _pay_now_and_then(channel: aio.Channel, requests: Sequence[bytes], ended: asyncio.Event) -> list[float]:
    method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CREATE_PAYMENT.path)
    latencies_s: list[float] = []
    for request in requests:
        if ended.is_set():
            break
        started = time.perf_counter()
        if not CREATE_PAYMENT.is_good(await method(request, timeout=TIMEOUT_S)):
            raise Failure("An honest caller's payment was not captured.")
        latencies_s.append(time.perf_counter() - started)
        await asyncio.sleep(HONEST_EVERY_S)
    return latencies_s


def _section(found: Sequence[Measured]) -> Section:
    times = Ratio.of([one.meanwhile.elapsed_s / one.fresh_s for one in found])
    waits = Ratio.of([one.meanwhile.latency_ms(99) / one.idle.latency_ms(99) for one in found])
    row: list[Cell] = [
        f"{found[0].unfinished:,}",
        middle(one.fresh_s for one in found),
        middle(one.meanwhile.elapsed_s for one in found),
        times.median,
        times.spread(),
        middle(one.cost for one in found),
        middle(one.idle.latency_ms(50) for one in found),
        middle(one.idle.latency_ms(99) for one in found),
        middle(one.meanwhile.latency_ms(50) for one in found),
        middle(one.meanwhile.latency_ms(99) for one in found),
        waits.median,
        waits.spread(),
    ]
    return Section(
        "Payments that an outage of the order service left unfinished",
        [
            "unfinished",
            "fresh s",
            "finished s",
            "× fresh",
            "repeats",
            "CPU × fresh",
            "alone p50 ms",
            "p99 ms",
            "meanwhile p50 ms",
            "p99 ms ",
            "× alone p99",
            "repeats ",
        ],
        [row],
        (
            f"fresh: as many payments, {AT_A_TIME} at a time. finished: from the order service's return until none "
            "is unfinished. alone, meanwhile: an honest caller who pays one order at a time, before and during that.",
        ),
    )
