"""A log that nobody can write or nobody reads: calls are answered all the same, and lost lines are counted."""

import json
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import grpc
import pytest

from tests.orders.test_process import create
from tests.processes import DEADLINE_S, Server, refusal_of, running, wait_until
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import refund_service_pb2 as api
from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceStub
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.log_lines import LINES_MAX, LineWriter

SLOW = "tests.runtime.slow_server"
FULL = Path("/dev/full")
UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
CALLS = 2_000
MANY = LINES_MAX + 2_000


def parsed(lines: list[str]) -> list[dict[str, Any]]:
    """The lines that are JSON as a whole."""
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def dropped_in(lines: list[dict[str, Any]]) -> int:
    return sum(line["count"] for line in lines if line["event"] == "log_lines_dropped")


def list_refunds(server: Server, times: int) -> int:
    """How many of so many calls are answered."""
    with server.channel() as channel:
        stub = RefundServiceStub(channel)
        return sum(stub.ListRefunds(api.ListRefundsRequest()) == api.ListRefundsResponse() for _ in range(times))


def log_much(server: Server, lines: int) -> None:
    with server.channel() as channel:
        request = api.CreateUnreferencedRefundRequest(amount=Money(minor_units=lines))
        RefundServiceStub(channel).CreateUnreferencedRefund(request)


@pytest.mark.process
def test_a_server_whose_log_is_on_a_full_disk_answers_as_ever(tmp_path: Path) -> None:
    with running("order_service", tmp_path, log=FULL) as server:
        with server.channel() as channel:
            stub = OrderServiceStub(channel)
            for number in range(50):
                assert stub.CreateOrder(create(f"o-{number}")).order_id == f"o-{number}"
            with pytest.raises(grpc.RpcError) as raised:
                stub.GetOrder(orders_api.GetOrderRequest(order_id="nowhere"))
            assert refusal_of(raised.value).reason == "ORDER_NOT_FOUND"
        assert server.process.poll() is None
        assert server.stop() == 0


@pytest.mark.process
def test_a_bug_that_cannot_be_logged_is_told_to_its_caller_and_the_server_goes_on(tmp_path: Path) -> None:
    with running(SLOW, tmp_path, log=FULL) as server:
        with server.channel() as channel, pytest.raises(grpc.RpcError) as raised:
            RefundServiceStub(channel).RefundPayment(api.RefundPaymentRequest())
        assert refusal_of(raised.value).reason == "INTERNAL"
        assert list_refunds(server, 10) == 10


@pytest.fixture
def unread(tmp_path: Path) -> Iterator[tuple[Path, IO[str]]]:
    """A named pipe whose reader has it open, and does not read."""
    path = tmp_path / "log"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor) as reader:
        yield path, reader


@pytest.mark.process
def test_a_log_that_nobody_reads_keeps_no_call_waiting_and_says_later_what_it_lacks(
    tmp_path: Path, unread: tuple[Path, IO[str]]
) -> None:
    path, reader = unread
    with running(SLOW, tmp_path, log=path) as server:
        log_much(server, MANY)
        assert list_refunds(server, CALLS) == CALLS
        said: list[str] = []
        reading = threading.Thread(target=lambda: said.extend(reader), daemon=True)
        reading.start()
        wait_until(lambda: dropped_in(parsed(said)) > 0)
        assert server.stop() == 0
        reading.join(DEADLINE_S)
    lines = parsed(said)
    lost = dropped_in(lines)
    assert lost >= CALLS // 2  # the queue was full before they came, but for what the pipe still took out of it
    logged = [line for line in lines if line["event"] in ("one_of_many", "rpc")]
    assert len(logged) + lost == MANY + 1 + CALLS
    assert [line["number"] for line in logged if "number" in line] == sorted(
        line["number"] for line in logged if "number" in line
    )


@pytest.mark.process
def test_a_server_that_stops_does_not_wait_for_a_reader_that_does_not_read(
    tmp_path: Path, unread: tuple[Path, IO[str]]
) -> None:
    with running(SLOW, tmp_path, log=unread[0]) as server:
        log_much(server, MANY)
        assert server.stop() == 0


@pytest.mark.process
def test_a_server_whose_reader_is_gone_goes_on(tmp_path: Path, unread: tuple[Path, IO[str]]) -> None:
    with running(SLOW, tmp_path, log=unread[0]) as server:
        unread[1].close()
        assert list_refunds(server, 10) == 10
        assert server.stop() == 0


