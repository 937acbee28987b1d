"""Payers on their own terminals: protobuf to model and back, nothing else."""

import secrets
from dataclasses import replace

from thirdparty_server import messages, payers
from thirdparty_server.model import Identity
from thirdparty_server.resolver import Orders
from thirdparty_server.tables import REQUESTS
from thirdparty_server.vault import Vault
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payers_api
from tillmesh.runtime.callers import Caller, Role, caller
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.convert import to_timestamp
from tillmesh.runtime.database import Database
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.fields import Fields
from tillmesh.runtime.secret import Secret
from tillmesh.runtime.statements import Connection

TOKEN_BYTES = 32


class PayerServicer:
    """tillmesh.api.payment.v1.PayerService."""

    def __init__(self, database: Database, orders: Orders, clock: Clock, vault: Vault, session_ms: int) -> None:
        self._database = database
        self._orders = orders
        self._clock = clock
        self._vault = vault
        self._session_ms = session_ms

    async def SignIn(self, request: payers_api.SignInRequest) -> payers_api.Session:
        """Signs in whoever the device is bound to."""
        self._vault.require()
        device_uri = _own_device().uri
        fields = Fields()
        pin = messages.pin(fields, request.pin)
        fields.check()
        begun = await self._database.run(lambda connection: payers.begin_sign_in(connection, device_uri=device_uri))
        pin_try = await self._vault.checked(begun, pin)
        token = Secret(secrets.token_urlsafe(TOKEN_BYTES).encode())
        expires_at_ms = self._clock.now_ms() + self._session_ms

        def start(connection: Connection) -> Identity:
            return payers.sign_in(
                connection, device_uri=device_uri, pin_try=pin_try, token=token, expires_at_ms=expires_at_ms
            )

        identity = await self._database.run(start)
        return payers_api.Session(
            access_token=token.value.decode(),
            expire_time=to_timestamp(expires_at_ms),
            identity=messages.to_identity(identity),
        )

    async def SignOut(self, request: payers_api.SignOutRequest) -> payers_api.SignOutResponse:
        """Ends the session."""
        device_uri = _own_device().uri
        await self._database.run(lambda connection: payers.sign_out(connection, device_uri=device_uri))
        return payers_api.SignOutResponse()

    async def RenewPayCodeKey(self, request: payers_api.RenewPayCodeKeyRequest) -> identities_api.PayCodeKey:
        """Makes a new key for pay codes."""
        device_uri = _own_device().uri
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.check()

        renewed = await REQUESTS.run(
            self._database,
            request,
            lambda connection: REQUESTS.once(
                connection,
                request,
                identities_api.PayCodeKey,
                lambda: messages.to_key(
                    payers.renew_key(connection, request_id=request.request_id, device_uri=device_uri)
                ),
            ),
        )
        renewed.key = self._vault.pay_code_key(renewed.handle, request.request_id).value
        return renewed

    async def ListPendingTransactions(
        self, request: payers_api.ListPendingTransactionsRequest
    ) -> payers_api.ListPendingTransactionsResponse:
        """Lists the payer's pending transactions at all shops."""
        orders, token = await self._orders.pending(_own_device().payer_id or "", request.page_size, request.page_token)
        return payers_api.ListPendingTransactionsResponse(orders=orders, next_page_token=token)


class Sessions:
    """Finds out whose a payer's terminal is, for each of its calls."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def sign_in(self, device: Caller, method: str, token: Secret) -> Caller:
        """The device as its payer; SIGN_IN_REQUIRED unless the token is of a session that it has."""
        if method == PayerServicer.SignIn.__name__:
            return device
        now_ms = self._clock.now_ms()
        payer_id = await self._database.run(
            lambda connection: payers.signed_in(connection, device_uri=device.uri, token=token, now_ms=now_ms)
        )
        return replace(device, payer_id=payer_id)


def _own_device() -> Caller:
    """The payer's terminal that calls."""
    device = caller.get()
    if device is None or device.role is not Role.PAYER:
        raise CommonReason.UNAUTHENTICATED(why="this server asks for no certificates, so no payer can sign in")
    return device
