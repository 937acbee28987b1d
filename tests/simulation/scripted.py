"""One sale of some kind, and exactly one thing that goes wrong: the failure table.

docs/reliability.md shows what comes out of it; a test compares the two.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.simulation.baskets import gbp, one_thing
from tests.simulation.customer import EXPECTED
from tests.simulation.network import LATE_S, ORDERS, PAST_EVERY_TIMEOUT_S, PAYMENTS, TERMINAL, Fate
from tests.simulation.shoppers import NOT_THERE, Shopper
from tests.simulation.world import Outcome, Parts, World, simulate
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkouts_api

FATES = {
    "lost": Fate(()),
    "doubled": Fate((0.01, 1.0)),
    "late": Fate((PAST_EVERY_TIMEOUT_S + LATE_S / 2,)),
}
WORDS = {
    checkout_pb2.VERDICT_HAND_OVER_GOODS: "paid",
    checkout_pb2.VERDICT_SAFE_TO_RETRY: "not paid",
    checkout_pb2.VERDICT_NOT_TRIED: "not paid",
    checkout_pb2.VERDICT_CLOSED: "canceled",
}
PRICE = 300
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


@dataclass(frozen=True)
class Script:
    """One sale, and what of it can go wrong."""

    name: str
    messages: Sequence[str]
    steps: Sequence[Step]
    cancels: bool = False
    """The shopper gives the payment up while it waits for their yes."""
    by_code: bool = False
    """The shopper shows a pay code, so the payment waits for nothing; else it waits for their yes."""
    free: bool = False
    """The order comes to nothing."""
    at_once: bool = False
    """It is sold in one call."""
    undoes: bool = False
    """It is undone while it waits for the payer's yes."""


PAYING = "SELECT 1 FROM checkouts WHERE state = 'PAYING'"
SALE_WRITTEN_DOWN = Step("the till writes the sale down", TERMINAL, "SELECT 1 FROM outbox WHERE kind = 'CREATE_ORDER'")
ORDER_CREATED = Step("order created", ORDERS, "SELECT 1 FROM orders")
PAID_AT_TILL = Step("the till learns that it is paid", TERMINAL, "SELECT 1 FROM checkouts WHERE state = 'PAID'")
WRITTEN_DOWN = Step("the till writes the payment down", TERMINAL, "SELECT 1 FROM outbox WHERE kind = 'PAY'")
PAYMENT_RECORDED = Step("A: payment recorded", PAYMENTS, "SELECT 1 FROM payments")
ORDER_LOCKED = Step("B: order locked", ORDERS, "SELECT 1 FROM order_payments")
PAYER_ASKED = Step("C: payer asked", PAYMENTS, "SELECT 1 FROM payments WHERE state = 'AWAITING_PAYER'")
MONEY_HELD = Step("C: money held", PAYMENTS, "SELECT 1 FROM payments WHERE state = 'AUTHORIZED'")
ORDER_PAID = Step("D: order paid", ORDERS, "SELECT 1 FROM orders WHERE state = 'PAID'")
HOLD_POSTED = Step("E: hold posted", PAYMENTS, "SELECT 1 FROM payments WHERE state = 'CAPTURED'")

