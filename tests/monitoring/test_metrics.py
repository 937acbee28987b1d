"""An operator sees what happened, and what is not finished, on a page that no call waits for."""

import asyncio
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from prometheus_client import Gauge, Metric

from order_service.server import OrderSettings
from tests.monitoring.scrapes import address_in, samples, scrape
from tests.payments.side import secret_file
from tests.processes import DEADLINE_S, refusal_of, running, start_server, wait_until
from tests.sources import ROOT
from tests.terminal.phones import shopper_with_phone
from tests.terminal.till import Behind, Till, terminal_flags
from tests.trust.secrets import WRONG_PIN, files_with_secrets
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.client.failures import Failure
from tillmesh.rpc.metrics_page import BacklogWatch
from tillmesh.rpc.settings import load_settings
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.metrics import BACKLOG_READ, BOUND_SECONDS, OLDEST_SECONDS, REGISTRY, UNFINISHED
from tillmesh.storage.backlogs import Backlogs, Count

METRICS = ("--metrics-listen", "127.0.0.1:0")


@dataclass(frozen=True)
class Observed:
    """Three servers and where their metrics are."""

    till: Till
    behind: Behind
    folder: Path
    orders: str
    payments: str
    terminal: str


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("observed")
    secret = str(secret_file(folder))
    with (
        running("order_service", folder, *METRICS) as orders,
        running("thirdparty_server", folder, *METRICS, "--orders", orders.address, "--secret-file", secret) as payments,
        running("store_terminal", folder, *METRICS, *terminal_flags(orders.address, payments.address)) as terminal,
        orders.channel() as to_orders,
        payments.channel() as to_payments,
        terminal.channel() as to_terminal,
    ):
        behind = Behind(to_orders, to_payments)
        behind.open_store()
        pages = [address_in(server.log) for server in (orders, payments, terminal)]
        yield Observed(Till(to_terminal), behind, folder, *pages)


@pytest.mark.process
def test_what_happened_is_counted_at_each_server(observed: Observed) -> None:
    phone = shopper_with_phone(observed.behind, threshold=100)
    till = observed.till
    made_up = "27123456789465650089"
    pending = till.submitted("")
    till.pay(pending, code=made_up)
    waiting = till.pay(pending, code=phone.code())
    with pytest.raises(grpc.RpcError) as raised:
        till.enter_pin(waiting, WRONG_PIN)
    assert refusal_of(raised.value).reason == "PIN_WRONG"
    wait_until(lambda: 'tillmesh_unfinished{kind="payments",state="AWAITING_PAYER"} 1' in scrape(observed.payments))
    terminal, payments = samples(scrape(observed.terminal)), samples(scrape(observed.payments))
    orders = samples(scrape(observed.orders))
    assert terminal['tillmesh_calls_total{code="OK",method="PayCheckout"}'] == 2
    assert terminal['tillmesh_call_seconds_count{method="PayCheckout"}'] == 2
    assert terminal['tillmesh_refusals_total{reason="PIN_WRONG"}'] == 1
    assert terminal['tillmesh_calls_made_total{code="OK",method="CreatePayment"}'] >= 2
    assert payments['tillmesh_wrong_pay_codes_total{reason="PAY_CODE_INVALID"}'] == 1
    assert payments['tillmesh_refusals_total{reason="PIN_WRONG"}'] == 1
    assert payments['tillmesh_oldest_unfinished_seconds{kind="payments",state="AWAITING_PAYER"}'] >= 0
    assert payments["tillmesh_commit_seconds_count"] > 0
    assert payments["tillmesh_operations_a_commit_sum"] >= payments["tillmesh_operations_a_commit_count"]
    assert orders['tillmesh_calls_total{code="OK",method="LockOrder"}'] == 1
    wait_until(lambda: 'tillmesh_unfinished{kind="orders",state="LOCKED"} 1' in scrape(observed.orders))
    assert files_with_secrets(observed.folder) == []
    for page in (observed.orders, observed.payments, observed.terminal):
        assert phone.identity_id not in scrape(page)


