"""Replays invoices through the store terminal, several customers at a time."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import Message
from grpc import aio

from tillmesh.api.payment.v1 import account_service_pb2 as accounts
from tillmesh.api.payment.v1 import identity_service_pb2 as identities
from tillmesh.api.payment.v1 import payment_service_pb2 as payments
from tillmesh.api.terminal.v1 import checkout_pb2 as checkout_types
from tillmesh.api.terminal.v1 import terminal_service_pb2 as terminal
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refunds
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.cli.at_till import payment_by_code
from tillmesh.cli.client import Client
from tillmesh.cli.failures import Unreachable
from tillmesh.cli.phone.device import Phone
from tillmesh.cli.replay.invoices import WALK_IN, Invoice, Line, Rejection
from tillmesh.cli.replay.returns import Purchase, plan_return
from tillmesh.runtime.clock import SystemClock
from tillmesh.runtime.convert import to_money
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money
from tillmesh.runtime.secret import Secret
from tillmesh.runtime.telemetry import adopt_trace

ANSWER_WITHIN_S = 60.0
BACK_WITHIN_S = 15.0
POLL_INTERVAL_S = 0.02

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


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
    """Whoever bought the invoices of a lane, with a phone."""

    device_id: str = field(default_factory=new_request_id)
    purchases: list[Purchase] = field(default_factory=list)


@dataclass
class Wallet:
    """A customer's wallet as this replay uses it."""

    account_id: str
    opening_minor: int
    deposits_minor: int = 0


@dataclass
class Outcome:
    """What this replay did."""

    store_id: str = ""
    sales: list[Sale] = field(default_factory=list)
    unpaid_checkout_ids: set[str] = field(default_factory=set)
    returns: list[Invoice] = field(default_factory=list)
    refunds: list[RefundMade] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    wallets: dict[str, Wallet] = field(default_factory=dict)
    elapsed_s: float = 0.0


class NotPaid(Exception):
    """A checkout or refund that ended without the money moving."""


