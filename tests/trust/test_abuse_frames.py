"""Connections that break HTTP/2, gRPC or the peace: they end, and nobody else notices."""

import gzip
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import grpc
import pytest

from tests.processes import DEADLINE_S, wait_until
from tests.trust.fort import HOSTILE, LIST_ORDERS, NEIGHBOUR, Fort, running_fort
from tests.trust.frames import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Wire,
    frame,
    message,
)  # fmt: skip
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.auth.callers import Role

LIST = api.ListOrdersRequest(store_id="store-a")
ASKED = message(LIST.SerializeToString())
UNIMPLEMENTED, RESOURCE_EXHAUSTED = 12, 8
CONNECTIONS_MAX = 24
GROWTH_KB_MAX = 32 * 1024


@pytest.fixture(scope="module")
def fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    with running_fort(
        tmp_path_factory.mktemp("fort"), "--connections-max", str(CONNECTIONS_MAX), "--handshake-s", "5"
    ) as fort:
        yield fort


def is_peaceful(fort: Fort) -> bool:
    """True if somebody honest is served, on a new connection."""
    with fort.files(NEIGHBOUR).open_blocking_channel(fort.server.address, Role.ORDERS) as channel:
        OrderServiceStub(channel).ListOrders(LIST, timeout=DEADLINE_S)
    return fort.server.process.poll() is None


def a_path_that_is_no_text(wire: Wire) -> None:
    """grpcio decodes it as UTF-8, and would stop serving for good."""
    for path in (b"/\xff\xfe", b"/tillmesh.api.order.v1.OrderService/\xc3\x28", b"\x80", b""):
        assert wire.status(wire.open(path)) in (UNIMPLEMENTED, None)


def metadata_that_is_no_text(wire: Wire) -> None:
    wire.data(wire.open(LIST_ORDERS, (b"traceparent", b"\xff\xfe"), (b"x-bin", b"!!!"), (b"x", b"a\0b")), ASKED)


def a_bomb(wire: Wire) -> None:
    """200 KB that unpack to 200 MB."""
    packed = message(gzip.compress(bytes(200 * 1024 * 1024)), compressed=True)
    stream = wire.open(LIST_ORDERS, (b"grpc-encoding", b"gzip"))
    for start in range(0, len(packed), 16_384):
        wire.data(stream, packed[start : start + 16_384], flags=0)
    wire.data(stream, b"")
    assert wire.status(stream) == UNIMPLEMENTED


def claims_of_length(wire: Wire) -> None:
    for claimed in (256 * 1024 + 1, 2**31, 2**32 - 1):
        stream = wire.open(LIST_ORDERS)
        wire.data(stream, message(b"", claimed=claimed), flags=0)
        assert wire.status(stream) == RESOURCE_EXHAUSTED


def many_calls_taken_back(wire: Wire) -> None:
    for number in range(2_000):
        stream = wire.open(LIST_ORDERS)
        if number % 2:
            wire.data(stream, ASKED)
        wire.send(RST_STREAM, 0, stream, struct.pack(">I", 8))


def many_settings(wire: Wire) -> None:
    for number in range(2_000):
        wire.send(SETTINGS, 0, 0, struct.pack(">HI", 4, number))


def many_pings(wire: Wire) -> None:
    for number in range(2_000):
        wire.send(PING, 0, 0, struct.pack(">Q", number))


def headers_without_end(wire: Wire) -> None:
    """Few enough to see that nothing else happens: gRPC keeps them until a ping is not answered."""
    wire.send(HEADERS, 0, 1, b"\0\3abc\3def")
    for _ in range(500):
        wire.send(CONTINUATION, 0, 1, b"\0\3abc\3def" * 100)


def headers_that_unpack(wire: Wire) -> None:
    """One entry in the table, and then a thousand references to it."""
    wire.send(HEADERS, END_HEADERS, 1, b"\x40\3abc" + b"\x7f\x81\x1e" + b"x" * 4_000 + b"\xbe" * 1_000)


def frames_that_are_none(wire: Wire) -> None:
    wire.socket.sendall(b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 100_000)


def http_of_the_wrong_kind(wire: Wire) -> None:
    wire.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)


def windows_too_wide(wire: Wire) -> None:
    wire.send(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1))
    wire.send(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1))


ATTACKS = (
    a_path_that_is_no_text, metadata_that_is_no_text, a_bomb, claims_of_length, many_calls_taken_back, many_settings,
    many_pings, headers_without_end, headers_that_unpack, frames_that_are_none, http_of_the_wrong_kind,
    windows_too_wide,
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_hostile_connection_harms_nobody(fort: Fort, attack: Callable[[Wire], None]) -> None:
    assert is_peaceful(fort)
    before_kb = fort.memory_kb("VmHWM")
    for _ in range(3):
        with fort.wire(HOSTILE) as wire, suppress(ConnectionError, ssl.SSLError):  # closed in the middle
            attack(wire)
        assert is_peaceful(fort)
    assert fort.memory_kb("VmHWM") - before_kb < GROWTH_KB_MAX
    assert "Traceback" not in fort.server.log.read_text()


# Connections


def raw(fort: Fort) -> socket.socket:
    """A TCP connection and nothing more."""
    host, _, port = fort.server.address.rpartition(":")
    return socket.create_connection((host, int(port)), DEADLINE_S)


def is_closed(connection: socket.socket) -> bool:
    """Waits until the server closes it."""
    with suppress(ConnectionError, ssl.SSLError):
        while connection.recv(65_536):
            continue
    return True


def encrypted(fort: Fort) -> ssl.SSLSocket:
    """A TLS connection with a certificate."""
    files = fort.files(HOSTILE)
    context = ssl.create_default_context(cafile=files.folder / "ca.pem")
    context.load_cert_chain(files.folder / "cert.pem", files.folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(raw(fort), server_hostname=f"{Role.ORDERS}.{files.mesh}")


LAST_WORDS = {
    "nothing": (raw, b""),
    "half a hand-shake": (raw, b"\x16\x03\x01\x02"),
    "HTTP": (raw, b"GET / HTTP/1.1\r\n"),
    "a hand-shake": (encrypted, b""),
    "half a preface": (encrypted, PREFACE[:9]),
    "a preface": (encrypted, PREFACE),
    # A cable that was pulled: nothing comes any more, not even an end.
    "no answer to a ping": (encrypted, PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0)),
}


@pytest.fixture(scope="module", autouse=True)
def silent(fort: Fort) -> Iterator[dict[str, socket.socket]]:
    """Connections that fell silent before all other tests, so that the last one need not wait for long."""
    with ExitStack() as stack:
        connections = {words: stack.enter_context(connect(fort)) for words, (connect, _) in LAST_WORDS.items()}
        for words, connection in connections.items():
            connection.sendall(LAST_WORDS[words][1])
        yield connections


def test_silent_connections_do_not_end_those_that_are_open_and_make_room_again(fort: Fort) -> None:
    with ExitStack() as stack:
        honest = fort.orders(NEIGHBOUR)
        honest.ListOrders(LIST)
        for _ in range(CONNECTIONS_MAX):
            stack.enter_context(raw(fort))
        with raw(fort) as one_too_many:
            assert is_closed(one_too_many)
        for _ in range(20):
            honest.ListOrders(LIST)

    def is_open_again() -> bool:
        try:
            return is_peaceful(fort)
        except grpc.RpcError:
            return False

    wait_until(is_open_again)


@pytest.mark.parametrize("words", LAST_WORDS)
def test_who_falls_silent_is_put_out(silent: dict[str, socket.socket], words: str) -> None:
    assert is_closed(silent[words])
