"""Failures that are told in one line instead of a traceback."""


class Failure(Exception):
    """A command cannot go on; its text is all that the user needs."""

    exit_status = 1


class Unreachable(Failure):
    """A server did not answer, so what was asked of it is not known."""


class NotLetIn(Failure):
    """A server does not know who calls: a certificate that no longer counts, or no session."""
