"""Proves a replay from what the servers say: through their APIs only, never from what was sent."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import account_pb2, payment_pb2, refund_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refund_api
from tillmesh.cli.replay.runner import Outcome
from tillmesh.client.books import read_verified_balances
from tillmesh.client.connections import Client

PAID = order_pb2.Order.STATE_PAID
SETTLE_WITHIN_S = 15.0
SETTLE_POLL_S = 0.25
CAPTURED = payment_pb2.Payment.STATE_CAPTURED


@dataclass
class Check:
    """One thing that must hold, and where it does not."""

    claim: str
    problems: list[str] = field(default_factory=list)

    def require(self, ok: bool, problem: str) -> None:
        """Notes a problem unless `ok`."""
        if not ok:
            self.problems.append(problem)


@dataclass
class Books:
    """The records of one replay in the three databases of a mesh."""

    orders: dict[str, order_pb2.Order]
    captured: dict[str, list[payment_pb2.Payment]]
    """By order."""
    refunds: dict[str, refund_pb2.Refund]
    accounts: dict[str, account_pb2.Account]
    trial_balances: list[account_pb2.TrialBalance]

    def paid_by(self) -> Counter[str]:
        """The total each identity paid, in minor units."""
        paid: Counter[str] = Counter()
        for payment in self.all_captured():
            paid[payment.payer.identity_id] += payment.amount.minor_units
        return paid

    def refunded_to(self) -> Counter[str]:
        """The total each identity got back, in minor units."""
        refunded: Counter[str] = Counter()
        for refund in self.refunds.values():
            refunded[refund.payer.identity_id] += refund.amount.minor_units
        return refunded

    def all_captured(self) -> Iterable[payment_pb2.Payment]:
        """Every captured payment."""
        return (payment for of_order in self.captured.values() for payment in of_order)


async def read_books(client: Client, outcome: Outcome) -> Books:
    """Reads what the servers hold of this replay's checkouts."""
    mine = {sale.checkout_id for sale in outcome.sales} | outcome.unpaid_checkout_ids
    store_id = outcome.store_id
    found = Books({}, defaultdict(list), {}, {}, [])
    list_orders = order_api.ListOrdersRequest(store_id=store_id)
    async for order in client.listed(client.orders.ListOrders, list_orders, lambda page: page.orders):
        if order.order_id in mine:
            found.orders[order.order_id] = order
    list_payments = payment_api.ListPaymentsRequest(store_id=store_id, states=[CAPTURED])
    async for payment in client.listed(client.payments.ListPayments, list_payments, lambda page: page.payments):
        if payment.order_id in mine:
            found.captured[payment.order_id].append(payment)
    my_refunds = {refund.refund_id for refund in outcome.refunds}
    my_payments = {payment.payment_id for payment in found.all_captured()}
    list_refunds = refund_api.ListRefundsRequest(store_id=store_id)
    async for refund in client.listed(client.refunds.ListRefunds, list_refunds, lambda page: page.refunds):
        if refund.refund_id in my_refunds or refund.payment_id in my_payments:
            found.refunds[refund.refund_id] = refund
    list_accounts = account_api.ListAccountsRequest()
    async for account in client.listed(client.accounts.ListAccounts, list_accounts, lambda page: page.accounts):
        found.accounts[account.account_id] = account
    found.trial_balances = await read_verified_balances(client, SETTLE_WITHIN_S)
    return found


async def settled(client: Client, outcome: Outcome) -> tuple[Books, list[Check]]:
    """Books and checks once nothing is under way: an order is PAID a moment before its hold is posted."""
    end = time.monotonic() + SETTLE_WITHIN_S
    while True:
        books = await read_books(client, outcome)
        checks = reconcile(outcome, books)
        if not any(check.problems for check in checks) or time.monotonic() >= end:
            return books, checks
        await asyncio.sleep(SETTLE_POLL_S)


def reconcile(outcome: Outcome, books: Books) -> list[Check]:
    """Every check; the replay is reconciled when none has a problem."""
    return [
        _orders_and_payments(outcome, books),
        _refunds(outcome, books),
        _wallets(outcome, books),
        _trial_balances(books),
        _totals(outcome, books),
    ]


