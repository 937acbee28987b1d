"""Wiring; `python -m order_service` starts it."""

import random
import sys

from pydantic import Field

from order_service.access import ACCESS
from order_service.errors import DOMAIN
from order_service.queries import BACKLOGS, FEED
from order_service.servicer import OrderServicer
from order_service.sweeper import Sweeper
from order_service.tables import METADATA
from tillmesh.auth.callers import Role
from tillmesh.rpc.server import Wiring, run
from tillmesh.rpc.settings import ServerSettings, load_settings
from tillmesh.rpc.streams import Streams
from tillmesh.runtime.clock import DAY_MS, Clock
from tillmesh.runtime.ids import SYSTEM_RNG
from tillmesh.storage.backlogs import read_backlogs
from tillmesh.storage.database import Database, answer, open_database


class OrderSettings(ServerSettings, cli_prog_name="order_service", env_prefix="TILLMESH_ORDER_"):
    """Orders, their payment lock and their state. Each flag may also be set as TILLMESH_ORDER_NAME."""

    listen: str = Field("127.0.0.1:7001", description="address to serve on; port 0 takes a free one")
    database_url: str = Field(
        "sqlite:///order_service.db",
        description="this server's own database: sqlite:///FILE or postgresql://USER@HOST/NAME",
    )
    lease_max_s: float = Field(600, gt=0, description="longest lock that a payment may ask for, in seconds")
    open_order_days: float = Field(
        30, ge=0, description="after how many days without a change an open order is canceled; 0 is never"
    )


def assemble(settings: OrderSettings, database: Database, clock: Clock, rng: random.Random) -> Wiring:
    """Puts the service together; it calls no other server."""
    streams = Streams(database, FEED, clock, rng)
    servicer = OrderServicer(database, clock, rng, int(settings.lease_max_s * 1000), streams)
    sweeper = Sweeper(database, clock, settings.own_uri(Role.ORDERS), int(settings.open_order_days * DAY_MS))
    return Wiring(
        domain=DOMAIN,
        servicers={"tillmesh.api.order.v1.OrderService": servicer},
        access=ACCESS,
        gate=settings.gate(),
        probe=lambda: database.run(answer),
        backlogs=lambda: database.run(read_backlogs, BACKLOGS, clock.now_ms()),
        loops=[sweeper.run, streams.run],
        on_stop=[database.close],
    )


async def wire(settings: OrderSettings) -> Wiring:
    """The service as a process runs it."""
    return assemble(settings, open_database(settings.database_url, METADATA), settings.clock(), SYSTEM_RNG)


def main() -> None:
    """Starts the server with the flags of the command line."""
    settings = load_settings(OrderSettings, sys.argv[1:])
    run("order_service", settings, lambda: wire(settings))
