"""The plugin in the tests of somebody else: each is a run of pytest of its own."""

import re
from collections.abc import Callable

import psycopg
import pytest

from tests.postgres import Cluster
from tests.processes import DEADLINE_S
from tests.sources import ROOT
from tillmesh.testing.logs import LINES_MAX

pytest_plugins = "pytester"
pytestmark = pytest.mark.process

DOCUMENT = (ROOT / "docs/testing.md").read_text()
TESTS = "\n".join(re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL))
SETTINGS = re.findall(r"^```toml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
CALLS = re.findall(r"^pytest (.*)$", DOCUMENT, re.MULTILINE)
URL = "postgresql://postgres@localhost/postgres"
NOTES_ITS_SANDBOX = """
import pytest

@pytest.fixture(autouse=True)
def note(tillmesh_sandbox, pytestconfig, worker_id):
    (pytestconfig.rootpath / f"{worker_id}.note").write_text(tillmesh_sandbox.orders.address)
"""
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the tests that were made, with this plugin and pytest-xdist alone."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = ("-p", "tillmesh.testing.plugin", "-p", "xdist.plugin")
    return lambda *arguments: pytester.runpytest_subprocess(*plugins, *arguments, timeout=DEADLINE_S)


def databases(postgres: Cluster) -> list[str]:
    with psycopg.connect(postgres.url("postgres")) as connection:
        return [str(name) for (name,) in connection.execute("SELECT datname FROM pg_database ORDER BY 1")]


def test_the_tests_of_the_document_pass_with_two_workers_on_postgresql(
    run: Run, pytester: pytest.Pytester, postgres: Cluster
) -> None:
    before = databases(postgres)
    pytester.makepyfile(TESTS)
    pytester.makeconftest(NOTES_ITS_SANDBOX)
    arguments = " ".join(CALLS).replace(URL, postgres.url("postgres")).split()
    run(*arguments).assert_outcomes(passed=TESTS.count("def test_"))
    notes = [note.read_text() for note in pytester.path.glob("*.note")]
    assert len(set(notes)) == len(notes) == 2
    assert list(pytester.path.rglob("order_service.log"))
    assert list(pytester.path.rglob("order_service.db")) == []
    assert databases(postgres) == before


FAULTS = """
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.sandbox.v1 import sandbox_service_pb2 as sandbox_api
from tillmesh.api.sandbox.v1.sandbox_service_pb2_grpc import SandboxServiceStub
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1.checkout_pb2 import Checkout
from tillmesh.api.terminal.v1.checkout_service_pb2_grpc import CheckoutServiceStub

ORDER = api.ResumeCheckoutRequest(request_id="r-1", order_id="1")


def code(method, request, **options):
    with pytest.raises(grpc.RpcError) as raised:
        method(request, **options)
    return raised.value.code().name


def in_payment(till):
    states = [Checkout.STATE_PAYING]
    return till.ListCheckouts(api.ListCheckoutsRequest(states=states), timeout=20, wait_for_ready=True).checkouts


@pytest.fixture
def till(tillmesh_sandbox):
    return CheckoutServiceStub(tillmesh_sandbox.terminal.channel)


@pytest.mark.parametrize("link", ["terminal_to_payments", "payments_to_orders"])
def test_no_payment_gets_through(tillmesh_sandbox, tillmesh_faults, till, link):
    pay_code = tillmesh_sandbox.pay_code("sandbox-paid")
    getattr(tillmesh_faults, link).cut()
    with ThreadPoolExecutor() as pool:
        selling = pool.submit(sell_a_mug, tillmesh_sandbox, pay_code)
        while not in_payment(till):
            time.sleep(0.02)
        tillmesh_sandbox.move_clock(120)
    assert selling.result().reason == "PAYMENT_TIMEOUT"


def test_no_order_gets_through(tillmesh_faults, till):
    tillmesh_faults.terminal_to_orders.cut()
    assert code(till.ResumeCheckout, ORDER, timeout=20, wait_for_ready=True) == "UNAVAILABLE"


def test_the_till_waits(tillmesh_faults, till):
    till.ListCheckouts(api.ListCheckoutsRequest(), timeout=20, wait_for_ready=True)
    tillmesh_faults.till_to_terminal.delay(2)
    assert code(till.ListCheckouts, api.ListCheckoutsRequest(), timeout=0.5) == "DEADLINE_EXCEEDED"
    tillmesh_faults.till_to_terminal.stall()
    assert code(till.ListCheckouts, api.ListCheckoutsRequest(), timeout=0.5) == "DEADLINE_EXCEEDED"


def test_all_is_whole_again_after_a_test(till):
    assert code(till.ResumeCheckout, ORDER, timeout=60, wait_for_ready=True) == "NOT_FOUND"


def test_a_server_stops(tillmesh_sandbox, tillmesh_faults):
    orders = OrderServiceStub(tillmesh_sandbox.orders.channel)
    tillmesh_faults.orders.stop()
    assert code(orders.ListOrders, orders_api.ListOrdersRequest(), timeout=20) == "UNAVAILABLE"
    tillmesh_faults.orders.start()
    orders.ListOrders(orders_api.ListOrdersRequest(), timeout=20, wait_for_ready=True)


def test_calls_of_its_service_are_not_printed(tillmesh_sandbox):
    with grpc.insecure_channel(tillmesh_sandbox.service) as channel:
        SandboxServiceStub(channel).ListPayers(sandbox_api.ListPayersRequest(), timeout=20)
"""


def test_faults_last_until_the_test_ends(run: Run, pytester: pytest.Pytester) -> None:
    helpers = TESTS[: TESTS.index("def test_")]
    pytester.makepyfile(helpers + FAULTS)
    done = run("-s", "--durations=10")
    done.assert_outcomes(passed=FAULTS.count("def test_") + 1)
    done.stdout.no_fnmatch_line("*ListPayers*")


PASSES = """
def test_passes(tillmesh_sandbox, pytestconfig):
    (pytestconfig.rootpath / "first").write_text(tillmesh_sandbox.orders.address)
"""
FAILS = """
import pytest
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1.checkout_service_pb2_grpc import CheckoutServiceStub
from tillmesh.local.mesh import StoreOptions


@pytest.fixture(scope="module")
def tillmesh_store():
    return StoreOptions(currency="EUR")


def test_needs_no_sandbox():
    assert False


def test_passes_first(tillmesh_sandbox, pytestconfig):
    create = api.CreateCheckoutRequest(request_id="earlier", identity_id="sandbox-paid")
    till = CheckoutServiceStub(tillmesh_sandbox.terminal.channel)
    assert till.CreateCheckout(create, timeout=20).amount.currency_code == "EUR"
    assert (pytestconfig.rootpath / "first").read_text() != tillmesh_sandbox.orders.address


def test_fails(tillmesh_sandbox):
    till = CheckoutServiceStub(tillmesh_sandbox.terminal.channel)
    for _ in range(30):
        till.ListCheckouts(api.ListCheckoutsRequest(), timeout=20)
    till.GetCheckout(api.GetCheckoutRequest(checkout_id="missing"), timeout=20)
"""


def test_a_failed_test_shows_the_end_of_its_servers_logs(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_1=PASSES, test_2=FAILS)
    pytester.makepyprojecttoml(*SETTINGS)
    done = run()
    done.assert_outcomes(passed=2, failed=2)
    done.stdout.fnmatch_lines(
        [
            "*Log of store_terminal during the test*",
            '*"method": "ListCheckouts"*',
            '*"method": "GetCheckout"*NOT_FOUND*',
        ]
    )
    assert done.stdout.str().count('"method": "ListCheckouts"') < LINES_MAX
    assert done.stdout.str().count("Log of store_terminal") == 1
    done.stdout.no_fnmatch_line('*"method": "CreateIdentity"*')
