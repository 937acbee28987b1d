"""Failures that are told in one line instead of a traceback."""

from tillmesh.runtime.errors import Refusal


class Failure(Exception):
    """A command cannot go on; its text is all that the user needs."""

    exit_status = 1


class Unreachable(Failure):
    """A server did not answer, so what was asked of it is not known.

    `said` is what it said instead of an answer, such as how long to wait; None where it said nothing.
    """

    def __init__(self, text: str, said: Refusal | None = None) -> None:
        super().__init__(text)
        self.said = said


class NotLetIn(Failure):
    """A server does not know who calls: a certificate that no longer counts, or no session."""
