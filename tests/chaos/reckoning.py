"""Holds what a witness was told against what the servers say once all is final."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.chaos.witness import FINAL, Checkout, Payment, TillRefund, Witness
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import account_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as till_api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as till_refunds_api
from tillmesh.client.books import read_verified_balances
from tillmesh.client.connections import Client
from tillmesh.client.failures import Unreachable

Order = order_pb2.Order
FINAL_WITHIN_S = 60.0
STATEMENT_LAG_S_MAX = 30
DEPOSIT = account_pb2.AccountEntry.PURPOSE_DEPOSIT
PAID = (order_pb2.OrderEvent.TYPE_PAID, order_pb2.OrderEvent.TYPE_COMPLETED_FREE)
UNFINISHED = [state for state in Payment.State.values() if state not in (0, *FINAL)]


@dataclass
class Reckoning:
    """What was found, in words; all lists are empty if all is well."""

    lost: list[str] = field(default_factory=list)
    """Acknowledged, and not there."""
    stuck: list[str] = field(default_factory=list)
    """Not final in time."""
    wrong_verdicts: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Any other promise that was not kept."""
    orders: int = 0
    paid: int = 0
    ledger_sum: int = 0
    final_after_s: float = 0.0

    def findings(self) -> list[str]:
        """All of it."""
        return [*self.lost, *self.stuck, *self.wrong_verdicts, *self.broken]


async def unfinished(client: Client) -> list[str]:
    """What is not final yet, in words."""
    orders = orders_api.ListOrdersRequest(states=[Order.STATE_LOCKED])
    payments = payments_api.ListPaymentsRequest(states=UNFINISHED)
    checkouts = till_api.ListCheckoutsRequest()
    refunds = till_refunds_api.ListTillRefundsRequest()
    return [
        *[
            f"order {order.order_id} is locked by {order.payment_id}"
            async for order in client.listed(client.orders.ListOrders, orders, lambda answer: answer.orders)
        ],
        *[
            f"payment {payment.payment_id} is {Payment.State.Name(payment.state)}"
            async for payment in client.listed(client.payments.ListPayments, payments, lambda answer: answer.payments)
        ],
        *[
            f"checkout {checkout.checkout_id} waits for an answer"
            async for checkout in client.listed(client.till.ListCheckouts, checkouts, lambda answer: answer.checkouts)
            if checkout.busy
        ],
        *[
            f"refund {refund.refund_id} waits for an answer"
            async for refund in client.listed(
                client.till_refunds.ListTillRefunds, refunds, lambda answer: answer.refunds
            )
            if refund.state == TillRefund.STATE_PENDING
        ],
    ]


async def wait_until_final(client: Client, since_s: float, within_s: float = FINAL_WITHIN_S) -> list[str]:
    """What is still not final so long after everything was healed."""
    while True:
        try:
            left = await unfinished(client)
        except Unreachable as error:
            left = [str(error)]
        if not left or time.monotonic() - since_s > within_s:
            return left
        await asyncio.sleep(0.1)


async def let_finish(shoppers: Sequence["asyncio.Task[None]"], reckoning: Reckoning) -> None:
    """Waits for shoppers whose shop has closed; one that still waits for an answer is stuck."""
    _, late = await asyncio.wait(shoppers, timeout=FINAL_WITHIN_S)
    reckoning.stuck += ["a shopper still waits for an answer"] * len(late)
    for shopper in late:
        shopper.cancel()
    ends = await asyncio.gather(*shoppers, return_exceptions=True)
    reckoning.broken += [f"a shopper ended with {end!r}" for end in ends if isinstance(end, Exception)]


