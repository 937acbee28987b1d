"""`tillmesh present`."""

from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import presentation_pb2
from tillmesh.cli.at_till import at_till
from tillmesh.cli.display import say, seconds, show_json, warn
from tillmesh.cli.options import DEFAULT, Json, OrderId, Terminal, run_async
from tillmesh.cli.qr import show_qr
from tillmesh.runtime.foreign_text import named


def present(
    order: OrderId,
    lane: Annotated[str, typer.Option("--lane", help="The device that shows it. [default: this one]")] = "",
    qr: Annotated[bool, typer.Option("--qr", help="Also as a QR code, as a customer display shows it.")] = False,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Show a pending order as a code that a phone claims, sees and pays; it ends the code shown before.

    The order must have been raised for nobody: tillmesh sell - ITEMS. A pay code at the till goes on working.
    """

    async def act() -> presentation_pb2.Presentation:
        async with at_till(terminal) as till:
            return await (await till.find(order)).present(lane=lane)

    shown = run_async(act())
    if show_json([shown]):
        return
    say(shown.code)
    if qr:
        show_qr(shown.code)
    warn(f"On {named(shown.lane)}, for {seconds(shown.remaining)} seconds: tillmesh phone claim")
