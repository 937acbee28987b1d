"""Formats tables, amounts and times."""

import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.type.v1 import money_pb2, payer_pb2
from tillmesh.runtime.money import MINOR_DIGITS, Money

PIPE_WIDTH = 160
as_json: ContextVar[bool] = ContextVar("as_json", default=False)
"""True if the command prints its records as JSON."""

VERDICT_WORDS = {
    checkout_pb2.VERDICT_NOT_TRIED: "No payment was tried.",
    checkout_pb2.VERDICT_WAIT: "The outcome is not known yet: please wait.",
    checkout_pb2.VERDICT_ASK_PAYER: "The shopper has to act: confirm on the phone, or key in the PIN.",
    checkout_pb2.VERDICT_HAND_OVER_GOODS: "The order is paid. Hand over the goods.",
    checkout_pb2.VERDICT_SAFE_TO_RETRY: (
        "The last attempt can no longer take money. Another payment of this order may start."
    ),
    checkout_pb2.VERDICT_DO_NOT_RETRY: "The outcome is not known. Start no other payment, hand nothing over.",
    checkout_pb2.VERDICT_CLOSED: "The checkout is abandoned and its order can no longer be paid.",
}
"""The sentences of the verdicts, as the contract has them."""

FINDINGS_SHOWN = 20

out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(highlight=False, emoji=False, width=None if sys.stderr.isatty() else PIPE_WIDTH, stderr=True)


def amount(money: money_pb2.Money) -> str:
    """An amount with its currency: "12.50 GBP"; empty where none is set."""
    known = money.currency_code in MINOR_DIGITS
    return str(Money(money.currency_code, money.minor_units)) if known else ""


def payer_name(payer: payer_pb2.Payer) -> str:
    """The identity that is to pay, or the reference that stands for whoever shows a pay code."""
    return payer.identity_id or payer.reference


def verdict_name(checkout: checkout_pb2.Checkout) -> str:
    """The verdict on a checkout in capitals: "HAND OVER GOODS"."""
    return checkout_pb2.Verdict.Name(checkout.verdict).removeprefix("VERDICT_").replace("_", " ")


def short_actor(uri: str) -> str:
    """An actor without the mesh: "terminal/store-1/till-1"."""
    return uri.removeprefix("spiffe://").partition("/")[2] or uri


def clock_time(at: Timestamp) -> str:
    """The time of the day here, with milliseconds."""
    return _local(at).strftime("%H:%M:%S.%f")[:-3]


def date_time(at: Timestamp) -> str:
    """Date and time here."""
    return _local(at).strftime("%Y-%m-%d %H:%M:%S")


def seconds(span: Duration) -> int:
    """Whole seconds, rounded up: what is left is not less than is shown."""
    return -(-span.ToMilliseconds() // 1000)


def _local(at: Timestamp) -> datetime:
    return datetime.fromtimestamp(at.ToMilliseconds() / 1000).astimezone()


def show_json(records: Iterable[Message]) -> bool:
    """Prints records as JSON, one object a line, if --json was given; True if it was.

    The names are the contract's, the rest is protobuf's JSON mapping: 64-bit integers are strings.
    """
    if as_json.get():
        for record in records:
            line = MessageToJson(record, preserving_proto_field_name=True, indent=None)
            out.print(line, markup=False, soft_wrap=True)
    return as_json.get()


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Prints a table; the columns named in `right` are aligned to the right. Cells are plain text."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    if table.row_count:
        out.print(table)
    else:
        out.print(f"{title}: none.")


def progress_bars() -> Progress:
    """Bars of what counts up, where somebody looks."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, disable=not err.is_terminal)


def complain(command: str, findings: Sequence[str]) -> None:
    """Tells what was found, if not all of it."""
    for finding in findings[:FINDINGS_SHOWN]:
        err.print(f"tillmesh {command}: {finding}", markup=False, soft_wrap=True)
    if len(findings) > FINDINGS_SHOWN:
        err.print(f"tillmesh {command}: and {len(findings) - FINDINGS_SHOWN:,} more")


def show_paper(text: str) -> None:
    """Shows what a till prints, as on a roll of paper."""
    out.print(Panel(Text(text.rstrip("\n")), expand=False, box=box.SQUARE))
