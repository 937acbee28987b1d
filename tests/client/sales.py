"""Sales at a till, by `tillmesh.client`, and what is seen of them behind its back."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.links import Link
from tests.terminal.till import Behind
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.client import Item, Line, Money, Said, Sale, Till
from tillmesh.runtime.ids import new_request_id

TEA = Line(sku="TEA", title="Tea", quantity=2, unit_price_minor=125)
PRICE = Money("GBP", 250)
CUP = Item(sku="CUP", title="Cup", quantity=1, unit_price_minor=30)


@dataclass(frozen=True)
class Counter:
    """A till's place: its link to the terminal, its disk, and what stands behind."""

    link: Link
    behind: Behind
    journal: Path
    orders: Link | None = None
    """The terminal's link to the order service, where a test breaks it."""

    def till(self, **options: Any) -> AbstractAsyncContextManager[Till]:
        """The till is switched on."""
        return Till.connect(self.link.address, certificates=None, journal=self.journal, **options)

    def payments(self, sale: Sale) -> list[str]:
        """How the payments of a sale stand."""
        return self.behind.payment_states(checkout_pb2.Checkout(checkout_id=sale.checkout_id))


async def heard(sale: Sale) -> list[str]:
    """All that a till is told of a sale, to the caller's turn."""
    return [f"{said.verdict} {said.reason}".rstrip() async for said in sale.follow()]


def say_yes(behind: Behind, said: Said) -> None:
    """The shopper's yes to what the till shows, on the phone."""
    consent = payments_api.ConfirmPaymentRequest(
        request_id=new_request_id(),
        payment_id=said.checkout.payment_id,
        store_id=said.checkout.store_id,
        amount=said.checkout.amount,
    )
    behind.payments.ConfirmPayment(consent)
