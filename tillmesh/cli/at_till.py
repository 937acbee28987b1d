"""The actions of a shopper at the till: show a pay code, enter a PIN."""

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.cli.client import Addresses, Client
from tillmesh.cli.display import VERDICT_WORDS, amount, out, verdict_name
from tillmesh.cli.options import DEFAULT, OrderId, Terminal, run_async
from tillmesh.cli.prompts import ask_pay_code, ask_pin
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret


def pay_by_code(order_id: str, terminal: str) -> None:
    """Asks for a pay code and pays with it what the till shows."""
    code = ask_pay_code()

    async def act() -> checkout_pb2.Checkout:
        async with Client(Addresses(terminal=terminal)) as client:
            request = payment_by_code(await read_checkout(client, order_id), code)
            return await client.call(client.till.PayCheckout, request, timeout_s=30)

    _show(run_async(act()))


def enter_pin(order: OrderId, terminal: Terminal = DEFAULT.terminal) -> None:
    """Key in the payer's PIN at the till, for a payment that waits for it; asks for it, or reads it from stdin."""
    pin = ask_pin()

    async def act() -> checkout_pb2.Checkout:
        async with Client(Addresses(terminal=terminal)) as client:
            request = consent_by_pin(await read_checkout(client, order), pin)
            return await client.call(client.till.EnterPin, request, timeout_s=30)

    _show(run_async(act()))


async def read_checkout(client: Client, order_id: str) -> checkout_pb2.Checkout:
    """The till's view of an order."""
    return await client.call(client.till.GetCheckout, api.GetCheckoutRequest(checkout_id=order_id))


def submit(basket: checkout_pb2.Checkout) -> api.SubmitCheckoutRequest:
    """A request to raise the pending transaction of a basket as it is now."""
    return api.SubmitCheckoutRequest(
        request_id=new_request_id(), checkout_id=basket.checkout_id, basket_version=basket.basket_version
    )


def payment_by_code(checkout: checkout_pb2.Checkout, code: Secret | None) -> api.PayCheckoutRequest:
    """A request to pay a checkout as it is now, with the pay code that was scanned if one was."""
    return api.PayCheckoutRequest(
        payment_id=new_request_id(),
        checkout_id=checkout.checkout_id,
        order_version=checkout.order_version,
        amount=checkout.amount,
        pay_code=code.value.decode() if code else "",
    )


def consent_by_pin(checkout: checkout_pb2.Checkout, pin: Secret) -> api.EnterPinRequest:
    """The payer's yes, keyed in at the till, to what it shows."""
    return api.EnterPinRequest(
        request_id=new_request_id(), checkout_id=checkout.checkout_id, amount=checkout.amount, pin=pin.value.decode()
    )


def _show(checkout: checkout_pb2.Checkout) -> None:
    because = f" ({checkout.verdict_reason})" if checkout.verdict_reason else ""
    name = f", {checkout.payer_display_name}" if checkout.payer_display_name else ""
    out.print(
        f"Order {checkout.checkout_id}, {amount(checkout.amount)}{name}: {verdict_name(checkout)}{because}.",
        markup=False,
    )
    out.print(VERDICT_WORDS[checkout.verdict])
    if checkout.verdict == checkout_pb2.VERDICT_ASK_PAYER:
        out.print(f"To key in the PIN: tillmesh enter-pin {checkout.checkout_id}")
