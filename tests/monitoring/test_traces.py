"""One checkout is one trace over three servers; without a collector nothing of it is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from order_service.server import OrderSettings
from tests.monitoring.collector import Seen, collecting
from tests.payments.side import secret_file
from tests.processes import DEADLINE_S, running, wait_until
from tests.terminal.phones import shopper_with_phone
from tests.terminal.till import Behind, Till, terminal_flags
from tests.trust.secrets import PIN, WRONG_PIN
from tillmesh.rpc.settings import load_settings

pytestmark = pytest.mark.process
SERVERS = {"order_service", "thirdparty_server", "store_terminal"}


def of_payment(spans: list[Seen]) -> list[Seen]:
    """The spans of the trace that the payment is in, once it has come from all servers."""
    for root in spans:
        if root.name == "PayCheckout":
            found = [span for span in spans if span.trace_id == root.trace_id]
            if {span.server for span in found} == SERVERS:
                return found
    return []


def test_a_checkout_is_one_trace_over_three_servers_without_anybodys_secrets(tmp_path: Path) -> None:
    with collecting() as (collector, endpoint):
        to = ("--otlp-endpoint", endpoint)
        secret = ("--secret-file", str(secret_file(tmp_path)))
        with (
            running("order_service", tmp_path, *to) as orders,
            running("thirdparty_server", tmp_path, *to, "--orders", orders.address, *secret) as payments,
            running("store_terminal", tmp_path, *to, *terminal_flags(orders.address, payments.address)) as terminal,
            orders.channel() as to_orders,
            payments.channel() as to_payments,
            terminal.channel() as to_terminal,
        ):
            behind, till = Behind(to_orders, to_payments), Till(to_terminal)
            behind.open_store()
            phone = shopper_with_phone(behind)
            paid = till.pay(till.submitted(""), code=phone.code())
            wait_until(lambda: bool(of_payment(collector.spans())))
            trace = of_payment(collector.spans())
    by_id = {span.span_id: span for span in trace}
    (lock,) = (span for span in trace if (span.server, span.name) == ("order_service", "LockOrder"))
    above = []
    while lock.above in by_id:
        lock = by_id[lock.above]
        above.append((lock.server, lock.name))
    assert above == [
        ("thirdparty_server", "LockOrder"),
        ("thirdparty_server", "CreatePayment"),
        ("store_terminal", "CreatePayment"),
        ("store_terminal", "PayCheckout"),
    ]
    assert any(span.name == "transaction" for span in trace)
    assert {fact for span in trace for fact in span.facts} <= {"rpc.code", "rpc.role"}
    told = repr(collector.spans())
    for secret_or_id in (PIN, WRONG_PIN, phone.identity_id, paid.checkout_id):
        assert secret_or_id not in told


def test_a_server_without_a_collector_loads_nothing_of_it(tmp_path: Path) -> None:
    environment_flags = ("-X", "importtime")
    command = [sys.executable, *environment_flags, "-m", "order_service", "--insecure", "--listen", "127.0.0.1:0"]
    database = f"sqlite:///{tmp_path / 'orders.db'}"
    with subprocess.Popen(
        [*command, "--database-url", database, "--end-with-stdin"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert "is serving on" in process.stdout.readline()
        _, said = process.communicate(timeout=DEADLINE_S)
    assert "prometheus_client" in said
    assert "opentelemetry" not in said


def test_a_collector_that_is_away_holds_up_neither_calls_nor_the_end(tmp_path: Path) -> None:
    with running("order_service", tmp_path, "--otlp-endpoint", "http://127.0.0.1:1") as server:
        with server.channel() as channel:
            behind = Behind(channel, channel)
            for _ in range(20):
                behind.raise_order("ada")
        assert server.stop() == 0


@pytest.mark.parametrize("endpoint", ["http://collector.example:4317", "collector:4317"])
def test_traces_leave_the_machine_encrypted(endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_settings(OrderSettings, ["--insecure", "--otlp-endpoint", endpoint])
    assert "--otlp-endpoint must be https://" in capsys.readouterr().err
