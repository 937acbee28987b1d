"""Replays invoices through the store terminal, several customers at a time."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tillmesh.api.terminal.v1 import till_refund_pb2
from tillmesh.cli.replay.baskets import basket
from tillmesh.cli.replay.invoices import WALK_IN, Invoice, Rejection
from tillmesh.cli.replay.platform import Platform, Wallet
from tillmesh.cli.replay.rejections import rejection_of
from tillmesh.cli.replay.returns import Purchase, plan_return
from tillmesh.cli.replay.till import NotPaid, find_store, outcome_of, patient_till, require_paid
from tillmesh.client import Line, Refusal, Repaid, Till
from tillmesh.client.connections import Client
from tillmesh.lines import LineItem
from tillmesh.rpc.line_messages import to_line_item
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money
from tillmesh.runtime.telemetry import adopt_trace

CODE_LOST = "PAY_CODE_LOST"
"""A till that was killed has no code any longer, so the shopper shows another one."""


@dataclass(frozen=True, slots=True)
class Sale:
    """An invoice that was paid."""

    invoice: Invoice
    checkout_id: str
    checkout_s: float


@dataclass(frozen=True, slots=True)
class RefundMade:
    """Money that went back for a return; without a checkout for goods whose sale is not here."""

    invoice: Invoice
    refund_id: str
    checkout_id: str
    amount_minor: int


@dataclass(frozen=True)
class Shopper:
    """The customer of a lane, with a phone."""

    phone_id: str = field(default_factory=new_request_id)
    purchases: list[Purchase] = field(default_factory=list)


@dataclass
class Outcome:
    """The counts of this replay."""

    store_id: str = ""
    sales: list[Sale] = field(default_factory=list)
    unpaid_checkout_ids: set[str] = field(default_factory=set)
    returns: list[Invoice] = field(default_factory=list)
    refunds: list[RefundMade] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    wallets: dict[str, Wallet] = field(default_factory=dict)
    elapsed_s: float = 0.0


class Runner:
    """Replays invoices; a customer's own run in file order, one after the other."""

    def __init__(self, client: Client, currency: str, *, on_done: Callable[[Invoice], None]) -> None:
        self._client = client
        self._currency = currency
        self._on_done = on_done
        self._platform = Platform(client, currency)
        self._outcome = Outcome(wallets=self._platform.wallets)

    async def run(self, invoices: Sequence[Invoice], concurrency: int) -> Outcome:
        """Replays all of them."""
        async with patient_till(self._client) as till:
            return await self._run(till, invoices, concurrency)

    async def _run(self, till: Till, invoices: Sequence[Invoice], concurrency: int) -> Outcome:
        self._outcome.store_id = await find_store(till, self._currency)
        returns_minor = -sum(invoice.total_minor for invoice in invoices if invoice.is_return)
        if returns_minor:
            await self._platform.allow_returns(self._outcome.store_id, returns_minor)
        if any(invoice.is_walk_in for invoice in invoices):
            await self._platform.open_wallet(WALK_IN)
        started = time.monotonic()
        lanes = iter(_lanes(invoices))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(self._work(till, lanes))
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        self._outcome.elapsed_s = time.monotonic() - started
        return self._outcome

    async def _work(self, till: Till, lanes: Iterator[Sequence[Invoice]]) -> None:
        for lane in lanes:
            shopper = Shopper()
            for invoice in lane:
                adopt_trace(())  # one trace an invoice, through all three servers
                await self._replay(till, invoice, shopper)
                self._on_done(invoice)

    async def _replay(self, till: Till, invoice: Invoice, shopper: Shopper) -> None:
        try:
            if invoice.customer_id not in self._outcome.wallets:
                await self._platform.open_wallet(invoice.customer_id)
            if invoice.is_return:
                await self._give_back(till, invoice, shopper.purchases)
            else:
                shopper.purchases.append(await self._sell(till, invoice, shopper))
        except Refusal as refusal:
            self._outcome.rejected.append(rejection_of(invoice, refusal))
        except NotPaid as error:
            self._outcome.rejected.append(Rejection(invoice.number, invoice.line_number, str(error)))

    async def _sell(self, till: Till, invoice: Invoice, shopper: Shopper) -> Purchase:
        started = time.monotonic()
        lines = [_new_line(line) for line in basket(invoice.lines)]
        sale = await till.open(lines, payer=invoice.customer_id, currency=self._currency)
        self._outcome.unpaid_checkout_ids.add(sale.checkout_id)
        try:
            await sale.submit()
            paused = time.monotonic()
            await self._platform.deposit(invoice.customer_id, invoice.total_minor)
            code = await self._platform.pay_code(invoice.customer_id, shopper.phone_id)
            aside_s = time.monotonic() - paused  # what the shopper does by themselves is no part of a checkout
            await sale.pay(code.value.decode())
            while (said := await outcome_of(self._client, sale)).reason == CODE_LOST:
                code = await self._platform.pay_code(invoice.customer_id, shopper.phone_id)
                await sale.pay(code.value.decode())
            require_paid(said)
        except (Refusal, NotPaid):
            await sale.cancel()
            raise
        checkout_s = time.monotonic() - started - aside_s
        self._outcome.unpaid_checkout_ids.remove(sale.checkout_id)
        self._outcome.sales.append(Sale(invoice, sale.checkout_id, checkout_s))
        return Purchase.of(sale.checkout_id, invoice.total_minor, invoice.lines)

    async def _give_back(self, till: Till, invoice: Invoice, purchases: Iterable[Purchase]) -> None:
        plan = plan_return(invoice, [] if invoice.is_walk_in else purchases)
        note = f"invoice {invoice.number}"[:256]
        for part in plan.parts:
            amount = Money(self._currency, part.amount_minor)
            self._refunded(invoice, await till.refund(part.purchase.checkout_id, amount, note=note))
        if plan.rest:
            goods = [to_line_item(line) for line in basket(plan.rest)]
            repaid = await till.take_back(goods, payee=invoice.customer_id, currency=self._currency, note=note)
            self._refunded(invoice, repaid)
        self._outcome.returns.append(invoice)

    def _refunded(self, invoice: Invoice, repaid: Repaid) -> None:
        """Notes that the shopper has the money."""
        refund = repaid.refund
        if not repaid.is_done:
            state = till_refund_pb2.TillRefund.State.Name(refund.state).removeprefix("STATE_")
            raise NotPaid(f"{refund.reason}: the refund {refund.refund_id} is {state}")
        made = RefundMade(invoice, refund.refund_id, refund.checkout_id, refund.amount.minor_units)
        self._outcome.refunds.append(made)


def _lanes(invoices: Iterable[Invoice]) -> list[list[Invoice]]:
    """Groups invoices that must run one after the other: those of one customer. Walk-in shoppers run side by side."""
    lanes: dict[str, list[Invoice]] = defaultdict(list)
    for position, invoice in enumerate(invoices):
        lanes[f"{WALK_IN} {position}" if invoice.is_walk_in else invoice.customer_id].append(invoice)
    return list(lanes.values())


def _new_line(line: LineItem) -> Line:
    return Line(
        sku=line.sku,
        title=line.title,
        quantity=line.quantity,
        unit_price_minor=line.unit_price_minor,
        adjustments=to_line_item(line).adjustments,
    )
