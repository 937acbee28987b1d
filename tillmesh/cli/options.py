"""Options that several commands have, and how an asynchronous command is run."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop

from tillmesh import payer
from tillmesh.api.type.v1 import money_pb2, payer_pb2
from tillmesh.cli.display import as_json, warn
from tillmesh.client.connections import Addresses
from tillmesh.client.failures import NotLetIn, Unreachable
from tillmesh.runtime.money import CURRENCY_RULE, MINOR_DIGITS, minor_units

PaymentId = Annotated[str, typer.Argument(help="The payment, in full: `tillmesh payments` lists them.")]
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
SoldOrder = Annotated[
    str,
    typer.Argument(
        metavar="ORDER", help="The transaction number of any order of the store, or the text of a receipt's QR code."
    ),
]
_REPEATED = "The id of a call that was made before, to ask how it stands. [default: a new one]"
RefundId = Annotated[str, typer.Option("--refund-id", help=_REPEATED)]
DepositId = Annotated[str, typer.Option("--deposit-id", help=_REPEATED)]
Note = Annotated[str, typer.Option("--note", help="Why.")]


def _print_json(wanted: bool) -> bool:
    as_json.set(wanted)
    return wanted


Json = Annotated[
    bool, typer.Option("--json", callback=_print_json, help="Print each record as one JSON object a line.")
]


def _known_currency(code: str) -> str:
    if code not in MINOR_DIGITS:
        raise typer.BadParameter(f"{CURRENCY_RULE}, was {code!r}")
    return code


CurrencyCode = Annotated[
    str,
    typer.Option(
        "--currency", envvar="TILLMESH_CURRENCY", help="ISO 4217 code of all amounts.", callback=_known_currency
    ),
]
OwnCurrency = Annotated[
    str, typer.Option("--currency", help="ISO 4217 code of the wallet. [default: the only one there is]")
]
DEFAULT = Addresses()


def money(text: str, currency: str) -> money_pb2.Money:
    """An amount that somebody typed in."""
    try:
        return money_pb2.Money(currency_code=currency, minor_units=minor_units(text, currency))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def payer_of(text: str) -> payer_pb2.Payer | None:
    """The payer that somebody typed in: an identity, or a reference, which has the form of a UUID; None for nothing."""
    if not text:
        return None
    return payer_pb2.Payer(reference=text) if payer.is_reference(text) else payer_pb2.Payer(identity_id=text)


def repeat_with(option: str, request_id: str) -> str:
    """What to do about a call that may have moved money: under a new id it would move it again."""
    return f"It may be done all the same. To ask, repeat the command with {option} {request_id}"


def run_async(work: Coroutine[Any, Any, Result], if_unanswered: str = "") -> Result:
    """Runs an asynchronous command to its end; where it gets no answer, it also says what to do then."""
    try:
        return uvloop.run(work)
    except (Unreachable, NotLetIn) as failure:
        raise type(failure)(f"{failure} {if_unanswered}".rstrip()) from failure
    except KeyboardInterrupt:
        if if_unanswered:
            warn(if_unanswered)
        raise
