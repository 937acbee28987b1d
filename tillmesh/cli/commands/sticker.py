"""`tillmesh sticker`."""

from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import lane_sticker_pb2
from tillmesh.api.terminal.v1 import presentation_service_pb2 as api
from tillmesh.cli.display import date_time, say, show_json, warn
from tillmesh.cli.options import DEFAULT, Json, Terminal, run_async
from tillmesh.cli.qr import show_qr
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.failures import Failure
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.foreign_text import named
from tillmesh.runtime.ids import new_request_id


def sticker(
    lane: Annotated[str, typer.Argument(help="The device that it is for.")],
    renew: Annotated[
        bool, typer.Option("--renew", help="Make a new one; those that were printed before no longer count.")
    ] = False,
    qr: Annotated[bool, typer.Option("--qr", help="Also as a QR code.")] = False,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Print the code that stays on a lane: a phone claims with it what the lane presents at that moment."""

    async def act() -> lane_sticker_pb2.LaneSticker:
        async with Client(Addresses(terminal=terminal)) as client:
            if renew:
                make = api.RenewLaneStickerRequest(request_id=new_request_id(), lane=lane)
                return await client.call(client.presentations.RenewLaneSticker, make)
            try:
                return await client.call(client.presentations.GetLaneSticker, api.GetLaneStickerRequest(lane=lane))
            except Refusal as refusal:
                if refusal.reason != "STICKER_NOT_FOUND":
                    raise
                name = named(lane)
                raise Failure(f"Lane {name} has no sticker; make one: tillmesh sticker {name} --renew") from refusal

    printed = run_async(act())
    if show_json([printed]):
        return
    say(printed.code)
    if qr:
        show_qr(printed.code)
    warn(f"The sticker of {named(printed.lane)}, made {date_time(printed.create_time)}.")
