"""Shops that present orders as QR codes, and phones that claim them, at the payment server inside a test."""

import secrets

from sqlalchemy import select, update

from tests.payments.phones import TILL, Phone, acting, order_under_reference, payer
from tests.payments.side import Side, asked, refused
from tests.trust.secrets import keep
from thirdparty_server.claims.tables import order_presentations
from thirdparty_server.errors import Reason
from tillmesh import claim_code
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import claim_service_pb2 as api
from tillmesh.api.payment.v1 import order_claim_pb2, order_presentation_pb2, payment_pb2
from tillmesh.auth.callers import Caller
from tillmesh.rpc.messages import to_duration
from tillmesh.runtime.ids import new_request_id
from tillmesh.storage.statements import Row

MINUTE_MS = 60_000
CLAIM_MS, PRESENTED_MS = 5 * MINUTE_MS, 15 * MINUTE_MS


def new_code(till: Caller = TILL) -> str:
    """The text of a new QR code of a store."""
    return keep(claim_code.make(till.store_id or "", secrets.token_bytes(claim_code.SECRET_BYTES)))


def presenting(
    order: order_pb2.Order, code: str, sticker: str = "", lifetime_ms: int = PRESENTED_MS
) -> api.PresentOrderRequest:
    """What a terminal sends."""
    return api.PresentOrderRequest(
        request_id=new_request_id(),
        order_id=order.order_id,
        code_hash=claim_code.digest(code),
        sticker_hash=claim_code.digest(sticker) if sticker else b"",
        lifetime=to_duration(lifetime_ms),
    )


async def present(
    side: Side, request: api.PresentOrderRequest, till: Caller = TILL
) -> order_presentation_pb2.OrderPresentation:
    with acting(till):
        return await side.claims.PresentOrder(request)


async def shown(side: Side, order: order_pb2.Order, sticker: str = "") -> str:
    """Presents an order; the text of its code."""
    await present(side, presenting(order, code := new_code(), sticker))
    return code


async def signed_in(side: Side, funds: int = 5_000) -> Phone:
    """A phone that its payer has signed in on."""
    phone = await payer(side, funds)
    await phone.sign_in()
    return phone


async def claim(phone: Phone, code: str, request_id: str = "", side: Side | None = None) -> order_claim_pb2.OrderClaim:
    """The phone has scanned the code."""
    request = api.ClaimOrderRequest(request_id=request_id or new_request_id(), code=code)
    with acting(await phone.admitted()):
        return await (side or phone.side).claims.ClaimOrder(request)


async def claimed(phone: Phone, order: order_pb2.Order) -> order_claim_pb2.OrderClaim:
    """The phone's claim, as it is now."""
    with acting(await phone.admitted()):
        return await phone.side.claims.GetOrderClaim(api.GetOrderClaimRequest(order_id=order.order_id))


async def release(phone: Phone, order: order_pb2.Order, request_id: str = "") -> None:
    request = api.ReleaseOrderClaimRequest(request_id=request_id or new_request_id(), order_id=order.order_id)
    with acting(await phone.admitted()):
        await phone.side.claims.ReleaseOrderClaim(request)


def told(order: order_pb2.Order, phone: Phone) -> order_pb2.Order:
    """The order under its phone's payer, as the phone names it."""
    own = order_pb2.Order()
    own.CopyFrom(order)
    own.payer.identity_id = phone.identity_id
    return own


async def pay_claimed(phone: Phone, order: order_pb2.Order, payment_id: str = "") -> payment_pb2.Payment:
    """The phone pays what it was shown, naming its payer."""
    with acting(await phone.admitted()):
        return await phone.side.payments.CreatePayment(asked(told(order, phone), payment_id))


async def rows(side: Side) -> list[Row]:
    """All that the payment server keeps of presentations and claims."""
    return await side.database.run(lambda transaction: transaction.execute(select(order_presentations)).all())


async def falsify(side: Side, order: order_pb2.Order, **values: str) -> None:
    """Changes what it keeps of an order."""
    changed = update(order_presentations).where(order_presentations.c.order_id == order.order_id).values(**values)
    await side.database.run(lambda transaction: transaction.execute(changed))


async def claimed_order(side: Side, phone: Phone, minor: int = 1000) -> tuple[order_pb2.Order, str]:
    """An order that the phone has claimed, as the order service has it, and its code."""
    order = await order_under_reference(side, minor)
    code = await shown(side, order)
    await claim(phone, code)
    return order, code


async def cancel(side: Side, order: order_pb2.Order) -> None:
    await side.orders.CancelOrder(
        orders_api.CancelOrderRequest(request_id=new_request_id(), order_id=order.order_id, version=1)
    )


async def has_none(phone: Phone, order: order_pb2.Order) -> None:
    with refused(Reason.CLAIM_NOT_FOUND):
        await claimed(phone, order)


async def shows_nothing(phone: Phone, code: str) -> None:
    with refused(Reason.CLAIM_CODE_NOT_FOUND):
        await claim(phone, code)
