"""Identities: protobuf to model and back, nothing else."""

from dataclasses import dataclass

from thirdparty_server.errors import Reason
from thirdparty_server.payers import messages, operations, queries
from thirdparty_server.payers.model import Identity
from thirdparty_server.payers.vault import Vault
from thirdparty_server.updates import Update
from tillmesh.api.payment.v1 import identity_pb2
from tillmesh.api.payment.v1 import identity_service_pb2 as api
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.servicer import Servicer, masked, named

DISPLAY_NAME_MAX = 128


@dataclass(frozen=True)
class IdentityServicer(Servicer):
    """tillmesh.api.payment.v1.IdentityService."""

    vault: Vault

    async def CreateIdentity(self, request: api.CreateIdentityRequest) -> identity_pb2.Identity:
        """Registers an identity and opens its first wallet."""
        with Fields() as fields:
            identity_id = fields.identity("identity_id", request.identity_id)
            display_name = fields.text("display_name", request.display_name, length_max=DISPLAY_NAME_MAX)
            now_ms = self.clock.now_ms()
            first = messages.new_wallet(fields, request, now_ms)
        new = Identity(identity_id, display_name, created_at_ms=now_ms)
        with named(Reason.IDENTITY_EXISTS(identity_id=identity_id)):
            identity = await self._once(
                request,
                f"identity/{identity_id}",
                identity_id,
                operations.get_identity,
                operations.create_identity,
                new,
                first,
            )
        return messages.to_identity(identity)

    async def GetIdentity(self, request: api.GetIdentityRequest) -> identity_pb2.Identity:
        """Reads one identity."""
        return messages.to_identity(await self.database.run(operations.get_identity, request.identity_id))

    async def ListIdentities(self, request: api.ListIdentitiesRequest) -> api.ListIdentitiesResponse:
        """Lists identities by id."""
        shown, token = await self._listed(
            request, queries.list_identities, lambda identity: (identity.identity_id,), messages.to_identity
        )
        return api.ListIdentitiesResponse(identities=shown, next_page_token=token)

    async def UpdateIdentity(self, request: api.UpdateIdentityRequest) -> identity_pb2.Identity:
        """Changes what the mask names."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            identity_id = fields.identity("identity.identity_id", request.identity.identity_id)
            changes = masked(fields, request.update_mask, {"display_name": _display_name}, request.identity)
        identity = await self._once(
            request,
            request.request_id,
            identity_id,
            operations.get_identity,
            operations.update_identity,
            identity_id,
            Update(request.version, changes),
        )
        return messages.to_identity(identity)

    async def SetPin(self, request: api.SetPinRequest) -> identity_pb2.Identity:
        """Sets an identity's PIN."""
        with Fields() as fields:
            request_id = fields.identifier("request_id", request.request_id)
            pin = fields.pin(request.pin)
        identity_id = request.identity_id
        pin_hash = await self.vault.hash_pin(identity_id, pin)
        identity = await self._once(
            request, request_id, identity_id, operations.get_identity, operations.set_pin, identity_id, pin_hash
        )
        return messages.to_identity(identity)


def _display_name(fields: Fields, identity: identity_pb2.Identity) -> str:
    return fields.text("identity.display_name", identity.display_name, length_max=DISPLAY_NAME_MAX)