async def reckon(client: Client, witness: Witness, reckoning: Reckoning) -> None:
    """Compares every acknowledgement, and the servers with each other."""
    orders = client.listed(client.orders.ListOrders, orders_api.ListOrdersRequest(), lambda answer: answer.orders)
    order_by_id = {order.order_id: order async for order in orders}
    listed = client.listed(
        client.payments.ListPayments, payments_api.ListPaymentsRequest(), lambda answer: answer.payments
    )
    payment_by_id = {payment.payment_id: payment async for payment in listed}
    reckoning.orders = len(order_by_id)
    reckoning.paid = sum(order.state == Order.STATE_PAID for order in order_by_id.values())
    reckoning.broken += [*witness.wrong, *_paid_as_captured(order_by_id.values(), payment_by_id.values())]
    await _reckon_orders(client, witness, order_by_id, reckoning)
    await _reckon_checkouts(client, witness, reckoning)
    await _reckon_money(client, witness, payment_by_id, reckoning)
    for order_id in witness.closed:
        if order_id in order_by_id and order_by_id[order_id].state != Order.STATE_CANCELED:
            reckoning.wrong_verdicts.append(f"CLOSED, but order {order_id} is not canceled")
    reckoning.broken += _free_as_nothing(order_by_id.values())
    for payment_id in witness.dead_payments:
        if payment_id in payment_by_id and payment_by_id[payment_id].state == Payment.STATE_CAPTURED:
            reckoning.wrong_verdicts.append(f"SAFE_TO_RETRY, but payment {payment_id} took money")


def _paid_as_captured(orders: Iterable[Order], payments: Iterable[Payment]) -> list[str]:
    """An order is PAID by a payment if and only if that payment is CAPTURED, for the same version and amount."""
    paid = {
        (order.payment_id, order.order_id, order.epoch, order.version, order.amount.minor_units)
        for order in orders
        if order.state == Order.STATE_PAID and order.payment_id
    }
    captured = Counter(
        (payment.payment_id, payment.order_id, payment.epoch, payment.order_version, payment.amount.minor_units)
        for payment in payments
        if payment.state == Payment.STATE_CAPTURED
    )
    per_order = Counter(order_id for _, order_id, *_ in captured)
    return [
        *(f"paid but not captured: {one}" for one in paid - captured.keys()),
        *(f"captured but not paid: {one}" for one in captured.keys() - paid),
        *(f"order {order_id} was paid {count} times" for order_id, count in per_order.items() if count > 1),
    ]


def _free_as_nothing(orders: Iterable[Order]) -> list[str]:
    """What is PAID without a payment came to nothing."""
    return [
        f"order {order.order_id} is paid by nothing"
        for order in orders
        if order.state == Order.STATE_PAID and not order.payment_id and order.amount.minor_units
    ]


async def _reckon_orders(client: Client, witness: Witness, order_by_id: dict[str, Order], reckoning: Reckoning) -> None:
    reckoning.lost += [f"order {order_id}" for order_id in witness.versions.keys() - order_by_id.keys()]
    reckoning.broken += [f"nobody asked for {order_id}" for order_id in order_by_id.keys() - witness.versions.keys()]
    for order_id in order_by_id:
        request = orders_api.ListOrderEventsRequest(order_id=order_id)
        listed = client.listed(client.orders.ListOrderEvents, request, lambda answer: answer.events)
        events = [event async for event in listed]
        if [event.number for event in events] != list(range(1, len(events) + 1)):
            reckoning.broken.append(f"history of order {order_id} has a gap")
        amounts = {event.version: event.amount.minor_units for event in events}
        told = witness.versions[order_id].items()
        reckoning.lost += [f"order {order_id} at {version, amount}" for version, amount in told - amounts.items()]
        said_ms = witness.goods_handed_over_ms.get(order_id)
        paid_ms = [event.event_time.ToMilliseconds() for event in events if event.type in PAID]
        if said_ms is not None and not (paid_ms and paid_ms[0] <= said_ms):
            reckoning.wrong_verdicts.append(f"HAND_OVER_GOODS, but order {order_id} was paid at {paid_ms}")


