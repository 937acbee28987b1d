"""Identities: protobuf to model and back, nothing else."""

from thirdparty_server import updates
from thirdparty_server.errors import Reason
from thirdparty_server.once import create_named, run_once
from thirdparty_server.payers import messages, operations, queries
from thirdparty_server.payers.model import Identity, Wallet
from thirdparty_server.payers.vault import Vault
from tillmesh.api.payment.v1 import identity_pb2
from tillmesh.api.payment.v1 import identity_service_pb2 as api
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.paging import Page
from tillmesh.runtime.clock import Clock
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey

DISPLAY_NAME_MAX = 128


class IdentityServicer:
    """tillmesh.api.payment.v1.IdentityService."""

    def __init__(self, database: Database, clock: Clock, vault: Vault) -> None:
        self._database = database
        self._clock = clock
        self._vault = vault

    async def CreateIdentity(self, request: api.CreateIdentityRequest) -> identity_pb2.Identity:
        """Registers an identity and opens its first wallet."""
        fields = Fields()
        identity_id = fields.identity("identity_id", request.identity_id)
        fields.text("display_name", request.display_name, length_max=DISPLAY_NAME_MAX)
        fields.currency("currency_code", request.currency_code)
        now_ms = self._clock.now_ms()
        identity = Identity(identity_id, request.display_name, version=1, created_at_ms=now_ms)
        first = Wallet(
            identity_id=identity_id,
            currency=request.currency_code,
            threshold_minor=messages.threshold(fields, "", request),
            unconfirmed_per_day_max=messages.unconfirmed_max(fields, "", request),
            version=1,
            created_at_ms=now_ms,
        )
        fields.check()
        created = await create_named(
            self._database,
            IdempotencyKey.of(request, f"identity/{identity_id}", now_ms),
            create=lambda transaction: operations.create_identity(transaction, identity=identity, first=first),
            read=lambda transaction: operations.get_identity(transaction, identity_id),
            exists=lambda: Reason.IDENTITY_EXISTS(identity_id=identity_id),
        )
        return messages.to_identity(created)

    async def GetIdentity(self, request: api.GetIdentityRequest) -> identity_pb2.Identity:
        """Reads one identity."""
        identity = await self._database.run(
            lambda transaction: operations.get_identity(transaction, request.identity_id)
        )
        return messages.to_identity(identity)

    async def ListIdentities(self, request: api.ListIdentitiesRequest) -> api.ListIdentitiesResponse:
        """Lists identities by id."""
        page = Page[Identity](self._database.seal, request.page_size, request.page_token, ["ListIdentities"])
        after = page.after[0] if page.after else ""
        rows = await self._database.run(lambda transaction: queries.list_identities(transaction, after, page.at_most))
        shown, token = page.cut(rows, lambda identity: [identity.identity_id], messages.to_identity)
        return api.ListIdentitiesResponse(identities=shown, next_page_token=token)

    async def UpdateIdentity(self, request: api.UpdateIdentityRequest) -> identity_pb2.Identity:
        """Changes what the mask names."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        identity_id = fields.identity("identity.identity_id", request.identity.identity_id)
        changes = {}
        for path in updates.update_mask(fields, request.update_mask, ["display_name"]):
            name = fields.text(f"identity.{path}", request.identity.display_name, length_max=DISPLAY_NAME_MAX)
            changes[path] = name
        fields.check()
        changed = await run_once(
            self._database,
            IdempotencyKey.of(request, request.request_id, self._clock.now_ms()),
            identity_id,
            effect=lambda transaction: operations.update_identity(
                transaction, identity_id=identity_id, version=request.version, changes=changes
            ),
            read=lambda transaction: operations.get_identity(transaction, identity_id),
        )
        return messages.to_identity(changed)

    async def SetPin(self, request: api.SetPinRequest) -> identity_pb2.Identity:
        """Sets an identity's PIN."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        pin = messages.pin(fields, request.pin)
        fields.check()
        pin_hash = await self._vault.hash_pin(request.identity_id, pin)
        identity = await run_once(
            self._database,
            IdempotencyKey.of(request, request.request_id, self._clock.now_ms()),
            request.identity_id,
            effect=lambda transaction: operations.set_pin(
                transaction, identity_id=request.identity_id, pin_hash=pin_hash
            ),
            read=lambda transaction: operations.get_identity(transaction, request.identity_id),
        )
        return messages.to_identity(identity)
