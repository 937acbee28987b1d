"""`tillmesh receipt`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tillmesh.cli.at_till import at_till
from tillmesh.cli.display import json_line
from tillmesh.cli.options import DEFAULT, Json, Terminal, run_async
from tillmesh.client import Failure, Receipt
from tillmesh.runtime.foreign_text import named, visible_lines


class Kind(StrEnum):
    """What a receipt is for."""

    SALE = "sale"
    REFUND = "refund"
    RETURN = "return"
    DECLINE = "decline"
    BILL = "bill"


class Format(StrEnum):
    """How a receipt is shown."""

    TEXT = "text"
    ESC_POS = "escpos"
    HTML = "html"
    JSON = "json"


_FORMATS = {
    Format.TEXT: Receipt.FORMAT_TEXT,
    Format.ESC_POS: Receipt.FORMAT_ESC_POS,
    Format.HTML: Receipt.FORMAT_HTML,
    Format.JSON: Receipt.FORMAT_TEXT,
}


def receipt(
    checkout: Annotated[
        str, typer.Argument(metavar="[CHECKOUT]", help="The transaction number; leave it out with --refund.")
    ] = "",
    refund: Annotated[str, typer.Option("--refund", metavar="REFUND", help="A refund or return of the till.")] = "",
    kind: Annotated[Kind | None, typer.Option("--kind", help="What it is for. [default: what fits]")] = None,
    format_: Annotated[
        Format, typer.Option("--format", help="How it is shown; escpos is bytes, json the same as --json.")
    ] = Format.TEXT,
    columns: Annotated[
        int,
        typer.Option("--columns", help="Width of the paper: 32, 42 or 48. [default: the till's]", show_default=False),
    ] = 0,
    language: Annotated[str, typer.Option("--language", help="Such as de or pt-BR. [default: the till's]")] = "",
    code_page: Annotated[
        str,
        typer.Option("--code-page", help="Of the printer: cp437, cp850, cp852, cp858, cp866. [default: the till's]"),
    ] = "",
    reprint: Annotated[bool, typer.Option("--reprint", help="Say on it that it is a copy.")] = False,
    file: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write it.")] = None,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Print a receipt: of a sale, a refund, a payment that failed, or of what is due so far."""
    if bool(checkout) == bool(refund):
        raise typer.BadParameter("name a checkout, or a refund with --refund", param_hint="CHECKOUT")
    if json:
        format_ = Format.JSON
    if format_ is Format.ESC_POS and file is None and sys.stdout.isatty():
        raise typer.BadParameter("escpos is for a printer, not for a screen; name a file or a device: --out FILE")

    async def act() -> Receipt:
        async with at_till(terminal) as till:
            return await till.receipt(
                checkout,
                refund_id=refund,
                kind=Receipt.Kind.Value(f"KIND_{kind.name}") if kind else Receipt.KIND_UNSPECIFIED,
                shown_as=_FORMATS[format_],
                columns=columns,
                language=language,
                code_page=code_page,
                reprint=reprint,
            )

    _write(_content(run_async(act()), format_), file)


def _content(made: Receipt, format_: Format) -> str | bytes:
    if format_ is Format.ESC_POS:
        return made.printer_bytes
    if format_ is Format.JSON:
        return f"{json_line(made)}\n"
    return visible_lines(made.text) if format_ is Format.TEXT else made.text


def _write(content: str | bytes, file: Path | None) -> None:
    if file is None:
        typer.echo(content, nl=False)
        return
    try:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise Failure(f"{named(file)} cannot be written: {error.strerror}.") from None
