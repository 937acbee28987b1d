"""Plays baskets at the terminal: scanned item by item, or sold in one call; several shoppers at a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tillmesh.api.terminal.v1 import checkout_pb2, scan_service_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.groceries.basket_file import Basket
from tillmesh.cli.replay.calls import call
from tillmesh.cli.replay.invoices import Invoice, InvoiceLine, Rejection
from tillmesh.cli.replay.platform import Platform
from tillmesh.cli.replay.runner import Outcome, Sale
from tillmesh.cli.replay.till import NotPaid, Till, require_paid
from tillmesh.client.connections import Client
from tillmesh.client.requests import submit
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import SYSTEM_RNG, new_request_id, new_transaction_number
from tillmesh.runtime.telemetry import adopt_trace

Outcomes = scan_service_pb2.ScanItemResponse.Outcome


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
        self._till = Till(client, currency)
        self._platform = Platform(client, currency)
        self._played = Played(Outcome(wallets=self._platform.wallets))

    async def run(self, baskets: Sequence[Basket], ways: Sequence[Way], concurrency: int) -> Played:
        """Plays all of them one way, then all of them the other way."""
        outcome = self._played.outcome
        outcome.store_id = await self._till.find_store()
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
                        group.create_task(self._shop(shopper, share, way))
            except ExceptionGroup as group_error:
                raise group_error.exceptions[0] from None
            self._played.elapsed_s[way] = time.monotonic() - started
        outcome.elapsed_s = sum(self._played.elapsed_s.values())
        return self._played

    async def _shop(self, shopper: str, share: Sequence[Basket], way: Way) -> None:
        buy = self._scan if way is Way.SCAN else self._sell
        for basket in share:
            adopt_trace(())  # one trace a basket, through all three servers
            invoice = _invoice(basket, shopper, way)
            try:
                await self._buy(invoice, basket, way, buy)
            except (Refusal, NotPaid) as error:
                reason = f"{error.reason}: {error.text}" if isinstance(error, Refusal) else str(error)
                self._played.outcome.rejected.append(Rejection(invoice.number, basket.line_number, reason))
            self._on_done()

    async def _buy(
        self,
        invoice: Invoice,
        basket: Basket,
        way: Way,
        buy: Callable[[str, Basket], Awaitable[checkout_pb2.Checkout]],
    ) -> None:
        started = time.monotonic()
        paid = await buy(invoice.customer_id, basket)
        sale = Sale(invoice, paid.checkout_id, time.monotonic() - started)
        self._played.outcome.unpaid_checkout_ids.discard(paid.checkout_id)
        self._played.outcome.sales.append(sale)
        self._played.sales[way][basket.line_number] = sale

    async def _scan(self, shopper: str, basket: Basket) -> checkout_pb2.Checkout:
        create = api.CreateCheckoutRequest(
            request_id=new_request_id(),
            identity_id=shopper,
            currency_code=self._currency,
            prices_include_tax=True,
        )
        checkout = await call(self._client, self._client.till.CreateCheckout, create)
        self._played.outcome.unpaid_checkout_ids.add(checkout.checkout_id)
        try:
            for each in basket.articles:
                checkout = await self._scanned(checkout, each.ean)
            checkout = await call(self._client, self._client.till.SubmitCheckout, submit(checkout))
            paid = await self._till.pay(checkout, None)
            require_paid(paid)
        except (Refusal, NotPaid):
            await self._till.abandon(checkout.checkout_id)
            raise
        return paid

    async def _scanned(self, checkout: checkout_pb2.Checkout, ean: str) -> checkout_pb2.Checkout:
        request = scan_service_pb2.ScanItemRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            scanned=ean,
        )
        answer = await call(self._client, self._client.scans.ScanItem, request)
        if answer.outcome != Outcomes.OUTCOME_ADDED:
            what = Outcomes.Name(answer.outcome).removeprefix("OUTCOME_")
            raise NotPaid(f"{what}: the scan of {ean} added nothing to the checkout {checkout.checkout_id}")
        return answer.checkout

    async def _sell(self, shopper: str, basket: Basket) -> checkout_pb2.Checkout:
        request = api.SellRequest(
            checkout_id=new_transaction_number(SYSTEM_RNG),
            payment_id=new_request_id(),
            lines=[api.NewLine(sku=each.sku, quantity=1) for each in basket.articles],
            amount=money_pb2.Money(currency_code=self._currency, minor_units=basket.total_minor),
            identity_id=shopper,
            prices_include_tax=True,
        )
        self._played.outcome.unpaid_checkout_ids.add(request.checkout_id)
        checkout = await call(self._client, self._client.till.Sell, request)
        try:
            paid = await self._till.outcome_of(checkout, request.payment_id)
            require_paid(paid)
        except (Refusal, NotPaid):
            await self._till.abandon(checkout.checkout_id)
            raise
        return paid


def _invoice(basket: Basket, shopper: str, way: Way) -> Invoice:
    """A basket as the books are compared with it."""
    lines = tuple(InvoiceLine(each.sku, each.name, 1, each.price_minor) for each in basket.articles)
    return Invoice(f"{way}-{basket.line_number}", basket.line_number, shopper, lines)
