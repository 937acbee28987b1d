"""Asks for what no command line may have: the arguments of a process are for everybody on the machine to read."""

import sys

import typer

from tillmesh.client.failures import Failure
from tillmesh.runtime.foreign_text import visible
from tillmesh.runtime.secret import Secret


def ask_pin(*, new: bool = False) -> Secret:
    """A PIN, which the terminal does not show; a new one is asked for twice."""
    return _asked("PIN", hidden=True, twice=new)


def ask_pay_code() -> Secret:
    """A pay code, as it was scanned or read: blanks in it are for the eye."""
    code = _asked("Pay code", hidden=False, twice=False)
    return Secret(b"".join(code.value.split()))


def ask_claim_code() -> Secret:
    """The text of a shop's QR code."""
    return _asked("Code", hidden=False, twice=False)


def ask_yes(question: str) -> None:
    """Returns if the answer is yes."""
    if not typer.confirm(visible(question), err=True):
        raise Failure("Nothing was changed.")


def _asked(what: str, *, hidden: bool, twice: bool) -> Secret:
    """Asks at the terminal; where nobody sits at one, takes the next line of standard input."""
    if sys.stdin.isatty():
        text = typer.prompt(what, hide_input=hidden, confirmation_prompt=twice, err=True)
    else:
        text = sys.stdin.readline().strip()
    if not text:
        raise Failure(f"No {what} was given: type it in, or pass it on standard input.")
    return Secret(text.encode())
