"""Prints sentences, tables, amounts and times. No hidden character gets out, whoever typed it."""

import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.type.v1 import money_pb2, payer_pb2
from tillmesh.runtime.foreign_text import LENGTH_MAX, visible, visible_json, visible_lines
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
CELL_MAX = 256
"""How much of a text stands in a cell of a table."""


class Screen(Console):
    """Shows a text as it is: no markup in it counts, and hidden characters are made visible."""

    def __init__(self, *, stderr: bool = False) -> None:
        is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
        super().__init__(
            highlight=False, emoji=False, markup=False, width=None if is_terminal else PIPE_WIDTH, stderr=stderr
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """The one way of a text to a line, a cell or a title."""
        return super().render_str(visible_lines(text), **options)


out = Screen()
err = Screen(stderr=True)


def say(sentence: str) -> None:
    """Prints a sentence on one line, whatever is in it."""
    out.print(visible(sentence), soft_wrap=True)


def warn(sentence: str) -> None:
    """Says it on standard error."""
    err.print(visible(sentence), soft_wrap=True)


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


def clock_times(moments: Sequence[Timestamp]) -> list[str]:
    """Times of the day here, with milliseconds; once they span days, each with its date and zone."""
    local = list(map(_local, moments))
    spans_days = len({(each.date(), each.tzname()) for each in local}) > 1
    with_ms = [f"%H:%M:%S.{each.microsecond // 1000:03}" for each in local]
    return [
        each.strftime(f"%Y-%m-%d {clock} %Z" if spans_days else clock)
        for each, clock in zip(local, with_ms, strict=True)
    ]


def date_time(at: Timestamp) -> str:
    """Date and time here, with the zone: "2026-11-27 14:03:20 UTC"."""
    return f"{_local(at):%Y-%m-%d %H:%M:%S %Z}"


def time_in(left: Duration) -> str:
    """When that time is over, by the clock here."""
    return f"{datetime.now().astimezone() + left.ToTimedelta():%Y-%m-%d %H:%M:%S %Z}"


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
            out.print(json_line(record), soft_wrap=True)
    return as_json.get()


def json_line(record: Message) -> str:
    """A record as JSON: its values as they are, in ASCII without control characters."""
    return visible_json(MessageToJson(record, preserving_proto_field_name=True, indent=None))


def show_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str | list[str]]], *, right: Sequence[str] = ()
) -> None:
    """Prints a table; the columns named in `right` are aligned to the right. A cell is a line, or a list of lines."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    if table.row_count:
        out.print(visible(title), style="table.title", soft_wrap=True)
        out.print(table)
    else:
        say(f"{title}: none.")


def _cell(content: str | list[str]) -> str:
    lines = [content] if isinstance(content, str) else content
    return "\n".join(visible(line, CELL_MAX) for line in lines)


class _Description(ProgressColumn):
    """The task that a bar is of, such as the name of a file."""

    def render(self, task: Task) -> Text:
        """One line."""
        return Text(visible(task.description, LENGTH_MAX))


def progress_bars(*more: ProgressColumn) -> Progress:
    """Bars of what counts up, where somebody looks; `more` columns stand before the time."""
    columns = (_Description(), BarColumn(), MofNCompleteColumn(), *more, TimeElapsedColumn())
    return Progress(*columns, console=err, disable=not err.is_terminal)


def complain(command: str, findings: Sequence[str]) -> None:
    """Tells what was found, if not all of it."""
    for finding in findings[:FINDINGS_SHOWN]:
        warn(f"tillmesh {command}: {finding}")
    if len(findings) > FINDINGS_SHOWN:
        warn(f"tillmesh {command}: and {len(findings) - FINDINGS_SHOWN:,} more")


def show_paper(text: str) -> None:
    """Shows what a till prints, as on a roll of paper."""
    out.print(Panel(Text(visible_lines(text.rstrip("\n"))), expand=False, box=box.SQUARE))