@pytest.mark.process
def test_what_json_cannot_show_is_logged_as_far_as_it_goes(tmp_path: Path) -> None:
    with running(SLOW, tmp_path) as server:
        log_much(server, 1)
        assert server.stop() == 0
        said = server.log.read_text().splitlines()
    (odd,) = (line for line in parsed(said) if line["event"] == "odd")
    assert odd["value"] == "<Mute that raises ValueError>"
    assert odd["key"] == "{('no', 'key'): 1}"
    assert (odd["level"], odd["trace_id"] != "") == ("info", True)
    assert "ERROR odd '%d is no number' ('this',)" in said


@pytest.mark.process
def test_a_full_disk_refuses_writes_lets_reads_go_on_and_is_over_when_there_is_room(tmp_path: Path) -> None:
    with running("order_service", tmp_path) as server, server.channel() as channel:
        stub = OrderServiceStub(channel)
        stub.CreateOrder(create("before"))
        wait_until(lambda: '"CreateOrder"' in server.log.read_text())
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        for _ in range(20):
            with pytest.raises(grpc.RpcError) as raised:
                stub.CreateOrder(create("after"))
            assert refusal_of(raised.value).reason == "STORAGE_UNAVAILABLE"
            assert stub.GetOrder(orders_api.GetOrderRequest(order_id="before")).order_id == "before"
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        assert stub.CreateOrder(create("after")).order_id == "after"
        wait_until(lambda: dropped_in(parsed(server.log.read_text().splitlines())) >= 40)
        assert server.stop() == 0


@pytest.mark.process
def test_half_a_line_is_counted_and_spoils_no_other(tmp_path: Path) -> None:
    with running(SLOW, tmp_path) as server:
        list_refunds(server, 1)
        wait_until(lambda: '"ListRefunds"' in server.log.read_text())
        room = len(server.log.read_bytes()) + 30
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        list_refunds(server, 10)
        wait_until(lambda: len(server.log.read_bytes()) == room)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        list_refunds(server, 5)
        assert server.stop() == 0
    said = server.log.read_text().splitlines()
    lines = parsed(said)
    assert len(said) == len(lines) + 1
    assert dropped_in(lines) + sum(line["event"] == "rpc" for line in lines) == 16


@pytest.mark.process
@pytest.mark.parametrize(("leaves", "code"), [(True, "CANCELLED"), (False, "DEADLINE_EXCEEDED")])
def test_a_call_that_got_no_answer_has_a_line_with_its_caller(tmp_path: Path, leaves: bool, code: str) -> None:
    with running(SLOW, tmp_path) as server, server.channel() as channel:
        request = api.GetRefundRequest(refund_id="r-1")
        waiting = RefundServiceStub(channel).GetRefund.future(request, timeout=DEADLINE_S if leaves else 0.5)
        wait_until(lambda: "under way" in server.log.read_text())
        if leaves:
            waiting.cancel()
        with pytest.raises((grpc.RpcError, grpc.FutureCancelledError)):
            waiting.result()
        wait_until(lambda: '"rpc"' in server.log.read_text())
        (line,) = (line for line in parsed(server.log.read_text().splitlines()) if line["event"] == "rpc")
    assert (line["method"], line["code"]) == ("GetRefund", code)
    assert line["actor"].startswith(("ipv4:127.0.0.1:", "unknown"))  # without certificates nothing else is known
    assert line["ms"] > 0


def test_what_was_dropped_is_told_though_nothing_else_is_logged() -> None:
    with FULL.open("wb") as full:
        descriptor = os.dup(full.fileno())
    reading, writing = os.pipe()
    lines = LineWriter(descriptor, lambda count: f"{count} were dropped")
    for number in range(3):
        lines.add(str(number))
    lines.flush(DEADLINE_S)
    os.dup2(writing, descriptor)
    with os.fdopen(reading) as reader:
        assert reader.readline() == "3 were dropped\n"


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    lines = LineWriter(writing, lambda count: f"{count} were dropped")
    texts = [f"{number:0100}" for number in range(5_000)]
    for text in texts:
        lines.add(text)
    with os.fdopen(reading) as reader:
        assert [reader.readline() for _ in texts] == [f"{text}\n" for text in texts]
