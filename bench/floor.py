"""The floor: a server that does nothing, on the same runtime; `python -m bench.floor` starts it.

What it costs is what gRPC, TLS, the gate and the runtime cost: no server of this project can cost less.
"""

import sys

from pydantic import Field

from tillmesh.api.terminal.v1 import catalogue_item_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as api
from tillmesh.auth.callers import Role
from tillmesh.rpc.server import Wiring, run
from tillmesh.rpc.settings import ServerSettings, load_settings

SERVICE = "tillmesh.api.terminal.v1.CatalogueService"
METHOD = f"/{SERVICE}/GetCatalogueItem"


class FloorSettings(ServerSettings, cli_prog_name="bench.floor"):
    """A server that answers every call with an empty message."""

    database_url: str = Field("", description="is not used")


class Floor:
    """tillmesh.api.terminal.v1.CatalogueService, as its contract has the smallest messages."""

    async def ImportCatalogueItems(self, _: api.ImportCatalogueItemsRequest) -> api.ImportCatalogueItemsResponse:
        """Imports nothing."""
        return api.ImportCatalogueItemsResponse()

    async def GetCatalogueItem(self, _: api.GetCatalogueItemRequest) -> catalogue_item_pb2.CatalogueItem:
        """The call that is measured."""
        return catalogue_item_pb2.CatalogueItem()

    async def ListCatalogueItems(self, _: api.ListCatalogueItemsRequest) -> api.ListCatalogueItemsResponse:
        """Lists nothing."""
        return api.ListCatalogueItemsResponse()


async def wire(settings: FloorSettings) -> Wiring:
    """The service behind the same gate as the real ones."""
    everybody = dict.fromkeys(("ImportCatalogueItems", "GetCatalogueItem", "ListCatalogueItems"), frozenset(Role))
    return Wiring(
        domain="floor.tillmesh", servicers={SERVICE: Floor()}, access={SERVICE: everybody}, gate=settings.gate()
    )


if __name__ == "__main__":
    configured = load_settings(FloorSettings, sys.argv[1:])
    run("bench.floor", configured, lambda: wire(configured))
