"""A link between two servers that a test can break."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Link:
    """Passes bytes both ways, until it is told to lose those of one way."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._requests_pass = True
        self._answers_pass = True
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_requests(self) -> None:
        """From now on nothing arrives."""
        self._requests_pass = False

    def lose_answers(self) -> None:
        """From now on requests arrive, and their answers do not."""
        self._answers_pass = False

    def heal(self) -> None:
        """New connections work; those that lost something are cut."""
        self._requests_pass = self._answers_pass = True
        self._cut()

    def close(self) -> None:
        """Ends everything."""
        self._listener.close()
        self._cut()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._ends += [near, far]
                self._start(near, far, lambda: self._requests_pass)
                self._start(far, near, lambda: self._answers_pass)

    def _start(self, source: socket.socket, sink: socket.socket, passes: Callable[[], bool]) -> None:
        threading.Thread(target=self._pump, args=(source, sink, passes), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, passes: Callable[[], bool]) -> None:
        with suppress(OSError):  # cut, or one end is gone
            while data := source.recv(65_536):
                if passes():
                    sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _cut(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def link(target: str) -> Iterator[Link]:
    """A link for the length of a block."""
    link = Link(target)
    try:
        yield link
    finally:
        link.close()
