"""Checkouts that a till puts aside, and takes up again."""

from tests.processes import DEADLINE_S
from tests.terminal.till import Till
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.runtime.ids import new_request_id


def park_request(
    checkout: checkout_pb2.Checkout, label: str = "table 4", owner: str = "", request_id: str = ""
) -> api.ParkCheckoutRequest:
    return api.ParkCheckoutRequest(
        request_id=request_id or new_request_id(),
        checkout_id=checkout.checkout_id,
        basket_version=checkout.basket_version,
        owner=owner,
        label=label,
    )


def park(
    till: Till,
    checkout: checkout_pb2.Checkout,
    label: str = "table 4",
    owner: str = "",
    request_id: str = "",
    timeout: float = DEADLINE_S,
) -> checkout_pb2.Checkout:
    return till.service.ParkCheckout(park_request(checkout, label, owner, request_id), timeout=timeout)


def recall(till: Till, checkout: checkout_pb2.Checkout, request_id: str = "") -> checkout_pb2.Checkout:
    request = api.RecallCheckoutRequest(request_id=request_id or new_request_id(), checkout_id=checkout.checkout_id)
    return till.service.RecallCheckout(request, timeout=DEADLINE_S)


def parked_ids(till: Till, **filters: object) -> list[str]:
    """What is put aside, newest first."""
    request = api.ListCheckoutsRequest(parked=True, page_size=200, **filters)  # type: ignore[arg-type]
    return [checkout.checkout_id for checkout in till.service.ListCheckouts(request, timeout=DEADLINE_S).checkouts]
