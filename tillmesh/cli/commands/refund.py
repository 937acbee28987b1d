"""`tillmesh refund`."""

import re
from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import till_refund_pb2
from tillmesh.cli.at_till import at_till
from tillmesh.cli.options import (
    DEFAULT,
    CurrencyCode,
    Json,
    Note,
    RefundId,
    SoldOrder,
    Terminal,
    money,
    repeat_with,
    run_async,
)
from tillmesh.cli.records import show_refund
from tillmesh.client.verdicts import money as amount_of
from tillmesh.runtime.ids import new_request_id

_LINE = re.compile(r"([0-9]{1,9})=([0-9]{1,12})")


def refund(
    order: SoldOrder,
    much: Annotated[str, typer.Option("--amount", help="How much. [default: all that is left]")] = "",
    line: Annotated[
        list[str] | None,
        typer.Option("--line", metavar="NUMBER=QUANTITY", help="A line that came back, and how much of it."),
    ] = None,
    note: Note = "",
    refund_id: RefundId = "",
    currency: CurrencyCode = "GBP",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Give money of a paid order back, at any terminal of the store: an amount, lines, or all that is left."""
    chosen_id = refund_id or new_request_id()
    wanted = amount_of(money(much, currency)) if much else None
    lines = dict(_returned(text) for text in line or ())

    async def act() -> till_refund_pb2.TillRefund:
        async with at_till(terminal) as till:
            return (await till.refund(order, wanted, lines=lines, note=note, refund_id=chosen_id)).refund

    show_refund(run_async(act(), repeat_with("--refund-id", chosen_id)))


def _returned(text: str) -> tuple[int, int]:
    match = _LINE.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not NUMBER=QUANTITY", param_hint="--line")
    return int(match[1]), int(match[2])
