"""Errors that end a command with one line on standard error instead of a traceback."""


class CliError(Exception):
    """A command cannot go on; its text is all that the user needs."""

    exit_status = 1


class Unreachable(CliError):
    """A server did not answer, so what was asked of it is not known."""


class NotLetIn(CliError):
    """A server does not know who calls: a certificate that no longer counts, or no session."""


class BadFile(CliError):
    """A file as a whole cannot be used; nothing was started."""

    exit_status = 2
