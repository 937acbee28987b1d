"""The shop's QR code: a device shows it, a signed-in phone claims and pays the order, and the display hears of it."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.processes import DEADLINE_S
from tests.terminal.till import TEA_MINOR, said
from tests.trust.certified import ALL, DEVICE, HERE, THERE, Shops, refusal
from tests.trust.secrets import keep
from tests.trust.test_payers import Phone, new_phone
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import claim_service_pb2 as claim_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1.claim_service_pb2_grpc import ClaimServiceStub
from tillmesh.api.terminal.v1 import checkout_pb2, lane_sticker_pb2, presentation_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkouts_api
from tillmesh.api.terminal.v1 import presentation_service_pb2 as api
from tillmesh.api.terminal.v1.presentation_service_pb2_grpc import PresentationServiceStub
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import Role
from tillmesh.runtime.ids import new_request_id


def presenting(shops: Shops, role: Role = Role.DEVICE, *names: str) -> Any:
    """The service of the terminal here, for whoever has such a certificate."""
    folder = shops.authority.folder_of(role, *(names or (HERE, DEVICE)))
    return PresentationServiceStub(shops.channel(Role.TERMINAL, folder, shops.terminals[HERE]))


def pending(shops: Shops) -> checkout_pb2.Checkout:
    """What a shopper whom nobody knows has to pay."""
    till = shops.till(HERE)
    return till.submit(till.create(""))


def present(shops: Shops, checkout: checkout_pb2.Checkout) -> presentation_pb2.Presentation:
    request = api.PresentCheckoutRequest(request_id=new_request_id(), checkout_id=checkout.checkout_id)
    shown: presentation_pb2.Presentation = presenting(shops).PresentCheckout(request)
    keep(shown.code)
    return shown


def renewed(shops: Shops) -> lane_sticker_pb2.LaneSticker:
    request = api.RenewLaneStickerRequest(request_id=new_request_id(), lane=DEVICE)
    sticker: lane_sticker_pb2.LaneSticker = presenting(shops).RenewLaneSticker(request)
    keep(sticker.code)
    return sticker


def signed_in(shops: Shops) -> Phone:
    phone = new_phone(shops, shops.platform.shopper())
    phone.sign_in()
    return phone


def claim(phone: Phone, code: str) -> order_pb2.Order:
    """The order, as the phone that scanned the code sees it."""
    request = claim_api.ClaimOrderRequest(request_id=new_request_id(), code=code)
    claims: Any = ClaimServiceStub(phone.channel)
    order: order_pb2.Order = claims.ClaimOrder(request, metadata=phone.bearer, timeout=DEADLINE_S).order
    return order


def pay(phone: Phone, order: order_pb2.Order) -> payment_pb2.Payment:
    request = payments_api.CreatePaymentRequest(
        payment_id=new_request_id(),
        order_id=order.order_id,
        order_version=order.version,
        payer=Payer(identity_id=phone.identity_id),
        amount=order.amount,
    )
    paid: payment_pb2.Payment = phone.payments.CreatePayment(request, metadata=phone.bearer, timeout=DEADLINE_S)
    return paid


def display(shops: Shops, checkout: checkout_pb2.Checkout) -> Iterator[checkouts_api.WatchCheckoutsResponse]:
    request = checkouts_api.WatchCheckoutsRequest(checkout_id=checkout.checkout_id)
    return shops.till(HERE).service.WatchCheckouts(request, timeout=DEADLINE_S)


@pytest.mark.parametrize("way", ["display", "sticker"])
def test_a_phone_pays_what_a_device_shows_and_the_display_hears_it(shops: Shops, way: str) -> None:
    checkout = pending(shops)
    answers = display(shops, checkout)
    next(answers)  # it watches
    sticker, shown, phone = renewed(shops), present(shops, checkout), signed_in(shops)
    assert (shown.lane, shown.checkout_id) == (DEVICE, checkout.checkout_id)
    assert 0 < shown.remaining.ToMilliseconds() <= 300_000
    order = claim(phone, shown.code if way == "display" else sticker.code)
    assert order.amount.minor_units == TEA_MINOR
    payment = pay(phone, order)
    updates = (update for answer in answers for update in answer.updates)
    paid = next(update for update in updates if update.event.type == checkout_pb2.CheckoutEvent.TYPE_PAID)
    assert said(paid.checkout) == "PAID HAND_OVER_GOODS"
    assert paid.checkout.paid_by_payment_id == payment.payment_id
    assert paid.event.actor.startswith("spiffe://")  # the terminal learnt it by itself


def test_a_later_presentation_ends_the_one_before(shops: Shops) -> None:
    checkout, phone = pending(shops), signed_in(shops)
    first, second = present(shops, checkout), present(shops, checkout)
    with pytest.raises(grpc.RpcError):
        claim(phone, first.code)
    assert claim(phone, second.code).order_id == checkout.checkout_id


def test_an_old_sticker_shows_nothing_that_is_presented_later(shops: Shops) -> None:
    old, new = renewed(shops), renewed(shops)
    checkout, phone = pending(shops), signed_in(shops)
    present(shops, checkout)
    with pytest.raises(grpc.RpcError):
        claim(phone, old.code)
    assert claim(phone, new.code).order_id == checkout.checkout_id


def test_codes_are_for_the_devices_of_the_store_alone(shops: Shops) -> None:
    checkout = pending(shops)
    present_it = api.PresentCheckoutRequest(request_id=new_request_id(), checkout_id=checkout.checkout_id)
    renew = api.RenewLaneStickerRequest(request_id=new_request_id(), lane=DEVICE)
    read = api.GetLaneStickerRequest(lane=DEVICE)
    others = {"STORE_DENIED": (Role.DEVICE, (THERE, DEVICE)), "ROLE_DENIED": (Role.PLATFORM, (ALL,))}
    for reason, (role, names) in others.items():
        service = presenting(shops, role, *names)
        for method, request in (("PresentCheckout", present_it), ("RenewLaneSticker", renew), ("GetLaneSticker", read)):
            assert refusal(getattr(service, method), request).reason == reason
