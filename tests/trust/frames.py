"""HTTP/2 by hand: what no gRPC library would send."""

import re
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.processes import DEADLINE_S
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_TABLE = struct.pack(">HI", 1, 0)
"""A setting: the server must send all headers in full, so that they can be read without a table of earlier ones."""
_STATUS = re.compile(rb"grpc-status[\x01\x02]([0-9]{1,2})")
Header = tuple[bytes, bytes]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def packed(*headers: Header) -> bytes:
    """Headers as literals without a name in the table (RFC 7541, section 6.2.2)."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers)


def _text(value: bytes) -> bytes:
    length = len(value)
    if length < 127:
        return bytes([length]) + value
    length, more = length - 127, bytearray([127])
    while length >= 128:
        more.append(length % 128 + 128)
        length //= 128
    return bytes([*more, length]) + value


def message(payload: bytes, *, claimed: int | None = None, compressed: bool = False) -> bytes:
    """A gRPC message with its prefix, which may claim another length."""
    return struct.pack(">BI", compressed, len(payload) if claimed is None else claimed) + payload


@dataclass(frozen=True)
class Received:
    """A frame of the server."""

    kind: int
    flags: int
    stream: int
    payload: bytes


@dataclass
class Wire:
    """One connection; streams are numbered as they are opened."""

    socket: socket.socket
    _next: int = 1
    _buffer: bytes = b""
    ended: dict[int, int | None] = field(default_factory=dict)

    def open(self, path: bytes, *more: Header, timeout: bytes = b"300S") -> int:
        """Sends the headers of a call; returns its stream."""
        stream, self._next = self._next, self._next + 2
        headers: list[Header] = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", path), (b":authority", b"x")]
        headers += [(b"te", b"trailers"), (b"content-type", b"application/grpc")]
        headers += [(b"grpc-timeout", timeout)] if timeout else []
        self.socket.sendall(frame(HEADERS, END_HEADERS, stream, packed(*headers, *more)))
        return stream

    def data(self, stream: int, payload: bytes, flags: int = END_STREAM) -> None:
        """Sends bytes of a call."""
        self.socket.sendall(frame(DATA, flags, stream, payload))

    def send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        """Sends any frame."""
        self.socket.sendall(frame(kind, flags, stream, payload))

    def receive(self) -> Received | None:
        """The next frame; None when the server has closed the connection."""
        head = self._exactly(9)
        if head is None:
            return None
        length, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
        payload = self._exactly(length)
        if payload is None:
            return None
        got = Received(kind, flags, int.from_bytes(head[5:9]) & 0x7FFFFFFF, payload)
        if got.kind == PING and not got.flags & ACK:
            self.send(PING, ACK, 0, got.payload)
        return got

    def status(self, stream: int) -> int | None:
        """Waits for the end of a call; its gRPC status, None where it was reset or lost without one."""
        while stream not in self.ended:
            if self.next_end() is None:
                return None
        return self.ended[stream]

    def next_end(self) -> tuple[int, int | None] | None:
        """Waits for the end of any call; its stream and gRPC status, None where the connection ends."""
        while got := self.receive():
            found = _STATUS.search(got.payload) if got.kind == HEADERS else None
            if (found or got.kind == RST_STREAM) and got.stream not in self.ended:
                self.ended[got.stream] = int(found[1]) if found else None
                return got.stream, self.ended[got.stream]
        return None

    def _exactly(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            try:
                more = self.socket.recv(65_536)
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                return None
            self._buffer += more
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


@contextmanager
def connected(address: str, role: Role, files: TlsFiles, *settings: bytes) -> Iterator[Wire]:
    """A connection to a server of that role, with a certificate, after the preface."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as raw, encrypted(raw, role, files, *settings) as wire:
        yield wire


@contextmanager
def encrypted(raw: socket.socket, role: Role, files: TlsFiles, *settings: bytes) -> Iterator[Wire]:
    """The same over a connection that stands."""
    context = ssl.create_default_context(cafile=files.folder / "ca.pem")
    context.load_cert_chain(files.folder / "cert.pem", files.folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    with context.wrap_socket(raw, server_hostname=f"{role}.{files.mesh}") as tls:
        tls.sendall(PREFACE + frame(SETTINGS, 0, 0, b"".join((NO_TABLE, *settings))))
        yield Wire(tls)
