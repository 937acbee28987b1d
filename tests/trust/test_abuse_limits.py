"""Deadlines, calls a second, calls and streams at a time: who takes too much is refused, and nobody else notices."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.processes import refusal_of, wait_until
from tests.trust.certified import ACCESS, HERE, Shops, methods_of, names_of
from tests.trust.fort import DEVICE_HERE, HOSTILE, LIST_ORDERS, NEIGHBOUR, PLATFORM, SERVICE, Fort, Who, running_fort
from tests.trust.frames import Wire, message
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.rpc.limits import OPEN_A_CALLER
from tillmesh.rpc.server import MESSAGE_BYTES_MAX
from tillmesh.rpc.transport import METADATA_BYTES_MAX
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

OK, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 0, 4, 8
SERVING = health_pb2.HealthCheckResponse.SERVING
CALLS_MAX, SHARE = 8, 2
LIST = api.ListOrdersRequest(store_id=HERE, page_size=1)
ASKED = message(LIST.SerializeToString())
WATCH, REFLECT = b"/grpc.health.v1.Health/Watch", b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
NEWER_REFLECTION = "grpc.reflection.v1.ServerReflection"
LIST_SERVICES = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
STREAMS = [(WATCH, b""), (REFLECT, LIST_SERVICES)]
NO_WINDOW = b"\0\4\0\0\0\0"
"""A setting: the server may send no data."""


@pytest.fixture(scope="module")
def fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    """Where few calls may be in progress."""
    with running_fort(tmp_path_factory.mktemp("narrow"), "--calls-max", str(CALLS_MAX)) as fort:
        yield fort


@pytest.fixture(scope="module")
def hasty_fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    """Where no call takes longer than a second."""
    with running_fort(tmp_path_factory.mktemp("hasty"), "--call-s-max", "1") as fort:
        yield fort


@pytest.fixture(scope="module")
def slow_fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    """Where a till may make one call a second."""
    with running_fort(tmp_path_factory.mktemp("slow"), "--calls-per-s", "1") as fort:
        yield fort


def outcome(act: Callable[[], object]) -> Refusal | None:
    """The refusal of a call; None if it was answered."""
    try:
        act()
    except grpc.RpcError as error:
        return refusal_of(error)
    return None


# Deadlines


@pytest.mark.parametrize("server", ACCESS)
def test_every_method_but_a_stream_wants_a_deadline(shops: Shops, server: Role) -> None:
    def without(method: MethodDescriptor) -> str:
        allowed = ACCESS[server][method.containing_service.full_name][method.name]
        role = next(role for role in Role if role in allowed)
        folder = shops.authority.folder_of(role, *names_of(role))
        request = message_factory.GetMessageClass(method.input_type)()
        address = shops.servers[server].address
        with TlsFiles(folder, shops.authority.mesh).open_blocking_channel(address, server) as channel:
            call: Any = channel.unary_unary(
                f"/{method.containing_service.full_name}/{method.name}",
                request_serializer=type(request).SerializeToString,
            )
            refused = outcome(lambda: call(request))
        return f"{refused.code.name} {refused.reason}" if refused else "served"

    said = {method.name: without(method) for method in methods_of(server) if not method.server_streaming}
    assert said == dict.fromkeys(said, "INVALID_ARGUMENT DEADLINE_REQUIRED")


def test_a_long_deadline_is_cut(hasty_fort: Fort) -> None:
    with hasty_fort.wire(PLATFORM) as wire:
        assert wire.status(wire.open(LIST_ORDERS, timeout=b"99999999H")) == DEADLINE_EXCEEDED
        assert answered(wire) == OK


def test_health_and_reflection_want_no_deadline(fort: Fort) -> None:
    channel = fort.channel(PLATFORM)
    assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE)).status == SERVING
    assert SERVICE in services(channel)


def services(channel: grpc.Channel) -> set[str]:
    """What reflection lists."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    [answer] = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    return {service.name for service in answer.list_services_response.service}


