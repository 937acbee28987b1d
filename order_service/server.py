"""Wiring; `python -m order_service` starts it."""

import sys

from pydantic import Field

from order_service.errors import DOMAIN
from order_service.servicer import OrderServicer
from order_service.store import METADATA
from order_service.sweeper import Sweeper
from tillmesh.runtime.clock import SystemClock
from tillmesh.runtime.database import Database
from tillmesh.runtime.ids import SYSTEM_RNG
from tillmesh.runtime.server import Wiring, run
from tillmesh.runtime.settings import ServerSettings, load_settings


class OrderSettings(ServerSettings, cli_prog_name="order_service", env_prefix="TILLMESH_ORDER_"):
    """Orders, their payment lock and their state. Each flag may also be set as TILLMESH_ORDER_NAME."""

    listen: str = Field("127.0.0.1:7001", description="address to serve on; port 0 takes a free one")
    database_url: str = Field("sqlite:///order_service.db", description="this server's own database")
    lease_max_s: float = Field(600, gt=0, description="longest lock that a payment may ask for, in seconds")


async def wire(settings: OrderSettings) -> Wiring:
    """Puts the service together."""
    database, clock = Database(settings.database_url, METADATA), SystemClock()
    lease_max_ms = int(settings.lease_max_s * 1000)
    servicer = OrderServicer(database, clock, SYSTEM_RNG, lease_max_ms)
    return Wiring(
        domain=DOMAIN,
        servicers={"tillmesh.api.order.v1.OrderService": servicer},
        loops=[Sweeper(database, clock).run],
        on_stop=[database.close],
    )


def main() -> None:
    """Starts the server with the flags of the command line."""
    settings = load_settings(OrderSettings, sys.argv[1:])
    run("order_service", settings, lambda: wire(settings))
