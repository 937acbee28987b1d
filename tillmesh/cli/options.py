"""Options that several commands have, and how an asynchronous command is run."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop

from tillmesh.cli.client import Addresses
from tillmesh.runtime.money import CURRENCY_RULE, MINOR_DIGITS

Result = TypeVar("Result")

_WHERE = "Where a running mesh listens"

Orders = Annotated[
    str, typer.Option("--orders", envvar="TILLMESH_ORDERS", help="Order service, as HOST:PORT.", rich_help_panel=_WHERE)
]
Payments = Annotated[
    str,
    typer.Option(
        "--payments", envvar="TILLMESH_PAYMENTS", help="Payment server, as HOST:PORT.", rich_help_panel=_WHERE
    ),
]
Terminal = Annotated[
    str,
    typer.Option(
        "--terminal", envvar="TILLMESH_TERMINAL", help="Store terminal, as HOST:PORT.", rich_help_panel=_WHERE
    ),
]
DataDir = Annotated[Path, typer.Option("--data-dir", help="Directory of the three databases and logs.")]
OrderId = Annotated[str, typer.Argument(help="The transaction number.")]


def _known_currency(code: str) -> str:
    if code not in MINOR_DIGITS:
        raise typer.BadParameter(f"{CURRENCY_RULE}, was {code!r}")
    return code


CurrencyCode = Annotated[
    str, typer.Option("--currency", help="ISO 4217 code of all amounts.", callback=_known_currency)
]

DEFAULT = Addresses()


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs an asynchronous command to its end."""
    return uvloop.run(work)