def test_reflection_of_the_newer_name_says_the_same_and_knows_itself(fort: Fort) -> None:
    channel = fort.channel(PLATFORM)
    newer: Any = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [{"list_services": ""}, {"file_containing_symbol": NEWER_REFLECTION}]
    listed, contract = newer(iter([reflection_pb2.ServerReflectionRequest(**each) for each in asked]))
    assert {service.name for service in listed.list_services_response.service} == services(channel)
    assert NEWER_REFLECTION in services(channel)
    [file] = contract.file_descriptor_response.file_descriptor_proto
    assert descriptor_pb2.FileDescriptorProto.FromString(file).package == "grpc.reflection.v1"


# Calls a second


def test_a_till_that_calls_too_often_is_told_how_long_to_wait(slow_fort: Fort) -> None:
    hostile = slow_fort.orders(HOSTILE)
    futures = [hostile.ListOrders.future(LIST) for _ in range(50)]
    refusals = [refused for future in futures if (refused := outcome(future.result))]
    assert 40 < len(refusals) <= 48
    for refused in refusals:
        assert (refused.code, refused.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert refused.retry_after_ms is not None
        assert 0 < refused.retry_after_ms <= 1_000
    wait_until(lambda: outcome(lambda: hostile.ListOrders(LIST)) is None)


def test_others_are_not_held_to_what_a_till_may(slow_fort: Fort) -> None:
    assert outcome(lambda: slow_fort.orders(NEIGHBOUR).ListOrders(LIST)) is None
    platform = slow_fort.orders(PLATFORM)
    assert [outcome(platform.ListOrders.future(LIST).result) for _ in range(50)] == [None] * 50


# Calls at a time


def answered(wire: Wire) -> int | None:
    """What a whole call comes to."""
    stream = wire.open(LIST_ORDERS)
    wire.data(stream, ASKED)
    return wire.status(stream)


def let_in(fort: Fort, who: Who, calls: int) -> bool:
    """True if so many calls may be in progress, and one more may not."""
    with fort.wire(who) as wire:
        streams = {wire.open(LIST_ORDERS) for _ in range(calls + 1)}
        first = wire.next_end()
        assert first
        refused, status = first
        if status != RESOURCE_EXHAUSTED:
            return False
        kept = streams - {refused}
        for stream in kept:
            wire.data(stream, ASKED)
        return {wire.status(stream) for stream in kept} == {OK}


def test_a_till_has_its_share_of_places_and_gets_it_back(fort: Fort) -> None:
    for _ in range(3):
        assert let_in(fort, HOSTILE, SHARE)


def test_calls_that_never_send_a_message_leave_room_for_others(fort: Fort) -> None:
    with fort.wire(HOSTILE) as wire:
        for _ in range(50):
            wire.open(LIST_ORDERS)
        refused = [wire.next_end() for _ in range(50 - SHARE)]
        assert {end and end[1] for end in refused} == {RESOURCE_EXHAUSTED}
        for who in (NEIGHBOUR, PLATFORM):
            assert outcome(lambda who=who: fort.orders(who).ListOrders(LIST)) is None  # type: ignore[misc]
    wait_until(lambda: let_in(fort, HOSTILE, SHARE))


def test_who_does_not_take_its_answers_uses_up_its_own_share(fort: Fort) -> None:
    with fort.wire(HOSTILE, NO_WINDOW) as wire:
        for _ in range(SHARE + 1):
            wire.data(wire.open(LIST_ORDERS), ASKED)
        end = wire.next_end()
        assert end
        assert end[1] == RESOURCE_EXHAUSTED
        assert outcome(lambda: fort.orders(NEIGHBOUR).ListOrders(LIST)) is None
    wait_until(lambda: let_in(fort, HOSTILE, SHARE))


def test_the_platform_may_use_every_place_and_is_told_when_there_is_none(fort: Fort) -> None:
    assert let_in(fort, PLATFORM, CALLS_MAX)
    with fort.wire(PLATFORM) as wire:
        for _ in range(CALLS_MAX):
            wire.open(LIST_ORDERS)
        refused = None

        def is_full() -> bool:
            nonlocal refused
            refused = outcome(lambda: fort.orders(NEIGHBOUR).ListOrders(LIST))
            return refused is not None

        wait_until(is_full)
        assert refused is not None
        assert (refused.code, refused.reason) == (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert refused.retry_after_ms
        check = health_pb2_grpc.HealthStub(fort.channel(NEIGHBOUR)).Check(health_pb2.HealthCheckRequest())
        assert check.status == SERVING


# Streams


@pytest.mark.parametrize(("path", "first"), STREAMS)
def test_a_caller_has_few_streams_and_gets_them_back(fort: Fort, path: bytes, first: bytes) -> None:
    with fort.wire(HOSTILE) as wire:
        for _ in range(OPEN_A_CALLER + 10):
            wire.data(wire.open(path, timeout=b""), message(first), flags=0)
        assert {end and end[1] for end in (wire.next_end() for _ in range(10))} == {RESOURCE_EXHAUSTED}
        assert services(fort.channel(NEIGHBOUR)) >= {SERVICE}
        assert outcome(lambda: fort.orders(HOSTILE).ListOrders(LIST)) is None

    def is_let_in() -> bool:
        with fort.wire(HOSTILE) as wire:
            stream = wire.open(path, timeout=b"")
            wire.data(stream, message(first), flags=0)
            return answered(wire) == OK and stream not in wire.ended

    wait_until(is_let_in)


@pytest.mark.parametrize(("path", "first"), STREAMS)
def test_no_stream_lives_for_ever(hasty_fort: Fort, path: bytes, first: bytes) -> None:
    with hasty_fort.wire(HOSTILE) as wire:
        streams = [wire.open(path, timeout=b"") for _ in range(2)]
        wire.data(streams[0], message(first), flags=0)  # and nothing at all on the other
        assert [wire.status(stream) for stream in streams] == [DEADLINE_EXCEEDED] * 2


def test_a_stream_s_questions_count_as_calls(slow_fort: Fort) -> None:
    with slow_fort.wire(DEVICE_HERE) as wire:
        stream = wire.open(REFLECT, timeout=b"")
        for _ in range(10):
            wire.data(stream, message(LIST_SERVICES), flags=0)
        assert wire.status(stream) == RESOURCE_EXHAUSTED


# Sizes


def order(lines: int, title: str) -> api.CreateOrderRequest:
    """An order of so many lines."""
    line = LineItem(sku="TEA-1234567890", title=title, quantity=3, unit_price_minor=125)
    return api.CreateOrderRequest(
        request_id=new_request_id(),
        store_id=HERE,
        payer=Payer(identity_id="ada"),
        currency_code="GBP",
        lines=[line] * lines,
    )


def test_an_order_of_a_thousand_lines_passes_and_a_message_that_is_too_large_does_not(fort: Fort) -> None:
    orders = fort.orders(HOSTILE)
    assert (
        len(orders.CreateOrder(order(1_000, "A title as goods have them, of sixty characters or so, in English")).lines)
        == 1_000
    )
    large = order(1_500, "x" * 200)
    assert large.ByteSize() > MESSAGE_BYTES_MAX
    with pytest.raises(grpc.RpcError) as raised:
        orders.CreateOrder(large)
    assert isinstance(raised.value, grpc.Call)
    assert raised.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert outcome(lambda: orders.ListOrders(LIST)) is None


def test_metadata_that_is_too_large_is_refused(fort: Fort) -> None:
    orders = fort.orders(HOSTILE)
    with pytest.raises(grpc.RpcError) as raised:
        orders.ListOrders(LIST, metadata=(("note", "x" * METADATA_BYTES_MAX),))
    assert isinstance(raised.value, grpc.Call)
    assert raised.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert outcome(lambda: orders.ListOrders(LIST)) is None
