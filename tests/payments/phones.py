"""Payers with phones, and tills that scan them, at the payment server inside a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.payments.side import INSTANT, STORE, Side, asked
from tests.trust.secrets import PIN, keep, keep_bytes
from tillmesh import paycode
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import identity_pb2, payment_pb2
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payers_api
from tillmesh.api.payment.v1 import phone_service_pb2 as phones_api
from tillmesh.auth.callers import Caller, Role, caller
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

TILL = Caller(f"spiffe://tillmesh/terminal/{STORE}/till-1", Role.TERMINAL, STORE)
OTHER_TILL = Caller("spiffe://tillmesh/terminal/store-2/till-1", Role.TERMINAL, "store-2")
PLATFORM = Caller("spiffe://tillmesh/platform/all", Role.PLATFORM, None)


@contextmanager
def acting(who: Caller) -> Iterator[None]:
    """Calls in the block are that caller's, as the handler has admitted it."""
    token = caller.set(who)
    try:
        yield
    finally:
        caller.reset(token)


@dataclass
class Phone:
    """A phone, bound to its payer."""

    side: Side
    identity_id: str
    certified: Caller
    handle: str
    key: Secret
    token: str = ""

    async def sign_in(self, pin: str = PIN) -> payers_api.Session:
        """Signs in, and keeps the token."""
        with acting(await self.admitted("SignIn")):
            session = await self.side.payers.SignIn(payers_api.SignInRequest(pin=pin))
        self.token = keep(session.access_token)
        return session

    async def admitted(self, method: str = "GetPayment", token: str | None = None) -> Caller:
        """Who calls, once the payment server has looked at the token."""
        shown = self.token if token is None else token
        return await self.side.sign_in(self.certified, method, Secret(shown.encode()))

    def code(self, steps: int = 0) -> str:
        """What it shows so many half minutes from now."""
        step = paycode.step_at(self.side.clock.now_ms()) + steps
        return keep(paycode.make(self.handle, self.key, step).value.decode())

    async def renew_key(self) -> None:
        """Asks for another key, signed in."""
        with acting(await self.admitted()):
            request = payers_api.RenewPayCodeKeyRequest(request_id=new_request_id())
            answer = await self.side.payers.RenewPayCodeKey(request)
        self.handle, self.key = answer.handle, keep_bytes(answer.key)


async def set_pin(side: Side, identity_id: str, pin: str = PIN, request_id: str = "") -> identity_pb2.Identity:
    request = identities_api.SetPinRequest(request_id=request_id or new_request_id(), identity_id=identity_id, pin=pin)
    return await side.identities.SetPin(request)


async def bind(side: Side, identity_id: str, phone_id: str = "") -> Phone:
    """A phone bound to an identity by the platform."""
    request = phones_api.BindPhoneRequest(
        request_id=new_request_id(), identity_id=identity_id, phone_id=phone_id or new_request_id()
    )
    with acting(PLATFORM):
        bound = await side.phones.BindPhone(request)
    key = keep_bytes(bound.pay_code_key.key)
    return Phone(side, identity_id, Caller(bound.phone_uri, Role.PHONE, None), bound.pay_code_key.handle, key)


async def payer(
    side: Side, funds: int = 5_000, threshold: int | None = INSTANT, unconfirmed_max: int | None = None
) -> Phone:
    """Somebody with money, a PIN and a phone."""
    identity_id = await side.shopper(funds, threshold=threshold, unconfirmed_max=unconfirmed_max)
    await set_pin(side, identity_id)
    return await bind(side, identity_id)


async def order_under_reference(side: Side, minor: int = 1000) -> order_pb2.Order:
    """An order of somebody whom the till does not know yet."""
    return await side.order(new_request_id(), minor)


async def scan(
    side: Side, order: order_pb2.Order, code: str, till: Caller = TILL, payment_id: str = ""
) -> payment_pb2.Payment:
    """The till asks for the payment of an order with the code that it was shown."""
    request = asked(order, payment_id)
    request.pay_code = code
    with acting(till):
        return await side.payments.CreatePayment(request)


async def pay_at_till(side: Side, order: order_pb2.Order, till: Caller = TILL) -> payment_pb2.Payment:
    """The same without a code."""
    return await scan(side, order, "", till)
