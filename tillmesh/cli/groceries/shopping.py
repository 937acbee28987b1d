"""Plays baskets at the terminal: scanned item by item, or sold in one call; several shoppers at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tillmesh.cli.groceries.basket_file import Basket
from tillmesh.cli.replay.invoices import Invoice, InvoiceLine, Rejection
from tillmesh.cli.replay.platform import Platform
from tillmesh.cli.replay.runner import Outcome, Sale
from tillmesh.cli.replay.till import NotPaid, find_store, outcome_of, patient_till, require_paid
from tillmesh.client import Line, Money, Refusal, Scanned, Till
from tillmesh.client import Sale as TillSale
from tillmesh.client.connections import Client
from tillmesh.runtime.ids import SYSTEM_RNG, new_transaction_number
from tillmesh.runtime.telemetry import adopt_trace


class Way(StrEnum):
    """How a basket is played."""

    SCAN = "scan"
    SELL = "sell"


@dataclass
class Played:
    """What came of all baskets, each way."""

    outcome: Outcome
    sales: dict[Way, dict[int, Sale]] = field(default_factory=dict)
    """By the basket's line in the file."""
    elapsed_s: dict[Way, float] = field(default_factory=dict)


class Shopping:
    """Plays baskets; each shopper is one identity, who pays one basket after the other without being asked."""

    def __init__(self, client: Client, currency: str, *, on_done: Callable[[], None]) -> None:
        self._client = client
        self._currency = currency
        self._on_done = on_done
        self._platform = Platform(client, currency)
        self._played = Played(Outcome(wallets=self._platform.wallets))

    async def run(self, baskets: Sequence[Basket], ways: Sequence[Way], concurrency: int) -> Played:
        """Plays all of them one way, then all of them the other way."""
        async with patient_till(self._client) as till:
            return await self._run(till, baskets, ways, concurrency)

    async def _run(self, till: Till, baskets: Sequence[Basket], ways: Sequence[Way], concurrency: int) -> Played:
        outcome = self._played.outcome
        outcome.store_id = await find_store(till, self._currency)
        shares = {f"groceries-{number}": baskets[number::concurrency] for number in range(concurrency)}
        for shopper, share in shares.items():
            await self._platform.open_wallet(shopper)
            if due := sum(basket.total_minor for basket in share):
                await self._platform.deposit(shopper, due * len(ways))
        for way in ways:
            started = time.monotonic()
            self._played.sales[way] = {}
            try:
                async with asyncio.TaskGroup() as group:
                    for shopper, share in shares.items():
                        group.create_task(self._shop(till, shopper, share, way))
            except ExceptionGroup as group_error:
                raise group_error.exceptions[0] from None
            self._played.elapsed_s[way] = time.monotonic() - started
        outcome.elapsed_s = sum(self._played.elapsed_s.values())
        return self._played

    async def _shop(self, till: Till, shopper: str, share: Sequence[Basket], way: Way) -> None:
        buy = self._scan if way is Way.SCAN else self._sell
        for basket in share:
            adopt_trace(())  # one trace a basket, through all three servers
            invoice = _invoice(basket, shopper, way)
            try:
                await self._buy(till, invoice, basket, way, buy)
            except (Refusal, NotPaid) as error:
                reason = f"{error.reason}: {error.text}" if isinstance(error, Refusal) else str(error)
                self._played.outcome.rejected.append(Rejection(invoice.number, basket.line_number, reason))
            self._on_done()

    async def _buy(
        self,
        till: Till,
        invoice: Invoice,
        basket: Basket,
        way: Way,
        buy: Callable[[Till, str, Basket], Awaitable[str]],
    ) -> None:
        started = time.monotonic()
        checkout_id = await buy(till, invoice.customer_id, basket)
        sale = Sale(invoice, checkout_id, time.monotonic() - started)
        self._played.outcome.unpaid_checkout_ids.discard(checkout_id)
        self._played.outcome.sales.append(sale)
        self._played.sales[way][basket.line_number] = sale

    async def _scan(self, till: Till, shopper: str, basket: Basket) -> str:
        sale = await till.open(payer=shopper, currency=self._currency, prices_include_tax=True)
        self._played.outcome.unpaid_checkout_ids.add(sale.checkout_id)
        try:
            for each in basket.articles:
                await _scanned(sale, each.ean)
            await sale.submit()
            await sale.pay()
            require_paid(await outcome_of(self._client, sale))
        except (Refusal, NotPaid):
            await sale.cancel()
            raise
        return sale.checkout_id

    async def _sell(self, till: Till, shopper: str, basket: Basket) -> str:
        checkout_id = new_transaction_number(SYSTEM_RNG)
        self._played.outcome.unpaid_checkout_ids.add(checkout_id)
        sale = await till.sell(
            [Line(sku=each.sku, quantity=1) for each in basket.articles],
            amount=Money(self._currency, basket.total_minor),
            payer=shopper,
            checkout_id=checkout_id,
            prices_include_tax=True,
        )
        try:
            require_paid(await outcome_of(self._client, sale))
        except (Refusal, NotPaid):
            await sale.cancel()
            raise
        return checkout_id


async def _scanned(sale: TillSale, ean: str) -> None:
    answer = await sale.scan(ean)
    if answer.outcome != Scanned.OUTCOME_ADDED:
        what = Scanned.Outcome.Name(answer.outcome).removeprefix("OUTCOME_")
        raise NotPaid(f"{what}: the scan of {ean} added nothing to the checkout {sale.checkout_id}")


def _invoice(basket: Basket, shopper: str, way: Way) -> Invoice:
    """A basket as the books are compared with it."""
    lines = tuple(InvoiceLine(each.sku, each.name, 1, each.price_minor) for each in basket.articles)
    return Invoice(f"{way}-{basket.line_number}", basket.line_number, shopper, lines)
