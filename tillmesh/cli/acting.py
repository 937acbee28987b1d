"""Commands that act as the people around the mesh: the platform, the shop, the payer with a phone."""

import re
from typing import Annotated

import typer

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import account_pb2, deposit_pb2, payment_pb2, wallet_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identity_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallet_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.cli.at_till import pay_by_code, submit
from tillmesh.cli.client import Addresses, Client
from tillmesh.cli.display import amount, out, payer_name
from tillmesh.cli.options import DEFAULT, CurrencyCode, OrderId, Orders, Payments, Terminal, money, run_async
from tillmesh.cli.wallets import ConfirmAbove, PerDayMax, limits_sentence, read_account, wallet_account_id
from tillmesh.runtime.ids import new_request_id

_ITEM = re.compile(r"(?P<sku>[^=@]+)(=(?P<quantity>[0-9]{1,9})(?P<unit>g|ml|mm)?)?(@(?P<price>.+))?")
_UNITS = {
    "g": line_item_pb2.LineItem.UNIT_GRAM,
    "ml": line_item_pb2.LineItem.UNIT_MILLILITER,
    "mm": line_item_pb2.LineItem.UNIT_MILLIMETER,
}

ANYBODY = "-"

PaymentId = Annotated[str, typer.Argument(help="The payment, in full: `tillmesh payments` lists them.")]


def identity(
    identity_id: Annotated[str, typer.Argument(help="The user's id on the online platform.")],
    name: Annotated[str, typer.Option(help="What a till may show. [default: the id]")] = "",
    confirm_above: ConfirmAbove = None,
    per_day_max: PerDayMax = None,
    currency: CurrencyCode = "GBP",
    payments: Payments = DEFAULT.payments,
) -> None:
    """Register an identity, with an empty wallet.

    Without --confirm-above the payer confirms every payment.
    """
    request = identity_api.CreateIdentityRequest(
        identity_id=identity_id,
        display_name=name or identity_id,
        currency_code=currency,
        confirmation_threshold=None if confirm_above is None else money(confirm_above, currency),
        unconfirmed_payments_per_day_max=per_day_max,
    )

    async def act() -> wallet_pb2.Wallet:
        async with Client(Addresses(payments=payments)) as client:
            await client.call(client.identities.CreateIdentity, request)
            get = wallet_api.GetWalletRequest(identity_id=identity_id, currency_code=currency)
            return await client.call(client.wallets.GetWallet, get)

    wallet = run_async(act())
    out.print(f"{wallet.identity_id} pays from {wallet.account_id}. {limits_sentence(wallet)}")


def deposit(
    identity_id: Annotated[str, typer.Argument(help="Whose wallet.")],
    how_much: Annotated[str, typer.Argument(metavar="AMOUNT", help="A decimal such as 25.00.")],
    currency: CurrencyCode = "GBP",
    payments: Payments = DEFAULT.payments,
) -> None:
    """Put money into a wallet."""
    request = account_api.CreateDepositRequest(
        deposit_id=new_request_id(), identity_id=identity_id, amount=money(how_much, currency)
    )

    async def act() -> tuple[deposit_pb2.Deposit, account_pb2.Account]:
        async with Client(Addresses(payments=payments)) as client:
            made = await client.call(client.accounts.CreateDeposit, request)
            return made, await read_account(client, wallet_account_id(identity_id, currency))

    made, account = run_async(act())
    out.print(f"Deposit {made.deposit_id} of {amount(made.amount)} for {made.identity_id}.")
    out.print(f"{account.account_id} has {amount(account.posted)}.")


