"""More calls than the database can take: those that would wait too long are refused at once, the others go on."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import psycopg

from order_service.tables import METADATA
from tests.postgres import Cluster
from tests.processes import Server, patient, refusal_of, running, wait_until
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.batches import BATCH_MAX, WAITING_MAX
from tillmesh.storage.postgres import CONNECTIONS

ABSENT = api.GetOrderRequest(order_id="absent")
HELD = CONNECTIONS * BATCH_MAX + WAITING_MAX
"""So many calls are with the database or wait for it."""
CHANNELS = 4


@contextmanager
def connection(server: Server) -> Iterator[grpc.Channel]:
    """One of its own: a connection carries only so many calls at a time."""
    with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield patient(channel)


def refused(call: Any) -> Refusal:
    error = call.exception()
    assert isinstance(error, grpc.RpcError)
    return refusal_of(error)


def test_calls_that_would_wait_too_long_are_refused_at_once(postgres: Cluster, tmp_path: Path) -> None:
    with (
        postgres.database(METADATA) as url,
        running("order_service", tmp_path, "--database-url", url, "--calls-max", str(4 * HELD)) as server,
        psycopg.connect(url) as holder,
        ExitStack() as stack,
    ):
        stubs = [OrderServiceStub(stack.enter_context(connection(server))) for _ in range(CHANNELS)]
        stub = stubs[0]
        assert refused(stub.GetOrder.future(ABSENT)).reason == "ORDER_NOT_FOUND"
        holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        calls = [stub.GetOrder.future(ABSENT) for stub in stubs for _ in range(2 * HELD // CHANNELS)]
        wait_until(lambda: sum(call.done() for call in calls) >= HELD)
        holder.rollback()
        refusals = [refused(call) for call in calls]
        reasons = Counter(refusal.reason for refusal in refusals)
        assert reasons["STORAGE_OVERLOADED"] >= HELD
        assert set(reasons) <= {"STORAGE_OVERLOADED", "ORDER_NOT_FOUND", "STORAGE_UNAVAILABLE"}
        assert {refusal.retry_after_ms for refusal in refusals if refusal.reason == "STORAGE_OVERLOADED"} == {500}
        assert refused(stub.GetOrder.future(ABSENT)).reason == "ORDER_NOT_FOUND"
