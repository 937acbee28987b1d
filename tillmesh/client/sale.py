"""One sale at a till, from the basket to the goods, or to its end without them."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from google.protobuf.message import Message
from grpc import aio

from tillmesh.api.terminal.v1 import checkout_pb2, presentation_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import presentation_service_pb2 as presentation_api
from tillmesh.api.terminal.v1 import scan_service_pb2 as scan_api
from tillmesh.api.terminal.v1.decision_pb2 import Decision
from tillmesh.api.type.v1.line_item_pb2 import Adjustment
from tillmesh.client.failures import Failure
from tillmesh.client.followed_sale import FollowedSale
from tillmesh.client.journal import Entry
from tillmesh.client.refund import refund_of
from tillmesh.client.verdicts import Repaid, Said, Undone, Verdict
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money

Line = api.NewLine
"""A line to add: sku and quantity, and title, unit_price_minor and more where the catalogue does not have them."""
Scanned = scan_api.ScanItemResponse
"""What a scan was: an article that was added, a pay code, a receipt, or an article that needs a decision."""
OVERTAKEN = frozenset(
    {
        "CHECKOUT_PAID",
        "CHECKOUT_CANCELED",
        "PAYMENT_UNDER_WAY",
        "NO_PAYMENT",
        "PAYMENT_NOT_WAITING",
        "ORDER_LOCKED",
        "ORDER_ALREADY_PAID",
        "ORDER_CANCELED",
    }
)
"""Refusals that say no more than that somebody else was faster: a phone, another till, or the payer."""
Req = TypeVar("Req", bound=Message)


class MayNotPay(Failure):
    """The terminal does not know what became of the last payment, so no other one may be started."""


class Sale(FollowedSale):
    """A sale that a `Till` made or took up.

    Each call is repeated until it is answered, under one request id. It raises the terminal's `Refusal`, after which
    nothing was changed. The calls change what `said` says. Where somebody else was faster than a payment, a PIN or a
    cancellation, those raise nothing: how the sale stands now is their answer.
    """

    async def scan(
        self, scanned: str, *, quantity: int = 0, decided: "Sequence[Decision.Kind.ValueType]" = ()
    ) -> Scanned:
        """Adds what a scanner sent, byte for byte, or says what else it is."""
        request = scan_api.ScanItemRequest(
            request_id=new_request_id(),
            checkout_id=self.checkout_id,
            basket_version=self.said.checkout.basket_version,
            scanned=scanned,
            quantity=quantity,
            decided=decided,
        )
        answer = await self._desk.read(self._desk.connections.scans.ScanItem, request)
        await self._take(answer.checkout)
        return answer

    async def add(self, *lines: Line) -> Said:
        """Adds lines at the end."""
        request = api.AddLinesRequest(
            request_id=new_request_id(),
            checkout_id=self.checkout_id,
            basket_version=self.said.checkout.basket_version,
            lines=lines,
        )
        return await self._ask(self._till.AddLines, request)

    async def set_line(
        self,
        line_number: int,
        *,
        quantity: int | None = None,
        unit_price_minor: int | None = None,
        reason: str = "",
        note: str | None = None,
    ) -> Said:
        """Changes quantity, price (with its reason) or note of a line."""
        request = api.UpdateLineRequest(
            request_id=new_request_id(),
            checkout_id=self.checkout_id,
            basket_version=self.said.checkout.basket_version,
            line_number=line_number,
            quantity=quantity,
            unit_price_minor=unit_price_minor,
            override_reason=reason,
            note=note,
        )
        return await self._ask(self._till.UpdateLine, request)

    async def remove_line(self, line_number: int) -> Said:
        """Removes a line, and its deposit with it."""
        request = api.RemoveLineRequest(
            request_id=new_request_id(),
            checkout_id=self.checkout_id,
            basket_version=self.said.checkout.basket_version,
            line_number=line_number,
        )
        return await self._ask(self._till.RemoveLine, request)

    async def adjust(self, amount_minor: int, *, line_number: int = 0, code: str = "DISCOUNT", text: str = "") -> Said:
        """Changes the price of a line, or of the basket; a discount is below zero."""
        request = api.AdjustCheckoutRequest(
            request_id=new_request_id(),
            checkout_id=self.checkout_id,
            basket_version=self.said.checkout.basket_version,
            line_number=line_number,
            adjustment=Adjustment(reason_code=code, text=text, amount_minor=amount_minor),
        )
        return await self._ask(self._till.AdjustCheckout, request)

    async def park(self, *, label: str = "", owner: str = "") -> Said:
        """Puts it aside until somebody recalls it."""
        request = api.ParkCheckoutRequest(
            request_id=new_request_id(),
            checkout_id=self.checkout_id,
            basket_version=self.said.checkout.basket_version,
            owner=owner,
            label=label,
        )
        return await self._ask(self._till.ParkCheckout, request)

    async def recall(self) -> Said:
        """Takes it up again after it was parked."""
        request = api.RecallCheckoutRequest(request_id=new_request_id(), checkout_id=self.checkout_id)
        return await self._ask(self._till.RecallCheckout, request)

    async def submit(self) -> Said:
        """Raises the pending transaction, which can be paid."""
        request = api.SubmitCheckoutRequest(
            request_id=new_request_id(),
            checkout_id=self.checkout_id,
            basket_version=self.said.checkout.basket_version,
        )
        return await self._ask_written(request, request.request_id)

    async def pay(self, pay_code: str = "", *, payment_id: str = "", lane: str = "", cashier_id: str = "") -> Said:
        """Starts a payment of what `said` shows, with the pay code that was scanned if one was. Then `follow`.

        Raises `MayNotPay` while the verdict is DO_NOT_RETRY. After the refusals VERSION_MISMATCH and AMOUNT_MISMATCH
        `read` again, and show the shopper the new amount.
        """
        shown = self.said.checkout
        await self._catch_up()
        if self.outcome is Verdict.DO_NOT_RETRY and (await self.read()).verdict is Verdict.DO_NOT_RETRY:
            raise MayNotPay(f"What became of the last payment of {self.checkout_id} is not known. Start no other one.")
        request = api.PayCheckoutRequest(
            payment_id=payment_id or new_request_id(),
            checkout_id=self.checkout_id,
            order_version=shown.order_version,
            amount=shown.amount,
            pay_code=pay_code,
            lane=lane,
            cashier_id=cashier_id,
        )
        self._presented_until = 0.0
        return await self._unless_overtaken(self._ask_written(request, request.payment_id))

    async def enter_pin(self, pin: str) -> Said:
        """The shopper's yes to what `said` shows, keyed in at the till. The PIN is written nowhere."""
        request = api.EnterPinRequest(
            request_id=new_request_id(), checkout_id=self.checkout_id, amount=self.said.checkout.amount, pin=pin
        )
        return await self._unless_overtaken(self._ask(self._till.EnterPin, request))

    async def cancel_payment(self) -> Said:
        """Gives the payment under way up. What is said then, or by `follow`, tells which of the two came first."""
        request = api.CancelCheckoutPaymentRequest(request_id=new_request_id(), checkout_id=self.checkout_id)
        return await self._unless_overtaken(self._ask_written(request, request.request_id))

    async def cancel(self) -> Said:
        """Abandons the sale. Take money in another way only once CLOSED is said."""
        await self._catch_up()
        request = api.CancelCheckoutRequest(request_id=new_request_id(), checkout_id=self.checkout_id)
        return await self._unless_overtaken(self._ask_written(request, request.request_id))

    async def void(self, *, note: str = "", refund_id: str = "", lane: str = "", cashier_id: str = "") -> Undone:
        """Undoes the sale however far it is, also one that is not answered: cancels it, or gives all of it back.

        Repeated until it is CANCELED or REFUNDED; PENDING is answered only where the till's patience is over.
        """
        number = self._said.checkout.checkout_id if self._said else self._subject
        request = api.VoidCheckoutRequest(
            refund_id=refund_id or new_request_id(),
            checkout_id=number,
            note=note,
            lane=lane,
            cashier_id=cashier_id,
        )
        entry = Entry(request.refund_id, self._subject, request)
        await self._desk.journal.write(entry)
        return await self._undone(entry)

    async def refund(
        self, amount: Money | None = None, *, lines: Mapping[int, int] | None = None, note: str = ""
    ) -> Repaid:
        """Gives back an amount, quantities by line number, or with neither all that is left."""
        return await refund_of(self._desk, self.checkout_id, amount=amount, lines=lines, note=note)

    async def present(self, *, lane: str = "") -> presentation_pb2.Presentation:
        """Shows the order as a QR code, whose text is `code`: a phone claims it, and pays. Then `follow`."""
        request = presentation_api.PresentCheckoutRequest(
            request_id=new_request_id(), checkout_id=self.checkout_id, lane=lane
        )
        shown = await self._desk.read(self._desk.connections.presentations.PresentCheckout, request)
        now = asyncio.get_running_loop().time()
        self._presented_until = now + shown.remaining.ToMilliseconds() / 1000
        return shown

    async def _ask(self, method: aio.UnaryUnaryMultiCallable[Req, checkout_pb2.Checkout], request: Req) -> Said:
        return await self._take(await self._desk.read(method, request))

    async def _unless_overtaken(self, asked: Awaitable[Said]) -> Said:
        """What came of it; where somebody else was faster, how the sale stands now."""
        try:
            return await asked
        except Refusal as refusal:
            if refusal.reason not in OVERTAKEN:
                raise
        return await self.read()

    async def _ask_written(self, request: Message, request_id: str) -> Said:
        entry = Entry(request_id, self._subject, request)
        await self._desk.journal.write(entry)
        return await self._take(await self._settled(entry))
