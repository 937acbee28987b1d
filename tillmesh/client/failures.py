"""Failures that are told in one line instead of a traceback."""

from collections.abc import Sequence

from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.foreign_text import visible


class Failure(Exception):
    """A command cannot go on; its text is all that the user needs.

    The text is one line, whatever is in it; only `below` are lines of their own.
    """

    exit_status = 1

    def __init__(self, text: str, below: Sequence[str] = ()) -> None:
        super().__init__("\n  ".join(map(visible, (text, *below))))


class Unreachable(Failure):
    """A server did not answer, so what was asked of it is not known.

    `said` is what it said instead of an answer, such as how long to wait; None where it said nothing.
    """

    def __init__(self, text: str, said: Refusal | None = None) -> None:
        super().__init__(text)
        self.said = said


class NotLetIn(Failure):
    """A server does not know who calls: a certificate that no longer counts, or no session."""
