"""A server whose calls end when the test says so, by SIGUSR1; `python -m tests.runtime.slow_server` starts it."""

import asyncio
import logging
import signal
import sys

import structlog

from tillmesh.api.payment.v1 import refund_pb2
from tillmesh.api.payment.v1 import refund_service_pb2 as api
from tillmesh.auth.callers import Role
from tillmesh.rpc.server import Wiring, run
from tillmesh.rpc.settings import ServerSettings, load_settings
from tillmesh.storage.database import open_database
from tillmesh.storage.schema import versioned

NAME = "tests.runtime.slow_server"
METHODS = ("RefundPayment", "CreateUnreferencedRefund", "GetRefund", "ListRefunds")

log = structlog.get_logger()


class SlowSettings(ServerSettings, cli_prog_name=NAME):
    """Takes the flags of every server."""


class Mute:
    """Says nothing of itself."""

    def __repr__(self) -> str:
        raise ValueError("mute")


class SlowServicer:
    """tillmesh.api.payment.v1.RefundService, each method with a behaviour that tests need."""

    def __init__(self) -> None:
        self._go = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._go.set)

    async def GetRefund(self, request: api.GetRefundRequest) -> refund_pb2.Refund:
        """Says that it is under way and ends on the signal."""
        print("under way", file=sys.stderr, flush=True)
        await self._go.wait()
        return refund_pb2.Refund(refund_id=request.refund_id)

    async def RefundPayment(self, request: api.RefundPaymentRequest) -> refund_pb2.Refund:
        """Has a bug."""
        raise ZeroDivisionError(request.note)

    async def CreateUnreferencedRefund(self, request: api.CreateUnreferencedRefundRequest) -> refund_pb2.Refund:
        """Logs what no log can show, and as many more lines as the amount says."""
        log.info("odd", value=Mute(), key={("no", "key"): 1})
        logging.getLogger("odd").error("%d is no number", "this")
        for number in range(request.amount.minor_units):
            log.info("one_of_many", number=number)
        return refund_pb2.Refund()

    async def ListRefunds(self, _request: api.ListRefundsRequest) -> api.ListRefundsResponse:
        """Answers at once."""
        return api.ListRefundsResponse()


async def wire(settings: SlowSettings) -> Wiring:
    """Puts the server together."""
    database = open_database(settings.database_url, versioned("0001"))

    async def close() -> None:
        await database.close()
        log.info("closed")

    broken = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, broken.set)

    async def loop() -> None:
        await broken.wait()
        raise ZeroDivisionError("in a loop")

    service = "tillmesh.api.payment.v1.RefundService"
    access = {service: dict.fromkeys(METHODS, frozenset(Role))}
    return Wiring(
        domain="slow.tillmesh",
        servicers={service: SlowServicer()},
        access=access,
        gate=None,
        loops=[loop],
        on_stop=[close],
    )


if __name__ == "__main__":
    settings = load_settings(SlowSettings, sys.argv[1:])
    run(NAME, settings, lambda: wire(settings))