def _orders_and_payments(outcome: Outcome, books: Books) -> Check:
    check = Check("every order is PAID by exactly one captured payment of its amount and version, or not at all")
    for order_id in outcome.unpaid_checkout_ids:
        order = books.orders.get(order_id)
        check.require(order is None or order.state != PAID, f"order {order_id} is PAID, its till was told otherwise")
        check.require(not books.captured.get(order_id), f"order {order_id} is not paid, but money was captured for it")
    for sale in outcome.sales:
        order_id = sale.checkout_id
        order = books.orders.get(order_id, order_pb2.Order())
        check.require(order.state == PAID, f"order {order_id} of invoice {sale.invoice.number} is not PAID")
        captured = books.captured.get(order_id, [])
        check.require(len(captured) == 1, f"order {order_id} has {len(captured)} captured payments")
        for payment in captured:
            same = (payment.payment_id, payment.order_version, payment.amount, payment.payer) == (
                order.payment_id,
                order.version,
                order.amount,
                order.payer,
            )
            check.require(same, f"payment {payment.payment_id} is not what order {order_id} says")
    return check


def _refunds(outcome: Outcome, books: Books) -> Check:
    check = Check("every refund is in the books once, against its own payment, and no payment gives back more")
    made = {refund.refund_id: refund for refund in outcome.refunds}
    by_payment: Counter[str] = Counter()
    for refund_id, refund in books.refunds.items():
        check.require(refund_id in made, f"refund {refund_id} was not asked for by this replay")
        by_payment[refund.payment_id] += refund.amount.minor_units
    for refund_id, asked in made.items():
        refund = books.refunds.get(refund_id, refund_pb2.Refund())
        order = books.orders.get(asked.checkout_id, order_pb2.Order())
        same = (refund.payment_id, refund.amount.minor_units, refund.payer.identity_id) == (
            order.payment_id,
            asked.amount_minor,
            asked.invoice.customer_id,
        )
        check.require(same, f"refund {refund_id} of invoice {asked.invoice.number} is not in the books as asked for")
    for payment in books.all_captured():
        refunded = by_payment[payment.payment_id]
        check.require(
            refunded == payment.refunded.minor_units <= payment.amount.minor_units,
            f"payment {payment.payment_id} says {payment.refunded.minor_units} was refunded, its refunds {refunded}",
        )
    return check


def _wallets(outcome: Outcome, books: Books) -> Check:
    check = Check("every wallet is deposits - payments + refunds, and nothing is held")
    paid, refunded = books.paid_by(), books.refunded_to()
    for customer_id, wallet in outcome.wallets.items():
        account = books.accounts.get(wallet.account_id, account_pb2.Account())
        due = wallet.opening_minor + wallet.deposits_minor - paid[customer_id] + refunded[customer_id]
        posted, held = account.posted.minor_units, account.held.minor_units
        check.require(posted == due, f"{wallet.account_id} has {posted}, not {due}")
        check.require(held == 0, f"{wallet.account_id} has {held} on hold")
    return check


def _trial_balances(books: Books) -> Check:
    check = Check("the ledger sums to zero in every currency, and every balance is the sum of its entries")
    for balance in books.trial_balances:
        sum_minor = balance.sum.minor_units
        check.require(sum_minor == 0, f"{balance.currency_code} sums to {sum_minor}")
        for account_id in balance.differing_account_ids:
            check.problems.append(f"{account_id} differs from the sum of its transfers")
    return check


def _totals(outcome: Outcome, books: Books) -> Check:
    check = Check("the servers' totals are the file's")
    for sale in outcome.sales:
        order = books.orders.get(sale.checkout_id, order_pb2.Order())
        wanted = sale.invoice.total_minor
        check.require(
            order.amount.minor_units == wanted, f"invoice {sale.invoice.number} is {wanted}, order {order.order_id} not"
        )
    sales_minor = sum(sale.invoice.total_minor for sale in outcome.sales)
    paid_minor = books.paid_by().total()
    check.require(paid_minor == sales_minor, f"paid {paid_minor}, sold {sales_minor}")
    returns_minor = -sum(invoice.total_minor for invoice in outcome.returns)
    refunded_minor = books.refunded_to().total()
    check.require(refunded_minor == returns_minor, f"refunded {refunded_minor}, returned {returns_minor}")
    return check
