"""How things look: tables, amounts, times."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tillmesh.api.type.v1 import money_pb2
from tillmesh.runtime.money import MINOR_DIGITS, Money

PIPE_WIDTH = 160

out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = Console(highlight=False, emoji=False, width=None if sys.stderr.isatty() else PIPE_WIDTH, stderr=True)


def amount(money: money_pb2.Money) -> str:
    """An amount with its currency: "12.50 GBP"; empty where none is set."""
    known = money.currency_code in MINOR_DIGITS
    return str(Money(money.currency_code, money.minor_units)) if known else ""


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
