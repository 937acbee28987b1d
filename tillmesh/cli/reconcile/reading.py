"""Reads the lists of all servers into a copy, and single records anew."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from rich.progress import Progress

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import account_pb2, payment_pb2, refund_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refund_api
from tillmesh.api.terminal.v1 import checkout_pb2, till_refund_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as till_refund_api
from tillmesh.api.type.v1 import payer_pb2
from tillmesh.cli.display import payer_name
from tillmesh.cli.reconcile.copy import Copy, Found, keep_all
from tillmesh.client.books import read_balances
from tillmesh.client.connections import Client, DeviceConnections
from tillmesh.runtime.errors import Refusal

Answer = TypeVar("Answer")
_STORES = (account_pb2.Account.KIND_STORE_SALES, account_pb2.Account.KIND_STORE_RETURNS)
_MOVING = (account_pb2.AccountEntry.PHASE_SINGLE, account_pb2.AccountEntry.PHASE_POST)
_HELD = {
    account_pb2.AccountEntry.PHASE_HOLD: 1,
    account_pb2.AccountEntry.PHASE_POST: -1,
    account_pb2.AccountEntry.PHASE_VOID: -1,
}


class Reader:
    """The servers, and the copy that is read into."""

    def __init__(self, client: Client, terminals: dict[str, DeviceConnections], copy: Copy, progress: Progress) -> None:
        self._client = client
        self._terminals = terminals
        self._copy = copy
        self._progress = progress

    async def read_all(self) -> None:
        """Reads every list; those of different servers at the same time."""
        await asyncio.gather(self._orders(), self._books(), *map(self._terminal, self._terminals))

    async def confirm(self, count: int) -> None:
        """Reads the records of each suspected difference anew, and tells it if it is still there."""
        task = self._progress.add_task("read again", total=count)
        for number, suspect in self._copy.suspects():
            await self._read_again(suspect)
            self._copy.confirm(number, suspect)
            self._progress.advance(task)

    def _bar(self, what: str) -> Callable[[int], None]:
        return partial(self._progress.advance, self._progress.add_task(what, total=None))

    async def _orders(self) -> None:
        listed = self._client.listed(
            self._client.orders.ListOrders, order_api.ListOrdersRequest(), lambda page: page.orders
        )
        await keep_all(listed, self._keep_order, self._bar("orders"))

    async def _books(self) -> None:
        """The ledger last: what a payment or refund says here, its entries already had."""
        client = self._client
        payments = client.listed(
            client.payments.ListPayments, payment_api.ListPaymentsRequest(), lambda page: page.payments
        )
        await keep_all(payments, self._keep_payment, self._bar("payments"))
        refunds = client.listed(client.refunds.ListRefunds, refund_api.ListRefundsRequest(), lambda page: page.refunds)
        await keep_all(refunds, self._keep_refund, self._bar("refunds"))
        advance = self._bar("ledger entries of stores")
        accounts = client.listed(
            client.accounts.ListAccounts, account_api.ListAccountsRequest(), lambda page: page.accounts
        )
        async for account in accounts:
            if account.kind in _STORES:
                request = account_api.ListAccountEntriesRequest(account_id=account.account_id)
                entries = client.listed(client.accounts.ListAccountEntries, request, lambda page: page.entries)
                await keep_all(entries, partial(self._book, account.account_id), advance)
        await self._read_balances()

    async def _terminal(self, address: str) -> None:
        till = self._terminals[address]
        checkouts = till.listed(
            till.till.ListCheckouts, checkout_api.ListCheckoutsRequest(), lambda page: page.checkouts
        )
        await keep_all(checkouts, partial(self._keep_checkout, address), self._bar(f"checkouts of {address}"))
        refunds = till.listed(
            till.till_refunds.ListTillRefunds, till_refund_api.ListTillRefundsRequest(), lambda page: page.refunds
        )
        await keep_all(refunds, partial(self._keep_till_refund, address), self._bar(f"refunds of {address}"))

    async def _read_balances(self) -> None:
        self._copy.forget("balances")
        self._copy.forget("differing")
        for balance in await read_balances(self._client):
            self._copy.keep("balances", (balance.currency_code, balance.sum.minor_units))
            for account_id in balance.differing_account_ids:
                self._copy.keep("differing", (account_id,))

    async def _read_again(self, suspect: Found) -> None:
        """The payments of an order and the refunds of a payment as well: there may be more than before."""
        client = self._client
        if suspect.order_id:
            got = client.call(client.orders.GetOrder, order_api.GetOrderRequest(order_id=suspect.order_id))
            await _keep_if_known(got, self._keep_order)
            of_order = payment_api.ListPaymentsRequest(order_id=suspect.order_id)
            async for payment in client.listed(client.payments.ListPayments, of_order, lambda page: page.payments):
                self._keep_payment(payment)
        if suspect.payment_id:
            request = payment_api.GetPaymentRequest(payment_id=suspect.payment_id)
            of_payment = refund_api.ListRefundsRequest(payment_id=suspect.payment_id)
            async for refund in client.listed(client.refunds.ListRefunds, of_payment, lambda page: page.refunds):
                self._keep_refund(refund)
            await _keep_if_known(client.call(client.payments.GetPayment, request), self._keep_payment)
        if suspect.refund_id:
            wanted = refund_api.GetRefundRequest(refund_id=suspect.refund_id)
            await _keep_if_known(client.call(client.refunds.GetRefund, wanted), self._keep_refund)
        if suspect.terminal:
            await self._read_again_at_till(suspect, suspect.terminal)
        if not (suspect.order_id or suspect.payment_id or suspect.refund_id):
            await self._read_balances()

    async def _read_again_at_till(self, suspect: Found, address: str) -> None:
        till = self._terminals[address]
        if suspect.order_id:
            checkout = checkout_api.GetCheckoutRequest(checkout_id=suspect.order_id)
            got = till.call(till.till.GetCheckout, checkout)
            await _keep_if_known(got, partial(self._keep_checkout, address))
        if suspect.refund_id:
            refund = till_refund_api.GetTillRefundRequest(refund_id=suspect.refund_id)
            got_refund = till.call(till.till_refunds.GetTillRefund, refund)
            await _keep_if_known(got_refund, partial(self._keep_till_refund, address))

    def _keep_order(self, order: order_pb2.Order) -> None:
        row = (
            order.order_id,
            order.store_id,
            _payer(order.payer),
            order.amount.minor_units,
            order.amount.currency_code,
            order.version,
            order.epoch,
            order_pb2.Order.State.Name(order.state).removeprefix("STATE_"),
            order.payment_id,
            order.lease_remaining.ToMilliseconds(),
            order.terminal_id,
            _ms(order.update_time),
        )
        self._copy.keep("orders", row)

    def _keep_payment(self, payment: payment_pb2.Payment) -> None:
        row = (
            payment.payment_id,
            payment.order_id,
            payment.store_id,
            _payer(payment.payer),
            payment.identity_id,
            payment.amount.minor_units,
            payment.amount.currency_code,
            payment.order_version,
            payment.epoch,
            payment_pb2.Payment.State.Name(payment.state).removeprefix("STATE_"),
            payment.refunded.minor_units,
            _ms(payment.update_time),
        )
        self._copy.keep("payments", row)

    def _keep_refund(self, refund: refund_pb2.Refund) -> None:
        money = refund.amount
        ids = (refund.refund_id, refund.payment_id, refund.store_id, refund.terminal_id)
        self._copy.keep("refunds", (*ids, money.minor_units, money.currency_code, _ms(refund.create_time)))

    def _book(self, account_id: str, entry: account_pb2.AccountEntry) -> None:
        minor, moves = entry.amount.minor_units, entry.phase in _MOVING
        row = (
            entry.reference,
            account_pb2.AccountEntry.Purpose.Name(entry.purpose).removeprefix("PURPOSE_"),
            account_id,
            entry.counterparty_account_id,
            entry.amount.currency_code,
            int(moves),
            minor if moves else 0,
            minor * _HELD.get(entry.phase, 0),
            _ms(entry.entry_time),
        )
        self._copy.book(row)

    def _keep_checkout(self, address: str, checkout: checkout_pb2.Checkout) -> None:
        self._copy.keep("terminals", (address, checkout.store_id, checkout.terminal_id))
        row = (
            checkout.checkout_id,
            address,
            checkout.payment_id,
            checkout.paid_by_payment_id,
            checkout.amount.minor_units,
            checkout.amount.currency_code,
            checkout.order_version,
            checkout_pb2.Checkout.State.Name(checkout.state).removeprefix("STATE_"),
            _ms(checkout.update_time),
        )
        self._copy.keep("checkouts", row)

    def _keep_till_refund(self, address: str, refund: till_refund_pb2.TillRefund) -> None:
        state = till_refund_pb2.TillRefund.State.Name(refund.state).removeprefix("STATE_")
        money = (refund.amount.minor_units, refund.amount.currency_code)
        row = (refund.refund_id, address, refund.checkout_id, *money, state, _ms(refund.create_time))
        self._copy.keep("till_refunds", row)


async def _keep_if_known(got: Awaitable[Answer], keep: Callable[[Answer], None]) -> None:
    """A server that does not know a record has nothing to add."""
    try:
        keep(await got)
    except Refusal as refusal:
        if refusal.code is not StatusCode.NOT_FOUND:
            raise


def _payer(payer: payer_pb2.Payer) -> str:
    return f"{payer.WhichOneof('payer')}:{payer_name(payer)}"


def _ms(at: Timestamp) -> int:
    return at.ToMilliseconds()
