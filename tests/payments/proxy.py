"""A cable between two servers that a test can cut, one way or both."""

import socket
import threading
from contextlib import suppress
from enum import Enum
from types import TracebackType


class Way(Enum):
    """Which of the two ways."""

    REQUESTS = "requests"
    ANSWERS = "answers"


class Proxy:
    """Passes bytes on to `target`; what comes along a cut way is lost, as on a bad network."""

    def __init__(self, target: str) -> None:
        self._target = split(target)
        self._cut: set[Way] = set()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._listener.close()
        self.heal()

    def cut(self, *ways: Way) -> None:
        """From now on what is sent these ways gets lost, and nobody is told."""
        self._cut |= set(ways)

    def heal(self) -> None:
        """Ends the connections that lost something; new ones work."""
        with self._lock:
            broken, self._sockets = self._sockets, set()
            self._cut.clear()
        for end in broken:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                self._join(client)

    def _join(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        with self._lock:
            self._sockets |= {client, server}
        for source, sink, way in ((client, server, Way.REQUESTS), (server, client, Way.ANSWERS)):
            threading.Thread(target=self._pass_on, args=(source, sink, way), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, way: Way) -> None:
        with suppress(OSError):  # either end was closed
            while data := source.recv(65536):
                if way not in self._cut:
                    sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
