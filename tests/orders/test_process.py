"""The order service as a process: what was acknowledged outlives it, and every refusal reaches a client."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest
from google.protobuf import duration_pb2
from google.protobuf.message import Message

from order_service.errors import Reason
from tests.databases import KINDS, databases
from tests.orders.shop import PAYER, TEA, event_name, line
from tests.processes import DEADLINE_S, Server, refusal_of, running, start_server, wait_until
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.errors import CommonReason

AMOUNT = Money(currency_code="GBP", minor_units=250)


def create(order_id: str, lines: Sequence[LineItem] = TEA) -> api.CreateOrderRequest:
    return api.CreateOrderRequest(
        request_id=f"create-{order_id}",
        order_id=order_id,
        store_id="store-1",
        payer=PAYER,
        currency_code="GBP",
        lines=lines,
    )


def lock(payment_id: str, order_id: str, lease_s: int = 600) -> api.LockOrderRequest:
    return api.LockOrderRequest(
        payment_id=payment_id,
        order_id=order_id,
        payer=PAYER,
        order_version=1,
        amount=AMOUNT,
        lease=duration_pb2.Duration(seconds=lease_s),
    )


def state_of(stub: OrderServiceStub, order_id: str) -> int:
    return stub.GetOrder(api.GetOrderRequest(order_id=order_id)).state


def acknowledged_until_killed(server: Server) -> dict[str, order_pb2.Order]:
    """Creates orders as fast as answers come, and kills the server amid them."""
    acknowledged: dict[str, order_pb2.Order] = {}
    with server.channel() as channel:
        stub = OrderServiceStub(channel)
        calls = [stub.CreateOrder.future(create(f"o-{number}")) for number in range(200)]
        for call in calls:
            try:
                order = call.result(timeout=DEADLINE_S)
            except grpc.RpcError:
                continue
            acknowledged[order.order_id] = order
            if len(acknowledged) == 51:
                server.kill()
    return acknowledged


@pytest.mark.process
def test_nothing_acknowledged_is_missing_after_kill_9(tmp_path: Path) -> None:
    server = start_server("order_service", tmp_path)
    with server.channel() as channel:
        stub = OrderServiceStub(channel)
        for order_id in ("locked", "paid"):
            stub.CreateOrder(create(order_id))
            stub.LockOrder(lock(f"p-{order_id}", order_id))
        stub.CompleteOrderPayment(api.CompleteOrderPaymentRequest(payment_id="p-paid", order_id="paid", epoch=1))
    acknowledged = acknowledged_until_killed(server)
    assert len(acknowledged) > 50
    with running("order_service", tmp_path) as again, again.channel() as channel:
        stub = OrderServiceStub(channel)
        for order_id, order in acknowledged.items():
            assert stub.GetOrder(api.GetOrderRequest(order_id=order_id)) == order
        assert state_of(stub, "paid") == order_pb2.Order.STATE_PAID
        assert state_of(stub, "locked") == order_pb2.Order.STATE_LOCKED
        assert stub.LockOrder(lock("p-locked", "locked")).epoch == 1
        # A call whose answer was lost gets the first answer, or has its effect now.
        for number in range(200):
            assert stub.CreateOrder(create(f"o-{number}")).order_id == f"o-{number}"
        assert stub.GetOrderVersion(api.GetOrderVersionRequest(order_id="o-0", version=1)).lines == list(TEA)


@pytest.mark.process
def test_a_lock_that_lapsed_while_the_server_was_dead_ends_after_its_restart(tmp_path: Path) -> None:
    server = start_server("order_service", tmp_path)
    with server.channel() as channel:
        stub = OrderServiceStub(channel)
        stub.CreateOrder(create("o-1"))
        stub.LockOrder(lock("p-1", "o-1", lease_s=1))
    server.kill()
    with running("order_service", tmp_path) as again, again.channel() as channel:
        stub = OrderServiceStub(channel)
        wait_until(lambda: state_of(stub, "o-1") == order_pb2.Order.STATE_OPEN)
        events = stub.ListOrderEvents(api.ListOrderEventsRequest(order_id="o-1")).events
        assert [event_name(event) for event in events] == ["CREATED", "LOCKED", "LEASE_EXPIRED"]
        answer = stub.CompleteOrderPayment(api.CompleteOrderPaymentRequest(payment_id="p-1", order_id="o-1", epoch=1))
        assert (answer.state, answer.reason) == (order_payment_pb2.OrderPayment.STATE_RELEASED, "LEASE_EXPIRED")


@pytest.fixture(scope="module", params=KINDS)
def stub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrderServiceStub]:
    """A server with one order in each state."""
    folder = tmp_path_factory.mktemp("orders")
    with (
        databases(request, folder) as new_database,
        running("order_service", folder, "--database-url", new_database()) as server,
        server.channel() as channel,
    ):
        stub = OrderServiceStub(channel)
        for order_id in ("open", "locked", "paid", "canceled"):
            stub.CreateOrder(create(order_id))
        stub.LockOrder(lock("p-locked", "locked"))
        stub.LockOrder(lock("p-paid", "paid"))
        stub.CompleteOrderPayment(api.CompleteOrderPaymentRequest(payment_id="p-paid", order_id="paid", epoch=1))
        stub.CancelOrder(api.CancelOrderRequest(request_id="cancel", order_id="canceled", version=1))
        yield stub


def cancel(order_id: str, version: int = 1) -> api.CancelOrderRequest:
    return api.CancelOrderRequest(request_id=f"again-{order_id}", order_id=order_id, version=version)


PROVOCATIONS: dict[str, Message] = {
    "ORDER_NOT_FOUND": api.GetOrderRequest(order_id="nowhere"),
    "ORDER_VERSION_NOT_FOUND": api.GetOrderVersionRequest(order_id="open", version=2),
    "ORDER_NOT_FREE": api.CompleteFreeOrderRequest(request_id="again-free", order_id="open", version=1),
    "ORDER_EXISTS": api.CreateOrderRequest(
        request_id="another", order_id="open", store_id="s", payer=PAYER, currency_code="GBP", lines=TEA
    ),
    "VERSION_MISMATCH": cancel("open", version=7),
    "ORDER_LOCKED": cancel("locked"),
    "ORDER_ALREADY_PAID": cancel("paid"),
    "ORDER_CANCELED": cancel("canceled"),
    "PAYMENT_NOT_FOUND": api.CompleteOrderPaymentRequest(payment_id="nobody", order_id="open", epoch=1),
    "EPOCH_MISMATCH": api.CompleteOrderPaymentRequest(payment_id="p-locked", order_id="locked", epoch=9),
    "INVALID_FIELD": api.CreateOrderRequest(),
    "REQUEST_ID_REUSED": api.CancelOrderRequest(request_id="create-open", order_id="open", version=1),
}


def test_every_reason_of_the_order_service_is_provoked_below() -> None:
    elsewhere = {"ORDER_VERSION_PRUNED"}  # in the tests of pruning
    assert {reason.name for reason in Reason} - elsewhere <= set(PROVOCATIONS)


@pytest.mark.parametrize(("reason", "request_"), PROVOCATIONS.items(), ids=PROVOCATIONS)
def test_every_reason_reaches_a_client_with_its_status_and_facts(
    stub: OrderServiceStub, reason: str, request_: Message
) -> None:
    method = getattr(stub, type(request_).__name__.removesuffix("Request"))
    with pytest.raises(grpc.RpcError) as raised:
        method(request_)
    refusal = refusal_of(raised.value)
    catalogued = Reason[reason] if reason in Reason.__members__ else CommonReason[reason]
    assert (refusal.reason, refusal.code, refusal.domain) == (reason, catalogued.code, "order.tillmesh")
    assert refusal.text
    assert bool(refusal.violations) == (reason == "INVALID_FIELD")
    assert refusal.retry_after_ms is None  # that would make clients repeat an id that is refused for ever


@pytest.mark.parametrize(
    "request_",
    [
        api.GetOrderRequest(order_id="x" * 100_000),
        api.GetOrderRequest(order_id="\N{GRINNING FACE}" * 10_000),
        api.CancelOrderRequest(request_id="long-cancel", order_id="é" * 50_000, version=1),
        api.ReplaceOrderLinesRequest(request_id="long-lines", order_id="x" * 100_000, version=1, lines=TEA),
        api.ListOrderEventsRequest(order_id="x" * 100_000),
        api.ListOrdersRequest(page_token="x" * 100_000),
        api.CreateOrderRequest(
            request_id="x" * 50_000, order_id="é" * 10_000, store_id="s", payer=PAYER, currency_code="G" * 9_000
        ),
        api.CreateOrderRequest(
            request_id="another", store_id="s", payer=PAYER, currency_code="GBP", lines=[LineItem()] * 1000
        ),
    ],
    ids=lambda request: type(request).__name__,
)
def test_a_request_of_any_size_is_told_what_is_wrong_with_it(stub: OrderServiceStub, request_: Message) -> None:
    """Errors travel in trailers, of which gRPC carries few kilobytes."""
    with pytest.raises(grpc.RpcError) as raised:
        getattr(stub, type(request_).__name__.removesuffix("Request"))(request_)
    assert refusal_of(raised.value).reason in ("INVALID_FIELD", "ORDER_NOT_FOUND")


def test_a_request_of_the_largest_order_fits(stub: OrderServiceStub) -> None:
    lines = [line(f"{number:064}", 1, 1, "x" * 128) for number in range(1000)]
    assert list(stub.CreateOrder(create("largest", lines)).lines) == lines
