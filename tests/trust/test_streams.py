"""A stream ends as soon as its caller would no longer be let in, and nobody opens too many."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from tests.orders.test_process import create
from tests.processes import DEADLINE_S, refusal_of, wait_until
from tests.trust.certified import HERE, Shops, refusal
from tests.trust.fort import HOSTILE, NEIGHBOUR, PLATFORM, Fort, running_fort
from tests.trust.test_certificates import revoked
from tests.trust.test_payers import new_phone, scanned_for, sold
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import payer_service_pb2 as payers_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import Role
from tillmesh.rpc.limits import WATCHED_A_CALLER
from tillmesh.runtime.errors import Refusal

BRIEF = (Role.TERMINAL, HERE, "brief")
BRIEF_S = 6
WATCH = orders_api.WatchOrdersRequest(store_id=HERE)
LIST = orders_api.ListOrdersRequest(store_id=HERE)


@pytest.fixture(scope="module")
def fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    with running_fort(tmp_path_factory.mktemp("streams")) as fort:
        yield fort


def sell(fort: Fort, order_id: str) -> None:
    """Something happens in the store."""
    request = create(order_id)
    request.store_id = HERE
    fort.orders(PLATFORM).CreateOrder(request)


def refused(stream: Any) -> Refusal:
    """What a stream ends with."""
    with pytest.raises(grpc.RpcError) as raised:
        for _ in stream:
            pass
    return refusal_of(raised.value)


def is_refused(stub: OrderServiceStub) -> bool:
    try:
        stub.ListOrders(LIST)
    except grpc.RpcError:
        return True
    return False


def test_the_stream_of_a_caller_who_is_denied_ends_with_what_happens_next(fort: Fort) -> None:
    stream = fort.orders(HOSTILE).WatchOrders(WATCH, timeout=DEADLINE_S)
    other = fort.orders(NEIGHBOUR).WatchOrders(WATCH, timeout=DEADLINE_S)
    next(stream)
    next(other)
    with revoked(fort.authority, "spiffe://tillmesh/terminal/" + "/".join(HOSTILE[1:])):
        sell(fort, "after-denial")
        assert refused(stream).reason == "UNAUTHENTICATED"
    assert [update.event.order_id for update in next(other).updates] == ["after-denial"]


def test_what_a_certificate_opened_ends_with_the_certificate(fort: Fort) -> None:
    fort.authority.issue(*BRIEF, lifetime=timedelta(seconds=BRIEF_S))
    brief = fort.orders(BRIEF)
    stream = brief.WatchOrders(WATCH, timeout=DEADLINE_S)
    next(stream)
    wait_until(lambda: is_refused(brief))  # on a connection that was made before
    sell(fort, "after-the-end")
    ended = [refused(stream), refusal(brief.ListOrders, LIST)]
    assert [(each.reason, "it has expired" in each.text) for each in ended] == [("UNAUTHENTICATED", True)] * 2


def test_a_caller_has_so_many_streams_at_a_time(fort: Fort) -> None:
    stub = fort.orders(HOSTILE)
    streams = [stub.WatchOrders(WATCH, timeout=DEADLINE_S) for _ in range(WATCHED_A_CALLER)]
    for stream in streams:
        next(stream)
    assert refused(stub.WatchOrders(WATCH, timeout=DEADLINE_S)).reason == "OVERLOADED"
    next(fort.orders(NEIGHBOUR).WatchOrders(WATCH, timeout=DEADLINE_S))
    for stream in streams:
        stream.cancel()


def test_the_stream_of_a_phone_ends_when_its_payer_signs_out(shops: Shops) -> None:
    phone = new_phone(shops, shops.platform.shopper(funds=10_000))
    phone.sign_in()
    request = payments_api.WatchPaymentsRequest(identity_id=phone.identity_id)
    stream = phone.payments.WatchPayments(request, metadata=phone.bearer, timeout=DEADLINE_S)
    next(stream)
    phone.payers.SignOut(payers_api.SignOutRequest(), metadata=phone.bearer, timeout=DEADLINE_S)
    scanned_for(shops, sold(shops, Payer(identity_id=phone.identity_id)), phone.code())
    assert refused(stream).reason == "SIGN_IN_REQUIRED"
