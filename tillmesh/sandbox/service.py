"""tillmesh.api.sandbox.v1.SandboxService: protobuf to the sandbox and back, nothing else."""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from tillmesh.api.sandbox.v1 import sandbox_service_pb2 as api
from tillmesh.api.sandbox.v1 import simulated_payer_pb2
from tillmesh.client.failures import Failure
from tillmesh.local.processes import ServerName
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.paging import Page
from tillmesh.runtime.errors import ErrorReason
from tillmesh.runtime.secret import Secret
from tillmesh.sandbox.clock import STEP_MAX, SandboxClock
from tillmesh.sandbox.payers import BY_IDENTITY, PAYERS, SimulatedPayer
from tillmesh.storage.seal import KEY_BYTES, Seal

SERVICE = "tillmesh.api.sandbox.v1.SandboxService"
DOMAIN = "sandbox.tillmesh"
AWAY_MAX = timedelta(minutes=5)
MILLISECOND = timedelta(milliseconds=1)
SERVERS = {
    api.RestartServerRequest.SERVER_ORDERS: ServerName.ORDERS,
    api.RestartServerRequest.SERVER_PAYMENTS: ServerName.PAYMENTS,
    api.RestartServerRequest.SERVER_TERMINAL: ServerName.TERMINAL,
}


class Reason(ErrorReason):
    """Reasons of refusals."""

    SIMULATED_PAYER_NOT_FOUND = (
        StatusCode.NOT_FOUND,
        "There is no simulated payer {identity_id} with a phone; ListPayers (tillmesh sandbox payers) names all.",
    )
    SERVERS_UNREACHABLE = (StatusCode.UNAVAILABLE, "The code cannot be made now; repeat the call: {why}")
    SERVER_AWAY = (StatusCode.FAILED_PRECONDITION, "The {server} is away already; wait until it serves again.")


class Sandbox(Protocol):
    """What a sandbox does when it is asked."""

    clock: SandboxClock

    async def show_code(self, payer: SimulatedPayer) -> Secret:
        """The pay code that a payer's phone shows now."""

    async def restart(self, server: ServerName, away_s: float) -> bool:
        """Ends a server, and starts it again after that time; False if it is away already."""

    async def reset(self) -> None:
        """Starts anew, without any data."""


@dataclass(frozen=True)
class SandboxServicer:
    """The control of one sandbox."""

    sandbox: Sandbox
    seal: Seal = field(default_factory=lambda: Seal(os.urandom(KEY_BYTES)))

    async def ListPayers(self, request: api.ListPayersRequest) -> api.ListPayersResponse:
        """Lists the simulated payers."""
        page: Page[SimulatedPayer] = Page(self.seal, request.page_size, request.page_token, ["payers"])
        start = PAYERS.index(BY_IDENTITY[page.after[0]]) + 1 if page.after else 0
        shown, token = page.cut(PAYERS[start : start + page.at_most], lambda payer: [payer.identity_id], _to_message)
        return api.ListPayersResponse(payers=shown, next_page_token=token)

    async def ShowPayCode(self, request: api.ShowPayCodeRequest) -> api.ShowPayCodeResponse:
        """Shows a payer's pay code."""
        payer = BY_IDENTITY.get(request.identity_id)
        if payer is None or not payer.is_known:
            raise Reason.SIMULATED_PAYER_NOT_FOUND(identity_id=request.identity_id)
        try:
            code = await self.sandbox.show_code(payer)
        except Failure as failure:
            raise Reason.SERVERS_UNREACHABLE(why=failure) from failure
        return api.ShowPayCodeResponse(pay_code=code.value.decode())

    async def MoveClock(self, request: api.MoveClockRequest) -> api.MoveClockResponse:
        """Moves the clock of all servers."""
        by_ms = _milliseconds(request.by)
        with Fields() as fields:
            within = 0 < by_ms <= STEP_MAX // MILLISECOND
            fields.require(within, "by", f"must be at least 1 ms and at most {STEP_MAX.days} days")
        self.sandbox.clock.move(by_ms)
        answer = api.MoveClockResponse()
        answer.now.FromMilliseconds(self.sandbox.clock.now_ms())
        return answer

    async def RestartServer(self, request: api.RestartServerRequest) -> api.RestartServerResponse:
        """Ends a server, and starts it again."""
        server, away_ms = SERVERS.get(request.server), _milliseconds(request.away)
        with Fields() as fields:
            fields.require(server is not None, "server", "must be one of the three servers")
            within = 0 <= away_ms <= AWAY_MAX // MILLISECOND
            fields.require(within, "away", f"must be 0 to {AWAY_MAX.total_seconds():g} seconds")
        assert server is not None
        if not await self.sandbox.restart(server, away_ms / 1_000):
            raise Reason.SERVER_AWAY(server=server)
        return api.RestartServerResponse()

    async def Reset(self, _request: api.ResetRequest) -> api.ResetResponse:
        """Starts anew."""
        await self.sandbox.reset()
        return api.ResetResponse()


def _milliseconds(span: Duration) -> int:
    """Of whatever a caller sends, however large."""
    return span.seconds * 1_000 + span.nanos // 1_000_000


def _to_message(payer: SimulatedPayer) -> simulated_payer_pb2.SimulatedPayer:
    return simulated_payer_pb2.SimulatedPayer(identity_id=payer.identity_id, outcome=payer.story, pin=payer.pin)