class Runner:
    """Replays invoices; a customer's own run in file order, one after the other."""

    def __init__(self, client: Client, currency: str, *, on_done: Callable[[Invoice], None]) -> None:
        self._client = client
        self._currency = currency
        self._on_done = on_done
        self._outcome = Outcome()

    async def run(self, invoices: Sequence[Invoice], concurrency: int) -> Outcome:
        """Replays all of them."""
        self._outcome.store_id = await self._find_store()
        await self._allow_returns(invoices)
        if any(invoice.is_walk_in for invoice in invoices):
            await self._open_wallet(WALK_IN)
        started = time.monotonic()
        lanes = iter(_lanes(invoices))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(self._work(lanes))
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        self._outcome.elapsed_s = time.monotonic() - started
        return self._outcome

    async def _work(self, lanes: Iterator[Sequence[Invoice]]) -> None:
        for lane in lanes:
            shopper = Shopper()
            for invoice in lane:
                adopt_trace(())  # one trace an invoice, through all three servers
                await self._replay(invoice, shopper)
                self._on_done(invoice)

    async def _replay(self, invoice: Invoice, shopper: Shopper) -> None:
        try:
            if invoice.customer_id not in self._outcome.wallets:
                await self._open_wallet(invoice.customer_id)
            if invoice.is_return:
                await self._give_back(invoice, shopper.purchases)
            else:
                shopper.purchases.append(await self._sell(invoice, shopper))
        except (Refusal, NotPaid) as error:
            reason = f"{error.reason}: {error.text}" if isinstance(error, Refusal) else str(error)
            self._outcome.rejected.append(Rejection(invoice.number, invoice.line_number, reason))

    async def _sell(self, invoice: Invoice, shopper: Shopper) -> Purchase:
        started = time.monotonic()
        checkout = await self._call(
            self._client.till.CreateCheckout,
            terminal.CreateCheckoutRequest(
                request_id=new_request_id(),
                payer_id=invoice.customer_id,
                currency_code=self._currency,
                lines=[_new_line(line) for line in invoice.lines],
            ),
        )
        self._outcome.unpaid_checkout_ids.add(checkout.checkout_id)
        try:
            submit = terminal.SubmitCheckoutRequest(request_id=new_request_id(), checkout_id=checkout.checkout_id)
            checkout = await self._call(self._client.till.SubmitCheckout, submit)
            paused = time.monotonic()
            await self._deposit(invoice.customer_id, invoice.total_minor)
            code = await self._pay_code(invoice.customer_id, shopper.device_id)
            aside_s = time.monotonic() - paused  # what the shopper does by themselves is no part of a checkout
            await self._pay(checkout, code)
        except (Refusal, NotPaid):
            await self._abandon(checkout.checkout_id)
            raise
        checkout_s = time.monotonic() - started - aside_s
        self._outcome.unpaid_checkout_ids.remove(checkout.checkout_id)
        self._outcome.sales.append(Sale(invoice, checkout.checkout_id, checkout_s))
        return Purchase.of(checkout.checkout_id, invoice.total_minor, invoice.lines)

    async def _pay_code(self, customer_id: str, device_id: str) -> Secret:
        """What the customer's phone shows.

        A key is good for one payment in half a minute, and here days pass in that: the phone gets another each time.
        """
        request = identities.BindDeviceRequest(
            request_id=new_request_id(), identity_id=customer_id, device_id=device_id
        )
        key = (await self._call(self._client.identities.BindDevice, request)).pay_code_key
        return Phone(device_id, customer_id, key.handle, Secret(key.key)).code(SystemClock().now_ms())

    async def _pay(self, checkout: checkout_types.Checkout, code: Secret) -> None:
        """Pays by code and waits for the verdict; gives an undecided payment up at the deadline."""
        request = payment_by_code(checkout, code)
        consent = payments.ConfirmPaymentRequest(
            request_id=new_request_id(),
            payment_id=request.request_id,
            store_id=checkout.store_id,
            amount=checkout.amount,
        )
        checkout = await self._call(self._client.till.PayCheckout, request)
        checkout = await self._decided(checkout, consent)
        if checkout.verdict == checkout_types.VERDICT_WAIT:
            cancel = terminal.CancelCheckoutPaymentRequest(
                request_id=new_request_id(), checkout_id=checkout.checkout_id
            )
            checkout = await self._call(self._client.till.CancelCheckoutPayment, cancel)
            checkout = await self._decided(checkout, consent)
        if checkout.verdict != checkout_types.VERDICT_HAND_OVER_GOODS:
            verdict = checkout_types.Verdict.Name(checkout.verdict).removeprefix("VERDICT_")
            raise NotPaid(f"{checkout.verdict_reason}: the checkout {checkout.checkout_id} was not paid, {verdict}")

    async def _decided(
        self, checkout: checkout_types.Checkout, consent: payments.ConfirmPaymentRequest
    ) -> checkout_types.Checkout:
        undecided = (checkout_types.VERDICT_WAIT, checkout_types.VERDICT_DO_NOT_RETRY)
        end = time.monotonic() + ANSWER_WITHIN_S
        said_yes = False
        while checkout.verdict in undecided and time.monotonic() < end:
            if checkout.verdict_reason == "AWAITING_PAYER" and not said_yes:
                await self._say_yes(consent)
                said_yes = True
            else:
                await asyncio.sleep(POLL_INTERVAL_S)
            request = terminal.GetCheckoutRequest(checkout_id=checkout.checkout_id)
            checkout = await self._call(self._client.till.GetCheckout, request)
        return checkout

    async def _say_yes(self, consent: payments.ConfirmPaymentRequest) -> None:
        """For the customer, as the platform: a till that was killed has lost the code, or there is a limit."""
        try:
            await self._call(self._client.payments.ConfirmPayment, consent)
        except Refusal as refusal:
            if refusal.reason != "PAYMENT_NOT_WAITING":  # the till will hear what it came to
                raise

    async def _give_back(self, invoice: Invoice, purchases: Iterable[Purchase]) -> None:
        plan = plan_return(invoice, [] if invoice.is_walk_in else purchases)
        note = f"invoice {invoice.number}"[:256]
        for part in plan.parts:
            request = refunds.RefundCheckoutRequest(
                request_id=new_request_id(),
                checkout_id=part.purchase.checkout_id,
                amount=to_money(Money(self._currency, part.amount_minor)),
                lines=[_line_item(line) for line in part.lines],
                note=note,
            )
            refund = await self._call(self._client.till_refunds.RefundCheckout, request)
            await self._refunded(invoice, refund)
        if plan.rest:
            without_sale = refunds.ReturnGoodsRequest(
                request_id=new_request_id(),
                payer_id=invoice.customer_id,
                currency_code=self._currency,
                lines=[_line_item(line) for line in plan.rest],
                note=note,
            )
            refund = await self._call(self._client.till_refunds.ReturnGoods, without_sale)
            await self._refunded(invoice, refund)
        self._outcome.returns.append(invoice)

    async def _refunded(self, invoice: Invoice, refund: refunds.TillRefund) -> None:
        """Waits until the shopper has the money."""
        end = time.monotonic() + ANSWER_WITHIN_S
        while refund.state == refunds.TillRefund.STATE_PENDING and time.monotonic() < end:
            await asyncio.sleep(POLL_INTERVAL_S)
            request = refunds.GetTillRefundRequest(refund_id=refund.refund_id)
            refund = await self._call(self._client.till_refunds.GetTillRefund, request)
        if refund.state != refunds.TillRefund.STATE_DONE:
            state = refunds.TillRefund.State.Name(refund.state).removeprefix("STATE_")
            raise NotPaid(f"{refund.reason}: the refund {refund.refund_id} is {state}")
        made = RefundMade(invoice, refund.refund_id, refund.checkout_id, refund.amount.minor_units)
        self._outcome.refunds.append(made)

    async def _find_store(self) -> str:
        """Which store the terminal stands in: a basket says so."""
        create = terminal.CreateCheckoutRequest(
            request_id=new_request_id(), payer_id=WALK_IN, currency_code=self._currency
        )
        basket = await self._call(self._client.till.CreateCheckout, create)
        await self._abandon(basket.checkout_id)
        return basket.store_id

    async def _abandon(self, checkout_id: str) -> None:
        request = terminal.CancelCheckoutRequest(request_id=new_request_id(), checkout_id=checkout_id)
        await self._call(self._client.till.CancelCheckout, request)

    async def _allow_returns(self, invoices: Iterable[Invoice]) -> None:
        """As the operator: lets the store give back what the file says, beside what it already has."""
        returns_minor = -sum(invoice.total_minor for invoice in invoices if invoice.is_return)
        if not returns_minor:
            return
        account_id = f"returns/{self._outcome.store_id}/{self._currency}"
        used_minor = limit_minor = 0
        try:
            request = accounts.GetAccountRequest(account_id=account_id)
            account = await self._call(self._client.accounts.GetAccount, request)
        except Refusal as refusal:
            if refusal.reason != "ACCOUNT_NOT_FOUND":
                raise
        else:
            used_minor, limit_minor = -account.posted.minor_units, account.credit_limit.minor_units
        limit = Money(self._currency, min(max(limit_minor, used_minor + returns_minor), MINOR_UNITS_MAX))
        await self._call(
            self._client.accounts.SetReturnLimit,
            accounts.SetReturnLimitRequest(
                request_id=new_request_id(), store_id=self._outcome.store_id, limit=to_money(limit)
            ),
        )

    async def _open_wallet(self, customer_id: str) -> None:
        """Registers the identity, or finds it with what its wallet holds."""
        create = identities.CreateIdentityRequest(
            request_id=new_request_id(),
            identity_id=customer_id,
            display_name="Walk-in shopper" if customer_id == WALK_IN else f"Customer {customer_id}",
            currency_code=self._currency,
        )
        opening_minor = 0
        try:
            identity = await self._call(self._client.identities.CreateIdentity, create)
        except Refusal as refusal:
            if refusal.reason != "IDENTITY_EXISTS":
                raise
            get = identities.GetIdentityRequest(identity_id=customer_id)
            identity = await self._call(self._client.identities.GetIdentity, get)
            account = accounts.GetAccountRequest(account_id=identity.account_id)
            opening_minor = (await self._call(self._client.accounts.GetAccount, account)).posted.minor_units
        self._outcome.wallets[customer_id] = Wallet(identity.account_id, opening_minor)

    async def _deposit(self, customer_id: str, amount_minor: int) -> None:
        """Puts in what is due."""
        amount = to_money(Money(self._currency, amount_minor))
        request = accounts.CreateDepositRequest(request_id=new_request_id(), identity_id=customer_id, amount=amount)
        await self._call(self._client.accounts.CreateDeposit, request)
        self._outcome.wallets[customer_id].deposits_minor += amount_minor

    async def _call(self, method: aio.UnaryUnaryMultiCallable[Req, Res], request: Req) -> Res:
        """Repeats a call that was not answered, for as long as a server takes to start again.

        The request id makes that safe.
        """
        end = time.monotonic() + BACK_WITHIN_S
        while True:
            try:
                return await self._client.call(method, request, timeout_s=ANSWER_WITHIN_S)
            except Unreachable:
                if time.monotonic() >= end:
                    raise
                await asyncio.sleep(POLL_INTERVAL_S)


def _lanes(invoices: Iterable[Invoice]) -> list[list[Invoice]]:
    """What has to run one after the other: a customer's invoices; walk-in shoppers do not wait for each other."""
    lanes: dict[str, list[Invoice]] = defaultdict(list)
    for position, invoice in enumerate(invoices):
        lanes[f"{WALK_IN} {position}" if invoice.is_walk_in else invoice.customer_id].append(invoice)
    return list(lanes.values())


def _new_line(line: Line) -> terminal.NewLine:
    return terminal.NewLine(
        sku=line.sku, title=line.title, quantity=line.quantity, unit_price_minor=line.unit_price_minor
    )


def _line_item(line: Line) -> line_item_pb2.LineItem:
    return line_item_pb2.LineItem(
        sku=line.sku, title=line.title, quantity=line.quantity, unit_price_minor=line.unit_price_minor
    )
