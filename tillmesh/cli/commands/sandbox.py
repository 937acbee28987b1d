"""`tillmesh sandbox`."""

from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from tillmesh.api.sandbox.v1 import sandbox_service_pb2 as api
from tillmesh.api.sandbox.v1.sandbox_service_pb2_grpc import SandboxServiceStub
from tillmesh.auth.callers import Role
from tillmesh.cli.display import date_time, say, show_json, show_table, warn
from tillmesh.cli.options import Json, run_async
from tillmesh.client.connections import Connections, Server
from tillmesh.local.processes import ServerName
from tillmesh.sandbox.clock import STEP_MAX
from tillmesh.sandbox.service import AWAY_MAX, SERVERS

DEFAULT_ADDRESS = "127.0.0.1:7004"
PAYERS_MAX = 200
WITHIN_S = 60.0
Address = Annotated[
    str,
    typer.Option("--sandbox", envvar="TILLMESH_SANDBOX", metavar="HOST:PORT", help="Where the sandbox listens."),
]

sandbox = typer.Typer(no_args_is_help=True, help="Control a sandbox, a mesh for tests: tillmesh up --sandbox")


@sandbox.command("payers", epilog="**Examples**\n\ntillmesh sandbox payers")
def list_payers(address: Address = DEFAULT_ADDRESS, json: Json = False) -> None:
    """List the simulated payers; a till names one as its payer, or scans its pay code."""
    answer: api.ListPayersResponse = _ask(address, "ListPayers", api.ListPayersRequest(page_size=PAYERS_MAX))
    if not show_json(answer.payers):
        rows = [(payer.identity_id, payer.outcome) for payer in answer.payers]
        show_table("Simulated payers", ["identity", "how its payments go"], rows)


@sandbox.command("code", epilog="**Examples**\n\ntillmesh sandbox code sandbox-paid | tillmesh pay ORDER --pay-code")
def show_code(
    identity: Annotated[str, typer.Argument(help="The simulated payer.")], address: Address = DEFAULT_ADDRESS
) -> None:
    """Show the pay code that a simulated payer's phone shows now."""
    answer: api.ShowPayCodeResponse = _ask(address, "ShowPayCode", api.ShowPayCodeRequest(identity_id=identity))
    say(answer.pay_code)


@sandbox.command("clock", epilog="**Examples**\n\ntillmesh sandbox clock 90\n\ntillmesh sandbox clock 86400")
def move_clock(
    seconds: Annotated[float, typer.Argument(min=0.001, max=STEP_MAX.total_seconds(), help="By how many seconds.")],
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Move the clock of all servers forward: leases, payers' windows and codes end sooner."""
    request = api.MoveClockRequest()
    request.by.FromMilliseconds(int(seconds * 1_000))
    answer: api.MoveClockResponse = _ask(address, "MoveClock", request)
    say(date_time(answer.now))


@sandbox.command("restart", epilog="**Examples**\n\ntillmesh sandbox restart thirdparty_server --away 10")
def restart(
    server: Annotated[ServerName, typer.Argument(help="The server.")],
    away: Annotated[
        float, typer.Option(min=0, max=AWAY_MAX.total_seconds(), help="For how many seconds it is away.")
    ] = 0.0,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """End a server with kill -9, and start it again."""
    [number] = [number for number, name in SERVERS.items() if name is server]
    request = api.RestartServerRequest(server=number)
    request.away.FromMilliseconds(int(away * 1_000))
    _ask(address, "RestartServer", request)
    warn(f"The {server} is ended, and starts again in {away:g} s.")


@sandbox.command("reset", epilog="**Examples**\n\ntillmesh sandbox reset")
def reset(address: Address = DEFAULT_ADDRESS) -> None:
    """Delete all data of the three servers, the catalogue too, and set the clock right."""
    _ask(address, "Reset", api.ResetRequest())
    warn("The sandbox is as new.")


def _ask(address: str, method: str, request: Message) -> Any:
    async def act() -> Message:
        server = Server("sandbox", address, Role.PLATFORM, None, started_by="tillmesh up --sandbox")
        async with Connections({"tillmesh.api.sandbox.v1": server}) as connections:
            call = getattr(SandboxServiceStub(server.channel), method)
            answer: Message = await connections.call(call, request, timeout_s=WITHIN_S)
            return answer

    return run_async(act())
