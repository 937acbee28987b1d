"""The floor: a server that does nothing, on the same runtime; `python -m bench.floor` starts it.

What it costs is what gRPC, TLS, the gate and the runtime cost: no server of this project can cost less.
"""

import sys

from pydantic import Field

from tillmesh.api.payment.v1 import phone_pb2
from tillmesh.api.payment.v1 import phone_service_pb2 as api
from tillmesh.auth.callers import Role
from tillmesh.rpc.server import Wiring, run
from tillmesh.rpc.settings import ServerSettings, load_settings

SERVICE = "tillmesh.api.payment.v1.PhoneService"
METHOD = f"/{SERVICE}/UnbindPhone"


class FloorSettings(ServerSettings, cli_prog_name="bench.floor"):
    """A server that answers every call with an empty message."""

    database_url: str = Field("", description="is not used")


class Floor:
    """tillmesh.api.payment.v1.PhoneService, as its contract is the smallest."""

    async def BindPhone(self, _: api.BindPhoneRequest) -> phone_pb2.Phone:
        """Binds nothing."""
        return phone_pb2.Phone()

    async def ListPhones(self, _: api.ListPhonesRequest) -> api.ListPhonesResponse:
        """Lists nothing."""
        return api.ListPhonesResponse()

    async def UnbindPhone(self, _: api.UnbindPhoneRequest) -> api.UnbindPhoneResponse:
        """The call that is measured."""
        return api.UnbindPhoneResponse()


async def wire(settings: FloorSettings) -> Wiring:
    """The service behind the same gate as the real ones."""
    everybody = dict.fromkeys(("BindPhone", "ListPhones", "UnbindPhone"), frozenset(Role))
    return Wiring(
        domain="floor.tillmesh", servicers={SERVICE: Floor()}, access={SERVICE: everybody}, gate=settings.gate()
    )


if __name__ == "__main__":
    configured = load_settings(FloorSettings, sys.argv[1:])
    run("bench.floor", configured, lambda: wire(configured))
