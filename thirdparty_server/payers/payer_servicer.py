"""Payers on their phones: protobuf to model and back, nothing else."""

import secrets
from dataclasses import dataclass, replace

from thirdparty_server.payers import messages, operations, queries
from thirdparty_server.payers.pending_orders import PendingOrders
from thirdparty_server.payers.pin_tries import PinTries
from thirdparty_server.payers.vault import Vault
from tillmesh.api.payment.v1 import payer_service_pb2 as payers_api
from tillmesh.api.payment.v1 import phone_pb2
from tillmesh.auth.callers import Caller, acting_phone
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.messages import to_timestamp
from tillmesh.rpc.servicer import Servicer
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.secret import Secret
from tillmesh.storage.database import Database

TOKEN_BYTES = 32


@dataclass(frozen=True)
class PayerServicer(Servicer):
    """tillmesh.api.payment.v1.PayerService."""

    pending_orders: PendingOrders
    vault: Vault
    pin_tries: PinTries
    session_ms: int

    async def SignIn(self, request: payers_api.SignInRequest) -> payers_api.Session:
        """Signs in whoever the phone is bound to."""
        self.vault.require()
        phone_uri = acting_phone().uri
        with Fields() as fields:
            pin = fields.pin(request.pin)
        phone = await self.database.run(operations.bound_phone, phone_uri)
        pin_try = await self.pin_tries.make(phone.identity_id, pin)
        token = Secret(secrets.token_urlsafe(TOKEN_BYTES).encode())
        expires_at_ms = self.clock.now_ms() + self.session_ms
        identity = await self.database.run(operations.sign_in, phone_uri, pin_try, token, expires_at_ms)
        return payers_api.Session(
            access_token=token.value.decode(),
            expire_time=to_timestamp(expires_at_ms),
            identity=messages.to_identity(identity),
        )

    async def SignOut(self, request: payers_api.SignOutRequest) -> payers_api.SignOutResponse:
        """Ends the session."""
        await self.database.run(queries.end_session, acting_phone().uri)
        return payers_api.SignOutResponse()

    async def RenewPayCodeKey(self, request: payers_api.RenewPayCodeKeyRequest) -> phone_pb2.PayCodeKey:
        """Makes a new key for pay codes."""
        phone_uri = acting_phone().uri
        with Fields() as fields:
            request_id = fields.identifier("request_id", request.request_id)
        phone = await self._once(
            request, request_id, phone_uri, operations.bound_phone, operations.renew_key, request_id, phone_uri
        )
        return messages.to_key(phone, self.vault)

    async def ListPendingOrders(
        self, request: payers_api.ListPendingOrdersRequest
    ) -> payers_api.ListPendingOrdersResponse:
        """Lists the payer's pending orders at all shops."""
        identity_id = acting_phone().identity_id or ""
        orders, token = await self.pending_orders.of(identity_id, request.page_size, request.page_token)
        shown = [messages.without_store_s_own(order) for order in orders]
        return payers_api.ListPendingOrdersResponse(orders=shown, next_page_token=token)


@dataclass(frozen=True)
class Sessions:
    """Finds out whose a phone is, for each of its calls."""

    database: Database
    clock: Clock

    async def sign_in(self, phone: Caller, method: str, token: Secret) -> Caller:
        """The phone as its payer; SIGN_IN_REQUIRED unless the token is of a session that it has."""
        if method == PayerServicer.SignIn.__name__:
            return phone
        identity_id = await self.database.run(operations.signed_in, phone.uri, token, self.clock.now_ms())
        return replace(phone, identity_id=identity_id)
