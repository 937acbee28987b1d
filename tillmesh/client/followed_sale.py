"""How a sale stands: what the terminal says of it, what is not answered yet, and how that is followed."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from typing import Any

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.client.desk import USED_BEFORE, Desk
from tillmesh.client.failures import Failure
from tillmesh.client.journal import Entry
from tillmesh.client.verdicts import Outcome, Said, Undone, Verdict
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

LOOK_EVERY_S = 15.0
"""What no event tells is found out by then."""
LOOK_S_MIN = 1.0
AFTER_S = 0.1
LATE, NOT_THERE, CURSOR_EXPIRED = "SALE_TOO_LATE", "ORDER_NOT_FOUND", "CURSOR_EXPIRED"
MADE_BEFORE = (USED_BEFORE, "CHECKOUT_EXISTS")
"""The number of a sale was used: by this till, under the name of another certificate, or with another payment id."""
_CODE_LOST = (
    "The till stopped before its terminal had the sale, and the pay code is written nowhere. Nothing was paid, and "
    "nothing will be. Sell again, with a new code."
)
_OPENING = (api.SellRequest, api.CreateCheckoutRequest, api.ResumeCheckoutRequest, api.GetCheckoutRequest)
"""What a sale begins with. Repeated, it tells how the sale stands, so it is kept until that is final."""
_KEPT = (*_OPENING, api.VoidCheckoutRequest)


class FollowedSale:
    """A sale as its till knows it."""

    def __init__(self, desk: Desk, subject: str) -> None:
        self._desk = desk
        self._till = desk.connections.till
        self._subject = subject
        self._said: Said | None = None
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
        if self.said.is_final and not any(map(_is_void, self._desk.journal.entries(self._subject))):
            await self._desk.forget(self._subject)

    async def ended(self) -> Said:
        """What the terminal says in the end: follows the sale for a caller that shows nothing meanwhile."""
        async with aclosing(self.follow()) as following:
            async for _ in following:
                pass
        return self.said

    async def read(self) -> Said:
        """Asks how it stands now."""
        return await self._look_up(self.checkout_id)

    async def begin(self, entry: Entry) -> None:
        """Asks for what the sale begins with. Refused, there is no sale, and nothing is or will be paid."""
        try:
            answer = await self._settled(entry)
        except Refusal as refusal:
            if refusal.reason == LATE:  # there is an order, which waits and was not paid
                await self._look_up(self._subject)
                return
            if _was_made_before(entry, refusal):
                await self._read_made_before(entry, refusal)
                return
            if _is_code_lost(entry, refusal):
                await self._shut(refusal)
                return
            raise
        await self._file(entry, answer.checkout_id)
        await self._take(answer)

    async def _look_up(self, checkout_id: str) -> Said:
        request = api.GetCheckoutRequest(checkout_id=checkout_id)
        return await self._take(await self._desk.read(self._till.GetCheckout, request), is_now=True)

    async def _read_made_before(self, entry: Entry, refusal: Refusal) -> None:
        """Takes up the sale that has the number; the refusal stands where there is none."""
        try:
            await self._look_up(self._subject)
        except Refusal as unknown:
            if unknown.reason != "CHECKOUT_NOT_FOUND":
                raise
            await self._desk.journal.strike(entry)
            raise refusal from None

    async def _shut(self, refusal: Refusal) -> None:
        """Uses up the number of a sale whose pay code is lost: a copy that is under way has the code, and would sell.

        Raises PAY_CODE_LOST once nothing can come of the sale.
        """
        request = api.VoidCheckoutRequest(refund_id=new_request_id(), checkout_id=self._subject)
        entry = Entry(request.refund_id, self._subject, request)
        await self._desk.journal.write(entry)
        try:
            undone = await self._undone(entry)
        except Refusal as unknown:
            if unknown.reason != NOT_THERE:
                raise
        else:
            if undone.outcome is Outcome.PENDING:
                return
        raise Refusal(refusal.code, "PAY_CODE_LOST", _CODE_LOST) from refusal

    async def _file(self, entry: Entry, checkout_id: str) -> None:
        """Files what the sale begins with under its number, once for each sale."""
        journal = self._desk.journal
        others = [one for one in journal.entries(checkout_id) if one.request_id != entry.request_id]
        if any(isinstance(one.request, _OPENING) for one in others):
            await journal.strike(entry)
        elif entry.subject != checkout_id:
            await journal.move(entry, checkout_id)
        self._subject = checkout_id

    async def _settled(self, entry: Entry) -> Any:
        """The answer to an entry. It stays in the journal where a repeat is still of use."""
        try:
            answer = await self._desk.ask(entry)
        except Refusal as refusal:
            stays = refusal.reason == LATE or _is_code_lost(entry, refusal) or _was_made_before(entry, refusal)
            if not stays:
                await self._desk.journal.strike(entry)
            if _is_void(entry) and refusal.reason == NOT_THERE:  # nothing can come of its number any more
                await self._desk.forget(self._subject)
            raise
        if not isinstance(entry.request, _KEPT):
            await self._desk.journal.strike(entry)
        return answer

    async def _catch_up(self) -> None:
        """Repeats what was written down and not answered. A void undoes whatever was asked before it."""
        entries = self._desk.journal.entries(self._subject)
        for entry in list(filter(_is_void, entries)) or entries:
            if _is_void(entry):
                await self._undone(entry)
            elif entry.has_lost_secret and isinstance(entry.request, api.PayCheckoutRequest):
                # Without its code it would ask the payer whom the checkout names. The verdict tells what came of it.
                await self._desk.journal.strike(entry)
            elif not isinstance(entry.request, _OPENING):
                with suppress(Refusal):  # the verdict tells what came of it
                    await self._take(await self._settled(entry))
            elif self._said is None:
                await self.begin(entry)
        if self._said is None:  # all that was asked was refused
            await self._look_up(self._subject)

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

    async def _take(self, checkout: checkout_pb2.Checkout, *, is_now: bool = False) -> Said:
        """Takes in what was told, unless something newer is known. What is closed needs no entry any more.

        What `is_now` and what is final counts whatever its time: the terminal's clock may have been put back.
        """
        known, told = self._said, Said(checkout)
        is_newer = is_now or known is None or _time(known.checkout) <= _time(checkout)
        if told.is_final or (is_newer and not (known and known.is_final)):
            self._said = told
        if self.outcome is Verdict.CLOSED:
            await self._desk.forget(self._subject)
        return self.said

    def _is_callers_turn(self) -> bool:
        is_presented = asyncio.get_running_loop().time() < self._presented_until
        return self.said.is_final or (self.said.may_pay and not is_presented)

    async def _watched(self) -> AsyncGenerator[Said]:
        """What is said now, and then whenever something happens or time alone may have changed it."""
        while True:
            try:
                async with aclosing(self._watched_by_one_cursor()) as heard:
                    async for said in heard:
                        yield said
            except Refusal as refusal:  # the terminal's history is another one, as after a restore: it says more
                if refusal.reason != CURSOR_EXPIRED:
                    raise
            await self.read()

    async def _watched_by_one_cursor(self) -> AsyncGenerator[Said]:
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
        return max(LOOK_S_MIN, min([LOOK_EVERY_S, *(end_s + AFTER_S for end_s in ends_s)]))


def _is_code_lost(entry: Entry, refusal: Refusal) -> bool:
    """True for a sale that the terminal has not got, and that lacks the code which it was first sent with."""
    return entry.has_lost_secret and refusal.reason == "INVALID_FIELD"


def _was_made_before(entry: Entry, refusal: Refusal) -> bool:
    """True for a sale whose number was used: it may be this one."""
    return isinstance(entry.request, api.SellRequest) and refusal.reason in MADE_BEFORE


def _is_void(entry: Entry) -> bool:
    return isinstance(entry.request, api.VoidCheckoutRequest)


def _time(checkout: checkout_pb2.Checkout) -> int:
    return checkout.update_time.ToNanoseconds()