async def _reckon_checkouts(client: Client, witness: Witness, reckoning: Reckoning) -> None:
    listed = client.listed(client.till.ListCheckouts, till_api.ListCheckoutsRequest(), lambda answer: answer.checkouts)
    checkouts = {checkout.checkout_id: checkout async for checkout in listed}
    reckoning.broken += [f"nobody asked for {key}" for key in checkouts.keys() - witness.checkouts.keys()]
    for checkout_id, told in witness.checkouts.items():
        checkout = checkouts.get(checkout_id)
        if checkout is None:
            reckoning.lost.append(f"checkout {checkout_id}")
        elif (checkout.lines, checkout.amount) != (told.lines, told.amount):
            reckoning.lost.append(f"lines of checkout {checkout_id}")
        elif told.state in (Checkout.STATE_PAID, Checkout.STATE_CANCELED) and checkout.state != told.state:
            reckoning.lost.append(f"{Checkout.State.Name(told.state)} of checkout {checkout_id}")
    kept = till_refunds_api.ListTillRefundsRequest()
    refunds = client.listed(client.till_refunds.ListTillRefunds, kept, lambda answer: answer.refunds)
    states = {refund.refund_id: refund.state async for refund in refunds}
    for refund_id, refund in witness.till_refunds.items():
        if states.get(refund_id) != refund.state:
            reckoning.lost.append(f"refund {refund_id} at the till")


async def _reckon_money(
    client: Client, witness: Witness, payment_by_id: dict[str, Payment], reckoning: Reckoning
) -> None:
    for payment_id, told in witness.payments.items():
        if payment_id not in payment_by_id or payment_by_id[payment_id].state != told.state:
            reckoning.lost.append(f"{Payment.State.Name(told.state)} of payment {payment_id}")
    listed = client.listed(client.refunds.ListRefunds, refunds_api.ListRefundsRequest(), lambda answer: answer.refunds)
    refunds = {refund.refund_id: refund async for refund in listed}
    done = {
        key: one.amount.minor_units for key, one in witness.till_refunds.items() if one.state == TillRefund.STATE_DONE
    }
    for refund_id, amount in {**witness.refunds, **done}.items():
        if refund_id not in refunds or refunds[refund_id].amount.minor_units != amount:
            reckoning.lost.append(f"refund {refund_id} of {amount}")
    for refund_id, refund in witness.till_refunds.items():
        if refund.state == TillRefund.STATE_REFUSED and refund_id in refunds:
            reckoning.broken.append(f"refund {refund_id} was refused, and made")
    for identity_id, deposits in witness.deposits.items():
        account_id = f"wallet/{identity_id}/GBP"
        booked = await _booked_deposits(client, account_id, set(deposits.items()))
        reckoning.lost += [f"deposit {one}" for one in deposits.items() - set(booked)]
        if len(booked) != len(set(booked)):
            reckoning.broken.append(f"a deposit of {identity_id} was booked twice")
        taken = sum(
            one.amount.minor_units
            for one in payment_by_id.values()
            if one.identity_id == identity_id and one.state == Payment.STATE_CAPTURED
        )
        given = sum(
            one.amount.minor_units
            for one in refunds.values()
            if (payment_by_id[one.payment_id].identity_id if one.payment_id else one.payer.identity_id) == identity_id
        )
        account = await client.call(client.accounts.GetAccount, accounts_api.GetAccountRequest(account_id=account_id))
        if (
            account.posted.minor_units != sum(amount for _, amount in booked) - taken + given
            or account.held.minor_units
        ):
            reckoning.broken.append(f"wallet of {identity_id} does not come to its deposits, payments and refunds")
    for balance in await read_verified_balances(client, within_s=60):
        reckoning.ledger_sum += abs(balance.sum.minor_units)
        if balance.sum.minor_units or balance.held.minor_units or balance.differing_account_ids:
            reckoning.broken.append(f"the books do not balance: {balance}")


async def _booked_deposits(client: Client, account_id: str, told: set[tuple[str, int]]) -> list[tuple[str, int]]:
    """Those of a statement, which lags while a transaction of a connection that was cut off is still open."""
    end = time.monotonic() + STATEMENT_LAG_S_MAX
    request = accounts_api.ListAccountEntriesRequest(account_id=account_id)
    while True:
        entries = client.listed(client.accounts.ListAccountEntries, request, lambda answer: answer.entries)
        booked = [(e.reference, e.amount.minor_units) async for e in entries if e.purpose == DEPOSIT]
        if told <= set(booked) or time.monotonic() >= end:
            return booked
        await asyncio.sleep(0.5)