@pytest.mark.process
def test_a_call_that_its_caller_gave_up_is_counted(observed: Observed) -> None:
    watching = observed.till.service.WatchCheckouts(api.WatchCheckoutsRequest(), timeout=DEADLINE_S)
    wait_until(lambda: samples(scrape(observed.terminal))["tillmesh_streams"] == 1)
    watching.cancel()
    wait_until(lambda: samples(scrape(observed.terminal))["tillmesh_streams"] == 0)
    ended = samples(scrape(observed.terminal))
    assert ended['tillmesh_calls_total{code="CANCELLED",method="WatchCheckouts"}'] == 1
    assert 'tillmesh_call_seconds_count{method="WatchCheckouts"}' not in ended


@pytest.mark.process
def test_a_scraper_that_says_nothing_holds_up_no_call_and_not_the_next_scraper_for_long(observed: Observed) -> None:
    host, _, port = observed.terminal.rpartition(":")
    with socket.create_connection((host, int(port))), socket.create_connection((host, int(port))) as rude:
        rude.sendall(b"\xff\xfe no HTTP\r\n\r\n")
        observed.till.submitted("")
        assert "tillmesh_calls_total" in scrape(observed.terminal)


@pytest.mark.process
def test_metrics_are_for_this_machine_and_a_taken_address_is_told(
    observed: Observed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        load_settings(OrderSettings, ["--insecure", "--metrics-listen", "192.0.2.1:7101"])
    assert "--metrics-listen is for 127.0.0.1" in capsys.readouterr().err
    with pytest.raises(Failure, match=r"cannot listen on .*Address already in use.*--metrics-listen"):
        start_server("order_service", tmp_path, "--metrics-listen", observed.orders)


def metrics() -> list[Metric]:
    return list(REGISTRY.collect())


def name_of(metric: Metric) -> str:
    """As Prometheus sees it: a counter's name has an ending of its own."""
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def value_of(gauge: Gauge, **labels: str) -> float | None:
    (metric,) = gauge.collect()
    return next((sample.value for sample in metric.samples if sample.labels == labels), None)


async def answered(backlogs: Backlogs) -> Backlogs:
    return backlogs


def test_each_metric_is_documented_with_its_unit() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    told = dict(re.findall(r"^\| `(tillmesh_\w+)` \|.*\| ([^|]+) \|$", page, re.MULTILINE))
    assert told == {name_of(metric): metric.documentation for metric in metrics()}
    assert all(metric.documentation.endswith(".") for metric in metrics())


async def test_what_a_database_says_is_shown_and_what_is_done_leaves_the_page() -> None:
    open_since = iter((7, 7, None))
    found = iter(({"payments": {"PENDING": Count(3, 1_000)}}, {}, {}))
    watch = BacklogWatch(read=lambda: answered(Backlogs(next(found), next(open_since), 61_000)))
    await watch.look()
    assert value_of(UNFINISHED, kind="payments", state="PENDING") == 3
    assert value_of(OLDEST_SECONDS, kind="payments", state="PENDING") == 60
    await watch.look()
    assert value_of(UNFINISHED, kind="payments", state="PENDING") is None
    assert (value_of(BOUND_SECONDS) or 0) > 0
    await watch.look()
    assert value_of(BOUND_SECONDS) == 0


async def test_while_the_database_is_away_the_page_says_when_it_was_last_read() -> None:
    before = value_of(BACKLOG_READ)

    async def away() -> Backlogs:
        raise CommonReason.STORAGE_UNAVAILABLE()

    async with asyncio.timeout(DEADLINE_S):
        watching = asyncio.create_task(BacklogWatch(away).run())
        await asyncio.sleep(0)
    assert not watching.done()
    watching.cancel()
    assert value_of(BACKLOG_READ) == before
