"""One sale at a till, from the basket to the goods, or to its end without them."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from google.protobuf.message import Message
from grpc import aio

from tillmesh.api.terminal.v1 import checkout_pb2, presentation_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import presentation_service_pb2 as presentation_api
from tillmesh.api.terminal.v1 import scan_service_pb2 as scan_api
from tillmesh.api.terminal.v1.decision_pb2 import Decision
from tillmesh.api.type.v1.line_item_pb2 import Adjustment
from tillmesh.client.desk import Desk
from tillmesh.client.failures import Failure
from tillmesh.client.journal import Entry
from tillmesh.client.refund import refund_of
from tillmesh.client.verdicts import Outcome, Repaid, Said, Undone, Verdict
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money

LOOK_EVERY_S = 15.0
"""What no event tells is found out by then."""
AFTER_S = 0.1
LATE, NOT_THERE = "SALE_TOO_LATE", "ORDER_NOT_FOUND"
_CODE_LOST = (
    "The till stopped before its terminal had the sale, and the pay code is written nowhere. Nothing was paid. "
    "Sell again, with a new code."
)

Line = api.NewLine
"""A line to add: sku and quantity, and title, unit_price_minor and more where the catalogue does not have them."""
Scanned = scan_api.ScanItemResponse
"""What a scan was: an article that was added, a pay code, a receipt, or an article that needs a decision."""
Req = TypeVar("Req", bound=Message)
_Voided = api.VoidCheckoutRequest
_OPENING = (api.SellRequest, api.CreateCheckoutRequest, api.ResumeCheckoutRequest, api.GetCheckoutRequest)
"""What a sale begins with. Repeated, it tells how the sale stands, so it is kept until that is final."""


class MayNotPay(Failure):
    """The terminal does not know what became of the last payment, so no other one may be started."""


class Sale:
    """A sale that a `Till` made or took up.

    Each call is repeated until it is answered, under one request id. It raises the terminal's `Refusal`, after which
    nothing was changed. The calls change what `said` says.
    """

    def __init__(self, desk: Desk, subject: str, said: Said | None = None) -> None:
        self._desk = desk
        self._till = desk.connections.till
        self._subject = subject
        self._said = said
        self._presented_until = 0.0

    @property
    def said(self) -> Said:
        """What the terminal said last; Failure while it has not answered at all: `follow` the sale first."""
        if self._said is None:
            raise Failure(f"The terminal has not answered yet about {self._subject}. Follow the sale first.")
        return self._said

    @property
    def checkout_id(self) -> str:
        """The number of checkout and order, which receipts and other servers know it by."""
        return self.said.checkout.checkout_id

    @property
    def outcome(self) -> Verdict:
        """The last verdict; WAIT while the terminal has not answered at all."""
        return self._said.verdict if self._said else Verdict.WAIT

    async def follow(self) -> AsyncGenerator[Said]:
        """What the terminal says now, and each change of it, until it is the caller's turn. Use it in a loop.

        It ends after a final verdict; where another payment may start; and, of an order that was presented as a QR
        code, when the code's time is over. First it repeats what was not answered. The sale leaves the journal when
        the loop asks for more after a final verdict. So a till that dies before that hears the verdict again.
        """
        await self._catch_up()
        told: Said | None = None
        async with aclosing(self._watched()) as heard:
            async for _ in heard:
                while told is None or not self.said.shows_the_same_as(told):  # the caller may have done something
                    told = self.said
                    yield told
                if self._is_callers_turn():
                    break
        if self.said.is_final:
            await self._desk.forget(self._subject)

    async def ended(self) -> Said:
        """What the terminal says in the end: follows the sale for a caller that shows nothing meanwhile."""
        async with aclosing(self.follow()) as following:
            async for _ in following:
                pass
        return self.said

    async def read(self) -> Said:
        """Asks how it stands now."""
        request = api.GetCheckoutRequest(checkout_id=self.checkout_id)
        return await self._take(await self._desk.asker.ask(self._till.GetCheckout, request))

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
        answer = await self._desk.asker.ask(self._desk.connections.scans.ScanItem, request)
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
        await self._catch_up()
        if self.outcome is Verdict.DO_NOT_RETRY and (await self.read()).verdict is Verdict.DO_NOT_RETRY:
            raise MayNotPay(f"What became of the last payment of {self.checkout_id} is not known. Start no other one.")
        request = api.PayCheckoutRequest(
            payment_id=payment_id or new_request_id(),
            checkout_id=self.checkout_id,
            order_version=self.said.checkout.order_version,
            amount=self.said.checkout.amount,
            pay_code=pay_code,
            lane=lane,
            cashier_id=cashier_id,
        )
        self._presented_until = 0.0
        return await self._ask_written(request, request.payment_id)

    async def enter_pin(self, pin: str) -> Said:
        """The shopper's yes to what `said` shows, keyed in at the till. The PIN is written nowhere."""
        request = api.EnterPinRequest(
            request_id=new_request_id(), checkout_id=self.checkout_id, amount=self.said.checkout.amount, pin=pin
        )
        return await self._ask(self._till.EnterPin, request)

    async def cancel_payment(self) -> Said:
        """Gives the payment under way up. What is said then, or by `follow`, tells which of the two came first."""
        request = api.CancelCheckoutPaymentRequest(request_id=new_request_id(), checkout_id=self.checkout_id)
        return await self._ask_written(request, request.request_id)

    async def cancel(self) -> Said:
        """Abandons the sale. Take money in another way only once CLOSED is said."""
        await self._catch_up()
        request = api.CancelCheckoutRequest(request_id=new_request_id(), checkout_id=self.checkout_id)
        return await self._ask_written(request, request.request_id)

    async def void(self, *, note: str = "", refund_id: str = "", lane: str = "", cashier_id: str = "") -> Undone:
        """Undoes the sale however far it is, also one that is not answered: cancels it, or gives all of it back.

        Repeated until it is CANCELED or REFUNDED; PENDING is answered only where the till's patience is over.
        """
        number = self._said.checkout.checkout_id if self._said else self._subject
        request = _Voided(
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
        shown = await self._desk.asker.ask(self._desk.connections.presentations.PresentCheckout, request)
        now = asyncio.get_running_loop().time()
        self._presented_until = now + shown.remaining.ToMilliseconds() / 1000
        return shown

    async def open(self, entry: Entry) -> None:
        """Asks for what the sale begins with. Refused, there is no sale, and nothing is or will be paid."""
        try:
            answer = await self._settled(entry)
        except Refusal as refusal:
            if refusal.reason == LATE:  # there is an order, which waits and was not paid
                self._said = Said(checkout_pb2.Checkout(checkout_id=self._subject))
                await self.read()
                return
            if entry.has_lost_secret and refusal.reason == "INVALID_FIELD":
                raise Refusal(refusal.code, "PAY_CODE_LOST", _CODE_LOST) from refusal
            raise
        await self._file(entry, answer.checkout_id)
        await self._take(answer)

    async def _file(self, entry: Entry, checkout_id: str) -> None:
        """Files what the sale begins with under its number, once for each sale."""
        journal = self._desk.journal
        others = [one for one in journal.entries(checkout_id) if one.request_id != entry.request_id]
        if any(isinstance(one.request, _OPENING) for one in others):
            await journal.strike(entry)
        elif entry.subject != checkout_id:
            await journal.move(entry, checkout_id)
        self._subject = checkout_id

    async def _ask(self, method: aio.UnaryUnaryMultiCallable[Req, checkout_pb2.Checkout], request: Req) -> Said:
        return await self._take(await self._desk.asker.ask(method, request))

    async def _ask_written(self, request: Message, request_id: str) -> Said:
        entry = Entry(request_id, self._subject, request)
        await self._desk.journal.write(entry)
        return await self._take(await self._settled(entry))

    async def _settled(self, entry: Entry) -> Any:
        """The answer to an entry. It stays in the journal where a repeat is still of use."""
        is_opening = isinstance(entry.request, _OPENING)
        try:
            answer = await self._desk.ask(entry)
        except Refusal as refusal:
            is_over = is_opening and refusal.reason != LATE
            if is_over or refusal.reason == NOT_THERE:
                await self._desk.forget(self._subject)
            elif not is_opening:
                await self._desk.journal.strike(entry)
            raise
        if not is_opening and not isinstance(entry.request, _Voided):
            await self._desk.journal.strike(entry)
        return answer

    async def _catch_up(self) -> None:
        """Repeats what was written down and not answered. A void undoes whatever was asked before it."""
        entries = self._desk.journal.entries(self._subject)
        voids = [entry for entry in entries if isinstance(entry.request, _Voided)]
        for entry in voids or entries:
            if isinstance(entry.request, _Voided):
                await self._undone(entry)
            elif not isinstance(entry.request, _OPENING):
                with suppress(Refusal):  # the verdict tells what came of it
                    await self._take(await self._settled(entry))
            elif self._said is None:
                await self.open(entry)

    async def _undone(self, entry: Entry) -> Undone:
        """Repeats a void until it is done, or patience is over."""
        end, tries = self._desk.asker.end(), 0
        undone = Undone(await self._settled(entry))
        while undone.outcome is Outcome.PENDING and await self._desk.asker.pause(tries, end):
            tries += 1
            undone = Undone(await self._settled(entry))
        await self._take(undone.answer.checkout)
        if undone.outcome is not Outcome.PENDING:
            await self._desk.forget(self._subject)
        return undone

    async def _take(self, checkout: checkout_pb2.Checkout) -> Said:
        """Takes in what was told, unless something newer is known. What is closed needs no entry any more."""
        known = self._said
        if known is None or _time(known.checkout) <= _time(checkout):
            self._said = Said(checkout)
        if self.outcome is Verdict.CLOSED:
            await self._desk.forget(self._subject)
        return self.said

    def _is_callers_turn(self) -> bool:
        is_presented = asyncio.get_running_loop().time() < self._presented_until
        return self.said.is_final or (self.said.may_pay and not is_presented)

    async def _watched(self) -> AsyncGenerator[Said]:
        """What is said now, and then whenever something happens or time alone may have changed it."""
        if self.said.may_pay:  # it may be long ago that this was said, or a refusal said that it is no longer so
            await self.read()
        yield self.said
        request = api.WatchCheckoutsRequest(checkout_id=self.checkout_id)
        watch = self._desk.connections.watch(self._till.WatchCheckouts, request, self._desk.asker.on_unanswered)
        async with aclosing(watch) as answers:
            coming = asyncio.ensure_future(anext(answers))
            try:
                has_begun = False
                while True:
                    await asyncio.wait([coming], timeout=self._look_in_s())
                    updates: Iterable[api.CheckoutUpdate] = ()
                    if coming.done():
                        updates = coming.result().updates if has_begun else ()
                        has_begun = True
                        coming = asyncio.ensure_future(anext(answers))
                    for update in updates:
                        yield await self._take(update.checkout)
                    if not updates:
                        yield await self.read()
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    def _look_in_s(self) -> float:
        """When to ask: no event tells what time alone changes."""
        left_s = self._presented_until - asyncio.get_running_loop().time()
        ends_s = [end_s for end_s in (self.said.remaining_s, left_s if left_s > 0 else None) if end_s is not None]
        return min([LOOK_EVERY_S, *(end_s + AFTER_S for end_s in ends_s)])


def _time(checkout: checkout_pb2.Checkout) -> int:
    return checkout.update_time.ToNanoseconds()
