"""A link between two servers that a test can break, one way or both."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType


class Link:
    """Passes bytes on to `target`, until it is told to lose those of one way, as on a bad network."""

    def __init__(self, target: str) -> None:
        self._target = split(target)
        self._requests_pass = self._answers_pass = True
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._listener.close()
        self.heal()

    def lose_requests(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self._requests_pass = False

    def lose_answers(self) -> None:
        """From now on requests arrive, and their answers do not."""
        self._answers_pass = False

    def heal(self) -> None:
        """Ends the connections that lost something; new ones work."""
        with self._lock:
            broken, self._sockets = self._sockets, set()
            self._requests_pass = self._answers_pass = True
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
        self._start(client, server, lambda: self._requests_pass)
        self._start(server, client, lambda: self._answers_pass)

    def _start(self, source: socket.socket, sink: socket.socket, passes: Callable[[], bool]) -> None:
        threading.Thread(target=self._pass_on, args=(source, sink, passes), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, passes: Callable[[], bool]) -> None:
        with suppress(OSError):  # either end was closed
            while data := source.recv(65536):
                if passes():
                    sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