SCRIPTS = (
    Script(
        "purchase",
        ("PayCheckout", "CreatePayment", "LockOrder", "ConfirmPayment", "CompleteOrderPayment"),
        (
            WRITTEN_DOWN, PAYMENT_RECORDED, ORDER_LOCKED, PAYER_ASKED, MONEY_HELD, ORDER_PAID, HOLD_POSTED,
            PAID_AT_TILL,
        ),
    ),
    Script(
        "purchase by pay code",
        ("PayCheckout", "CreatePayment", "LockOrder", "CompleteOrderPayment"),
        (WRITTEN_DOWN, PAYMENT_RECORDED, ORDER_LOCKED, MONEY_HELD, ORDER_PAID, HOLD_POSTED, PAID_AT_TILL),
        by_code=True,
    ),
    Script(
        "cancellation",
        ("CancelCheckoutPayment", "CancelOrderPayment", "GetOrder", "CancelPayment"),
        (
            Step(
                "the till writes the cancellation down", TERMINAL, "SELECT 1 FROM checkouts WHERE payment_canceling"
            ),
            Step("F: order unlocked", ORDERS, "SELECT 1 FROM order_payments WHERE state = 'RELEASED'"),
            Step(
                "the till learns that it is not paid",
                TERMINAL,
                "SELECT 1 FROM outbox WHERE kind = 'PAY' AND state = 'DONE'",
            ),
            Step("payment voided", PAYMENTS, "SELECT 1 FROM payments WHERE state = 'VOIDED'"),
        ),
        cancels=True,
    ),
    Script(
        "order that comes to 0",
        ("PayCheckout", "CompleteFreeOrder"),
        (
            Step("the till writes it down", TERMINAL, "SELECT 1 FROM outbox WHERE kind = 'COMPLETE_FREE_ORDER'"),
            Step("order completed", ORDERS, "SELECT 1 FROM orders WHERE state = 'PAID'"),
            PAID_AT_TILL,
        ),
        free=True,
    ),
    Script(
        "sale in one call",
        ("Sell", "CreateOrder", "CreatePayment", "LockOrder", "CompleteOrderPayment"),
        (
            SALE_WRITTEN_DOWN, ORDER_CREATED, Step("the till starts the payment", TERMINAL, PAYING), PAYMENT_RECORDED,
            ORDER_LOCKED, MONEY_HELD, ORDER_PAID, HOLD_POSTED, PAID_AT_TILL,
        ),
        by_code=True,
        at_once=True,
    ),
    Script(
        "sale that is undone",
        ("VoidCheckout", "CancelOrderPayment", "CancelOrder"),
        (
            Step("the till writes it down", TERMINAL, "SELECT 1 FROM outbox WHERE kind = 'VOID'"),
            Step("F: order unlocked", ORDERS, "SELECT 1 FROM order_payments WHERE state = 'RELEASED'"),
            Step("the till learns that it is not paid", TERMINAL, "SELECT 1 FROM checkouts WHERE payment_reason <> ''"),
            Step("order canceled", ORDERS, "SELECT 1 FROM orders WHERE state = 'CANCELED'"),
            Step("the till learns that it is canceled", TERMINAL, "SELECT 1 FROM checkouts WHERE state = 'CANCELED'"),
        ),
        at_once=True,
        undoes=True,
    ),
)  # fmt: skip


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

    def __init__(self, world: World, script: Script) -> None:
        self.shopper = Shopper(world, "ada")
        self.shopper.basket = one_thing(0 if script.free else PRICE)
        self.shopper.named = not script.by_code
        self._script = script
        if script.at_once:
            self.shopper.expected = EXPECTED | NOT_THERE
        self.verdict = checkout_pb2.VERDICT_UNSPECIFIED
        self.took_s = 0.0

    async def sell(self) -> None:
        """Repeats each request until it is answered; asks until there is a verdict."""
        shopper, loop = self.shopper, asyncio.get_running_loop()
        began_s = loop.time()
        paying = asyncio.ensure_future(self._sell_at_once() if self._script.at_once else self._pay())
        checkout_id = shopper.checkout_id
        void = checkouts_api.VoidCheckoutRequest(refund_id=shopper.new_id(), checkout_id=checkout_id)
        cancel = checkouts_api.CancelCheckoutPaymentRequest(request_id=shopper.new_id(), checkout_id=checkout_id)
        while self.verdict not in WORDS:
            await asyncio.sleep(0.5)
            if self._script.cancels and paying.done():
                await shopper.insist(shopper.till.CancelCheckoutPayment, cancel)
            elif self._script.undoes and paying.done():
                await shopper.insist(shopper.till.VoidCheckout, void)
            elif not (self._script.cancels or self._script.undoes):
                await shopper.confirm(pauses_s=(0.0,))
            checkout = await shopper.look()
            if checkout and (paying.done() or checkout.verdict != checkout_pb2.VERDICT_NOT_TRIED):
                self.verdict = checkout.verdict
        self.took_s = loop.time() - began_s
        await paying

    def _pay(self) -> Coroutine[Any, Any, Any]:
        """Pays the order that was raised before."""
        shopper = self.shopper
        request = checkouts_api.PayCheckoutRequest(
            payment_id=shopper.new_id(),
            checkout_id=shopper.checkout_id,
            order_version=1,
            amount=gbp(shopper.basket.amount_minor),
        )
        if self._script.free:
            shopper.world.consents.free_versions[shopper.checkout_id].add(1)
        if self._script.by_code:
            request.pay_code = shopper.show_code_for(request.payment_id)
        return shopper.insist(shopper.till.PayCheckout, request)

    def _sell_at_once(self) -> Coroutine[Any, Any, Any]:
        """Sells the basket in one call."""
        request = self.shopper.sale(self.shopper if self._script.by_code else None)
        return self.shopper.insist(self.shopper.till.Sell, request, unless={"SALE_TOO_LATE"})


@dataclass(frozen=True)
class Played:
    """What became of a script."""

    word: str
    """What the till said in the end."""
    took_s: float
    """Virtual seconds until it did."""
    outcome: Outcome


def play(parts: Parts, fault: Fault, script: Script) -> Played:
    """One sale, with one fault."""
    tills: list[Till] = []

    async def story(world: World) -> list[Coroutine[Any, Any, None]]:
        till = Till(world, script)
        tills.append(till)
        await till.shopper.open_store()
        await till.shopper.join(funds=500, threshold=PRICE if script.by_code else None)
        if not script.at_once:
            await till.shopper.raise_order()
        world.answers.calm = False
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
    script: Script


def cases() -> Iterator[Case]:
    """Every message of the protocol lost, doubled or late; every process crashed at every step."""
    for script in SCRIPTS:
        for method in script.messages:
            for way in ("request", "answer"):
                for fate in FATES:
                    fault: Fault = MessageGoes(method, way, fate)
                    yield Case(f"{script.name}: this message is", f"{way} of `{method}`", fate, fault, script)
        for step in script.steps:
            for column, (when, down_s) in CRASHES.items():
                fault = ServerCrashes(step, when, down_s)
                row = f"{step.server}: {step.name}"
                yield Case(f"{script.name}: crash at this commit", row, column, fault, script)


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
