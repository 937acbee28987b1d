"""One purchase, or one cancellation, and exactly one thing that goes wrong: the failure table.

docs/reliability.md shows what comes out of it; a test compares the two.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from tests.simulation.network import LATE_S, ORDERS, PAST_EVERY_TIMEOUT_S, PAYMENTS, TERMINAL, Fate
from tests.simulation.shoppers import Shopper, gbp
from tests.simulation.world import Outcome, Parts, World, simulate
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import terminal_service_pb2 as terminal_api

FATES = {
    "lost": Fate(()),
    "doubled": Fate((0.01, 1.0)),
    "late": Fate((PAST_EVERY_TIMEOUT_S + LATE_S / 2,)),
}
WAITING = (checkout_pb2.VERDICT_UNSPECIFIED, checkout_pb2.VERDICT_WAIT, checkout_pb2.VERDICT_DO_NOT_RETRY)
WORDS = {checkout_pb2.VERDICT_HAND_OVER_GOODS: "paid", checkout_pb2.VERDICT_SAFE_TO_RETRY: "not paid"}
SHORT_S, LONG_S = 2.0, 30.0
CRASHES = {
    f"{when} it, down for {down_s:.0f} s": (when, down_s)
    for down_s in (SHORT_S, LONG_S)
    for when in ("before", "after")
}


@dataclass(frozen=True)
class Step:
    """A transaction of the protocol, known by what it leaves behind."""

    name: str
    server: str
    query: str


PURCHASE_MESSAGES = ("PayCheckout", "CreatePayment", "LockOrder", "ConfirmPayment", "CompleteOrderPayment")
CANCEL_MESSAGES = ("CancelCheckoutPayment", "CancelOrderPayment", "GetOrder", "CancelPayment")
PURCHASE_STEPS = (
    Step("the till writes the payment down", TERMINAL, "SELECT 1 FROM journal WHERE kind = 'PAY'"),
    Step("A: payment recorded", PAYMENTS, "SELECT 1 FROM payments"),
    Step("B: order locked", ORDERS, "SELECT 1 FROM order_payments"),
    Step("C: payer asked", PAYMENTS, "SELECT 1 FROM payments WHERE state = 'AWAITING_PAYER'"),
    Step("C: money held", PAYMENTS, "SELECT 1 FROM payments WHERE state = 'AUTHORIZED'"),
    Step("D: order paid", ORDERS, "SELECT 1 FROM orders WHERE state = 'PAID'"),
    Step("E: hold posted", PAYMENTS, "SELECT 1 FROM payments WHERE state = 'CAPTURED'"),
    Step("the till learns that it is paid", TERMINAL, "SELECT 1 FROM checkouts WHERE state = 'PAID'"),
)
CANCEL_STEPS = (
    Step("the till writes the cancellation down", TERMINAL, "SELECT 1 FROM checkouts WHERE payment_canceling"),
    Step("F: order unlocked", ORDERS, "SELECT 1 FROM order_payments WHERE state = 'RELEASED'"),
    Step(
        "the till learns that it is not paid", TERMINAL, "SELECT 1 FROM journal WHERE kind = 'PAY' AND state = 'DONE'"
    ),
    Step("payment voided", PAYMENTS, "SELECT 1 FROM payments WHERE state = 'VOIDED'"),
)


class Fault(ABC):
    """One thing that goes wrong, once."""

    def __init__(self) -> None:
        self.happened = False

    @abstractmethod
    def prepare(self, world: World) -> None:
        """Lies in wait in a world."""


class MessageGoes(Fault):
    """The first message of a method, to the server or back, has this fate; all others arrive."""

    def __init__(self, method: str, way: str, fate: str) -> None:
        super().__init__()
        self._method, self._is_answer, self._fate = method, way == "answer", FATES[fate]

    def prepare(self, world: World) -> None:
        """Lies in wait in a world."""
        world.network.decide = self._decide

    def _decide(self, _source: str, _target: str, what: str) -> Fate | None:
        words = what.split()
        if self.happened or words[0] != self._method or (len(words) > 2) != self._is_answer:
            return None
        self.happened = True
        return self._fate


class ServerCrashes(Fault):
    """The server of a step dies right before or right after it commits it."""

    def __init__(self, step: Step, when: str, down_s: float) -> None:
        super().__init__()
        self._step, self._when, self._down_s = step, when, down_s

    def prepare(self, world: World) -> None:
        """Lies in wait in a world."""
        node = world.nodes[self._step.server]
        node.down_s = self._down_s, self._down_s
        node.decide = lambda when: self._decide(world, when)

    def _decide(self, world: World, when: str) -> bool:
        # Before its commit, what a transaction wrote is seen on its own connection alone.
        if self.happened or when != self._when or not world.sql(self._step.server, self._step.query):
            return False
        self.happened = True
        return True


class Till:
    """The software of a till, with a shopper before it who does as asked, or thinks better of it."""

    def __init__(self, world: World, *, cancels: bool) -> None:
        self.shopper = Shopper(world, "ada")
        self._cancels = cancels
        self.verdict = checkout_pb2.VERDICT_UNSPECIFIED
        self.took_s = 0.0

    async def sell(self) -> None:
        """Repeats each request until it is answered; asks until there is a verdict."""
        shopper, loop = self.shopper, asyncio.get_running_loop()
        checkout_id, began_s = shopper.checkout_id, loop.time()
        pay = terminal_api.PayCheckoutRequest(
            request_id=shopper.new_id(), checkout_id=checkout_id, order_version=1, amount=gbp(shopper.price)
        )
        paying = asyncio.ensure_future(shopper.insist(shopper.till.PayCheckout, pay))
        cancel = terminal_api.CancelCheckoutPaymentRequest(request_id=shopper.new_id(), checkout_id=checkout_id)
        while self.verdict in WAITING:
            await asyncio.sleep(0.5)
            if not self._cancels:
                await shopper.confirm(pauses_s=(0.0,))
            elif paying.done():
                await shopper.insist(shopper.till.CancelCheckoutPayment, cancel)
            if checkout := await shopper.look():
                self.verdict = checkout.verdict
        self.took_s = loop.time() - began_s
        await paying


@dataclass(frozen=True)
class Played:
    """What became of a script."""

    word: str
    """What the till said in the end."""
    took_s: float
    """Virtual seconds until it did."""
    outcome: Outcome


def play(parts: Parts, fault: Fault, *, cancels: bool) -> Played:
    """One purchase, or one that the shopper cancels, with one fault."""
    tills: list[Till] = []

    async def story(world: World) -> list[Coroutine[Any, Any, None]]:
        till = Till(world, cancels=cancels)
        tills.append(till)
        await till.shopper.join(funds=500, limit=0)
        await till.shopper.raise_order()
        fault.prepare(world)
        return [till.sell()]

    outcome = simulate(parts, 0, story, troubles=False)
    return Played(WORDS.get(tills[0].verdict, "no verdict"), tills[0].took_s, outcome)


@dataclass(frozen=True)
class Case:
    """One cell of the failure table."""

    table: str
    row: str
    column: str
    fault: Fault
    cancels: bool


def cases() -> Iterator[Case]:
    """Every message of the protocol lost, doubled or late; every process crashed at every step."""
    for story, cancels in (("purchase", False), ("cancellation", True)):
        for method in CANCEL_MESSAGES if cancels else PURCHASE_MESSAGES:
            for way in ("request", "answer"):
                for fate in FATES:
                    fault: Fault = MessageGoes(method, way, fate)
                    yield Case(f"{story}: this message is", f"{way} of `{method}`", fate, fault, cancels)
        for step in CANCEL_STEPS if cancels else PURCHASE_STEPS:
            for column, (when, down_s) in CRASHES.items():
                fault = ServerCrashes(step, when, down_s)
                yield Case(f"{story}: crash at this commit", f"{step.server}: {step.name}", column, fault, cancels)


def as_markdown(words: dict[Case, str]) -> str:
    """The failure table, from what each case came to."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for case, word in words.items():
        tables.setdefault(case.table, {}).setdefault(case.row, {})[case.column] = word
    texts = []
    for title, rows in tables.items():
        columns = next(iter(rows.values()))
        lines = [f"| {title} | {' | '.join(columns)} |", f"| --- {'| --- ' * len(columns)}|"]
        lines += [f"| {row} | {' | '.join(cells.values())} |" for row, cells in rows.items()]
        texts.append("\n".join(lines))
    return "\n\n".join(texts)
