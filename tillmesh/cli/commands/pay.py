"""`tillmesh pay`."""

from typing import Annotated

import typer

from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.cli.at_till import at_till
from tillmesh.cli.display import say
from tillmesh.cli.options import DEFAULT, Json, OrderId, Orders, Payments, Terminal, run_async
from tillmesh.cli.prompts import ask_pay_code
from tillmesh.cli.records import show_checkout, show_payment
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.requests import payment_for
from tillmesh.runtime.foreign_text import named
from tillmesh.runtime.ids import new_request_id


def pay_by_code(order_id: str, terminal: str) -> None:
    """Asks for a pay code and pays with it what the till shows."""
    code = ask_pay_code()

    async def act() -> checkout_pb2.Checkout:
        async with at_till(terminal) as till:
            sale = await till.find(order_id)
            return (await sale.pay(code.value.decode())).checkout

    show_checkout(run_async(act()))


def pay(
    order: OrderId,
    pay_code: Annotated[
        bool, typer.Option("--pay-code", help="Pay at the till: asks for the pay code, or reads it from stdin.")
    ] = False,
    orders: Orders = DEFAULT.orders,
    payments: Payments = DEFAULT.payments,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Pay a pending order straight at the payment server, or at the till by pay code."""
    if pay_code:
        pay_by_code(order, terminal)
        return

    async def act() -> payment_pb2.Payment | None:
        async with Client(Addresses(orders=orders, payments=payments)) as client:
            found = await client.call(client.orders.GetOrder, order_api.GetOrderRequest(order_id=order))
            if found.amount.minor_units:
                return await client.call(client.payments.CreatePayment, payment_for(found), timeout_s=30)
            complete = order_api.CompleteFreeOrderRequest(
                request_id=new_request_id(), order_id=order, version=found.version
            )
            await client.call(client.orders.CompleteFreeOrder, complete)
            return None

    payment = run_async(act())
    if payment:
        show_payment(payment)
    else:
        say(f"Order {named(order)} is PAID: there was nothing to pay.")