def sell(
    payer: Annotated[str, typer.Argument(help="The identity that is to pay; - for whoever will show a pay code.")],
    items: Annotated[
        list[str],
        typer.Argument(
            help="SKU, SKU=QUANTITY or SKU=QUANTITY@PRICE. QUANTITY may end in g, ml or mm: PRICE is for 1,000 then."
        ),
    ],
    currency: CurrencyCode = "GBP",
    terminal: Terminal = DEFAULT.terminal,
) -> None:
    """Raise a pending transaction at the till; without a price an item needs the catalogue."""
    create = checkout_api.CreateCheckoutRequest(
        request_id=new_request_id(),
        identity_id="" if payer == ANYBODY else payer,
        currency_code=currency,
        lines=[_new_line(item, currency) for item in items],
    )

    async def act() -> checkout_pb2.Checkout:
        async with Client(Addresses(terminal=terminal)) as client:
            basket = await client.call(client.till.CreateCheckout, create)
            return await client.call(client.till.SubmitCheckout, submit(basket))

    checkout = run_async(act())
    who = "whoever shows a pay code" if payer == ANYBODY else payer
    out.print(f"Order {checkout.checkout_id}: {who} owes {amount(checkout.amount)}.")


def pay(
    order: OrderId,
    pay_code: Annotated[
        bool, typer.Option("--pay-code", help="Pay at the till: asks for the pay code, or reads it from stdin.")
    ] = False,
    orders: Orders = DEFAULT.orders,
    payments: Payments = DEFAULT.payments,
    terminal: Terminal = DEFAULT.terminal,
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
        out.print(f"Order {order} is PAID: there was nothing to pay.")


def payment_for(order: order_pb2.Order) -> payment_api.CreatePaymentRequest:
    """A request to pay an order as it is now."""
    return payment_api.CreatePaymentRequest(
        payment_id=new_request_id(),
        order_id=order.order_id,
        order_version=order.version,
        payer=order.payer,
        amount=order.amount,
    )


def confirm(payment: PaymentId, payments: Payments = DEFAULT.payments) -> None:
    """Say the payer's yes to a payment that waits for it."""

    async def act() -> payment_pb2.Payment:
        async with Client(Addresses(payments=payments)) as client:
            return await client.call(
                client.payments.ConfirmPayment, consent_to(await _payment(client, payment)), timeout_s=30
            )

    show_payment(run_async(act()))


def consent_to(payment: payment_pb2.Payment) -> payment_api.ConfirmPaymentRequest:
    """The payer's yes to what a payment says."""
    return payment_api.ConfirmPaymentRequest(
        request_id=new_request_id(), payment_id=payment.payment_id, store_id=payment.store_id, amount=payment.amount
    )


def cancel(payment: PaymentId, payments: Payments = DEFAULT.payments) -> None:
    """Cancel a payment for its payer; the order is unlocked at once."""
    request = payment_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment)

    async def act() -> payment_pb2.Payment:
        async with Client(Addresses(payments=payments)) as client:
            return await client.call(client.payments.CancelPayment, request)

    show_payment(run_async(act()))


async def _payment(client: Client, payment_id: str) -> payment_pb2.Payment:
    return await client.call(client.payments.GetPayment, payment_api.GetPaymentRequest(payment_id=payment_id))


def show_payment(payment: payment_pb2.Payment) -> None:
    """Prints what became of a payment."""
    state = payment_pb2.Payment.State.Name(payment.state).removeprefix("STATE_")
    because = f" ({payment.reason})" if payment.reason else ""
    out.print(f"Payment {payment.payment_id} of {amount(payment.amount)} for {payment.order_id}: {state}{because}.")
    if payment.state == payment_pb2.Payment.STATE_AWAITING_PAYER:
        who = payment.identity_id or payer_name(payment.payer)
        out.print(f"It waits for {who}: tillmesh confirm {payment.payment_id}")


def _new_line(item: str, currency: str) -> checkout_api.NewLine:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise typer.BadParameter(f"{item!r} is not SKU, SKU=QUANTITY or SKU=QUANTITY@PRICE", param_hint="ITEMS")
    line = checkout_api.NewLine(sku=match["sku"], quantity=int(match["quantity"] or 1))
    if match["unit"]:
        line.unit = _UNITS[match["unit"]]
    if match["price"] is not None:
        line.unit_price_minor = money(match["price"], currency).minor_units
    return line
