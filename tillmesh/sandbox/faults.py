"""Faults on purpose in calls about simulated payers. Only a server of a sandbox has them.

They stand around what a server does: nothing in it knows of them, so all that follows is as in any other mesh.
"""

import asyncio
import inspect
import os
import signal
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from tillmesh import paycode
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.errors import Unanswered
from tillmesh.runtime.secret import Secret
from tillmesh.sandbox.payers import PAYERS, PAYMENTS, TERMINAL, Fault, How

REMEMBERED_MAX = 10_000
CRASHES_AFTER_S = 1.0
LOST_CODE = paycode.make("0" * paycode.HANDLE_DIGITS, Secret(b"lost"), 0)
"""The pay code of the payer whose code is lost; no phone has such a handle."""
_PAYER_FIELDS = ("identity_id", "pay_code")
_RECORD_FIELDS = ("order_id", "checkout_id", "payment_id")
_WHILE_CODE_IS_LOST = (
    Fault(TERMINAL, How.CRASH, CRASHES_AFTER_S),
    Fault(PAYMENTS, How.AWAY, 2 * CRASHES_AFTER_S, frozenset({"CreatePayment"})),
)


def disturbed(servicers: Mapping[str, object], server: str, clock: Clock, folder: Path) -> dict[str, object]:
    """The servicers of a server, with the faults of its payers; `folder` is the sandbox's own."""
    faults = _Faults(server, clock, folder)
    return {name: _Disturbed(servicer, faults) for name, servicer in servicers.items()}


class _Disturbed:
    """A servicer whose methods go wrong as the payers of the calls say."""

    def __init__(self, servicer: object, faults: "_Faults") -> None:
        self._servicer = servicer
        self._faults = faults

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        method = getattr(self._servicer, name)
        if inspect.isasyncgenfunction(method):
            return lambda request: self._faults.stream(method, request)
        return lambda request: self._faults.answer(method, name, request)


class _Once(OrderedDict[Any, Any]):
    """The newest of what happened; the oldest is forgotten."""

    def note(self, key: Any, value: Any) -> Any:
        """Keeps a value unless there is one already; returns the one that is kept."""
        kept = self.setdefault(key, value)
        while len(self) > REMEMBERED_MAX:
            self.popitem(last=False)
        return kept


class _Faults:
    def __init__(self, server: str, clock: Clock, folder: Path) -> None:
        self._clock, self._folder = clock, folder
        faults = {payer.identity_id: payer.faults for payer in PAYERS}
        faults[LOST_CODE.value.decode()] = _WHILE_CODE_IS_LOST
        self._of = {
            payer: own
            for payer, all_of in faults.items()
            if (own := [each for each in all_of if each.server == server])
        }
        self._records = _Once()
        """Payer and sale of a record, by its id."""
        self._happened = _Once()

    async def answer(self, method: Callable[[Any], Any], name: str, request: Message) -> Any:
        """What a method answers, if it does."""
        payer, sale = self._learn(request)
        for fault in self._of.get(payer, ()):
            if not fault.calls or name in fault.calls:
                await self._before(fault, sale, request)
        answer = await method(request)
        payer, _ = self._learn(answer, sale, payer)
        is_lost = any(fault.how is How.ANSWER_LOST for fault in self._of.get(payer, ()))
        if is_lost and self._is_first((name, request.SerializeToString(deterministic=True))):
            raise Unanswered("the sandbox lost the answer")
        return answer

    async def stream(self, method: Callable[[Any], Any], request: Message) -> AsyncGenerator[Any]:
        """What a stream sends, until it is cut."""
        async with aclosing(method(request)) as answers:
            async for answer in answers:
                yield answer
                payer, _ = self._learn(answer)
                if any(fault.how is How.CUT for fault in self._of.get(payer, ())):
                    raise Unanswered("the sandbox cut the stream")

    async def _before(self, fault: Fault, sale: str, request: Any) -> None:
        if fault.how is How.SLOW:
            await asyncio.sleep(fault.seconds)
        elif fault.how is How.AWAY:
            now_ms = self._clock.now_ms()
            if now_ms < self._happened.note((fault, sale), now_ms + int(fault.seconds * 1_000)):
                raise Unanswered("the sandbox has this server away")
        elif fault.how is How.BRIEF:
            request.lease.FromMilliseconds(int(fault.seconds * 1_000))
        elif fault.how is How.CRASH and self._crashes_first_for(sale):
            asyncio.get_running_loop().call_later(fault.seconds, os.kill, os.getpid(), signal.SIGKILL)

    def _crashes_first_for(self, sale: str) -> bool:
        """True once for a sale, also over the crash itself."""
        try:
            (self._folder / f"crashed-{sale}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _is_first(self, key: Any) -> bool:
        mark = object()
        return self._happened.note(key, mark) is mark

    def _learn(self, message: Message, sale: str = "", payer: str = "") -> tuple[str, str]:
        """The simulated payer that a message is about, and the sale: both from the message, or from one before."""
        found = list(_strings(message))
        records = [value for name, value in found if name in _RECORD_FIELDS]
        payer = next((value for name, value in found if name in _PAYER_FIELDS and value in self._of), payer)
        for record in records:
            if not payer and record in self._records:
                payer, sale = self._records[record]
        sale = sale or next(iter(records), "")
        if payer:
            for record in records:
                self._records.note(record, (payer, sale))
        return payer, sale


def _strings(message: Message) -> Iterator[tuple[str, str]]:
    """Every text in a message, with the name of its field."""
    for field, value in message.ListFields():
        values = list(value) if field.is_repeated else [value]
        if field.type == field.TYPE_STRING:
            yield from ((field.name, each) for each in values)
        elif field.type == field.TYPE_MESSAGE and isinstance(values[0], Message):  # no map
            for each in values:
                yield from _strings(each)
