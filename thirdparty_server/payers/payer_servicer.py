"""Payers on their phones: protobuf to model and back, nothing else."""

import secrets
from dataclasses import replace

from thirdparty_server.once import run_once
from thirdparty_server.payers import messages, operations
from thirdparty_server.payers.model import Identity
from thirdparty_server.payers.pending_orders import PendingOrders
from thirdparty_server.payers.vault import Vault
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import payer_service_pb2 as payers_api
from tillmesh.api.payment.v1 import phone_pb2
from tillmesh.auth.callers import Caller, Role, caller
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.messages import to_timestamp
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.secret import Secret
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Transaction

TOKEN_BYTES = 32


class PayerServicer:
    """tillmesh.api.payment.v1.PayerService."""

    def __init__(
        self, database: Database, pending_orders: PendingOrders, clock: Clock, vault: Vault, session_ms: int
    ) -> None:
        self._database = database
        self._pending_orders = pending_orders
        self._clock = clock
        self._vault = vault
        self._session_ms = session_ms

    async def SignIn(self, request: payers_api.SignInRequest) -> payers_api.Session:
        """Signs in whoever the phone is bound to."""
        self._vault.require()
        phone_uri = _own_phone().uri
        fields = Fields()
        pin = messages.pin(fields, request.pin)
        fields.check()
        begun = await self._database.run(lambda transaction: operations.begin_sign_in(transaction, phone_uri=phone_uri))
        pin_try = await self._vault.checked(begun, pin)
        token = Secret(secrets.token_urlsafe(TOKEN_BYTES).encode())
        expires_at_ms = self._clock.now_ms() + self._session_ms

        def start(transaction: Transaction) -> Identity:
            return operations.sign_in(
                transaction, phone_uri=phone_uri, pin_try=pin_try, token=token, expires_at_ms=expires_at_ms
            )

        identity = await self._database.run(start)
        return payers_api.Session(
            access_token=token.value.decode(),
            expire_time=to_timestamp(expires_at_ms),
            identity=messages.to_identity(identity),
        )

    async def SignOut(self, request: payers_api.SignOutRequest) -> payers_api.SignOutResponse:
        """Ends the session."""
        phone_uri = _own_phone().uri
        await self._database.run(lambda transaction: operations.sign_out(transaction, phone_uri=phone_uri))
        return payers_api.SignOutResponse()

    async def RenewPayCodeKey(self, request: payers_api.RenewPayCodeKeyRequest) -> phone_pb2.PayCodeKey:
        """Makes a new key for pay codes."""
        phone_uri = _own_phone().uri
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.check()
        phone = await run_once(
            self._database,
            IdempotencyKey.of(request, request.request_id, self._clock.now_ms()),
            phone_uri,
            effect=lambda transaction: operations.renew_key(
                transaction, request_id=request.request_id, phone_uri=phone_uri
            ),
            read=lambda transaction: operations.bound_phone(transaction, phone_uri),
        )
        return messages.to_key(phone, self._vault)

    async def ListPendingOrders(
        self, request: payers_api.ListPendingOrdersRequest
    ) -> payers_api.ListPendingOrdersResponse:
        """Lists the payer's pending orders at all shops."""
        orders, token = await self._pending_orders.of(
            _own_phone().identity_id or "", request.page_size, request.page_token
        )
        shown = [_without_store_s_own(order) for order in orders]
        return payers_api.ListPendingOrdersResponse(orders=shown, next_page_token=token)


class Sessions:
    """Finds out whose a phone is, for each of its calls."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def sign_in(self, phone: Caller, method: str, token: Secret) -> Caller:
        """The phone as its payer; SIGN_IN_REQUIRED unless the token is of a session that it has."""
        if method == PayerServicer.SignIn.__name__:
            return phone
        now_ms = self._clock.now_ms()
        identity_id = await self._database.run(
            lambda transaction: operations.signed_in(transaction, phone_uri=phone.uri, token=token, now_ms=now_ms)
        )
        return replace(phone, identity_id=identity_id)


def _without_store_s_own(order: order_pb2.Order) -> order_pb2.Order:
    """An order as its payer may see it: without labels, where it was raised, and who set which price."""
    shown = order_pb2.Order()
    shown.CopyFrom(order)
    for name in ("labels", "terminal_id", "lane", "cashier_id"):
        shown.ClearField(name)
    for line in shown.lines:
        line.ClearField("price_override")
    return shown


def _own_phone() -> Caller:
    """The phone that calls."""
    phone = caller.get()
    if phone is None or phone.role is not Role.PHONE:
        raise CommonReason.UNAUTHENTICATED(why="this server asks for no certificates, so no payer can sign in")
    return phone
