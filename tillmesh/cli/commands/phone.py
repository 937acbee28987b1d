"""`tillmesh phone`: a payer's own terminal, which is called a phone."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import claim_service_pb2 as claim_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payer_api
from tillmesh.api.payment.v1 import payment_pb2, phone_pb2, wallet_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.type.v1 import payer_pb2
from tillmesh.cli.claim_records import show_claim
from tillmesh.cli.display import amount, date_time, say, show_json, show_table
from tillmesh.cli.event_lines import payment_line
from tillmesh.cli.limits import NewConfirmAbove, NewPerDayMax, limits_sentence, set_limits
from tillmesh.cli.options import DEFAULT, Json, OwnCurrency, PaymentId, Payments, run_async
from tillmesh.cli.phone.client import PhoneClient, enroll, list_phones, set_pin
from tillmesh.cli.phone.device import Phone, SavedPhones, seconds_left
from tillmesh.cli.prompts import ask_claim_code, ask_pin, ask_yes
from tillmesh.cli.qr import show_qr
from tillmesh.cli.records import order_state, show_payment, show_payments, show_statement
from tillmesh.cli.watching import CursorPath, From, Start, Types, Watch, types_of
from tillmesh.client.books import Statement, read_statement
from tillmesh.client.connections import Addresses, Client, tls_dir
from tillmesh.client.failures import Failure
from tillmesh.client.requests import consent_to, payment_for
from tillmesh.client.wallets import find_wallet
from tillmesh.runtime.clock import SystemClock
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.foreign_text import named
from tillmesh.runtime.ids import new_request_id

ASK = "-"
Result = TypeVar("Result")

phone = typer.Typer(
    help="A payer's phone: pay codes, the shop's codes, and the payer's yes. PINs are asked for, or read from standard "
    "input; they are never arguments.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
PhoneId = Annotated[
    str, typer.Option("--phone", envvar="TILLMESH_PHONE", help="Which phone. [default: the only one there is]")
]


@phone.command(
    name="enroll", epilog="**Examples**\n\ntillmesh phone enroll ada --pin\n\ntillmesh phone enroll ada --phone tablet"
)
def enroll_(
    identity: Annotated[str, typer.Argument(help="Whose phone it is to be.")],
    phone_id: Annotated[str, typer.Option("--phone", help="What to call the phone. [default: as its owner]")] = "",
    pin: Annotated[bool, typer.Option("--pin", help="Set the owner's PIN as well: asked for, or from stdin.")] = False,
    payments: Payments = DEFAULT.payments,
) -> None:
    """Make a phone somebody's: what the platform does once, with the private CA of this machine."""
    addresses, new_pin = Addresses(payments=payments), ask_pin(new=True) if pin else None

    async def act() -> Phone:
        async with Client(addresses) as client:
            made = await enroll(client, addresses, identity, phone_id or identity)
            if new_pin:
                await set_pin(client, identity, new_pin)
            return made

    kept = _saved_phones().keep(run_async(act()))
    say(f"The phone of {named(identity)} is {named(kept)}: whoever has that file can pay by code.")
    say("It shows pay codes at once: tillmesh phone code. For all else: tillmesh phone sign-in")


@phone.command("list", epilog="**Example**\n\ntillmesh phone list ada")
def list_(
    identity: Annotated[str, typer.Argument(help="Whose phones.")],
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """List the phones that the platform has bound to an identity."""

    async def look() -> list[phone_pb2.Phone]:
        async with Client(Addresses(payments=payments)) as client:
            return await list_phones(client, client.phones, identity)

    found = run_async(look())
    if show_json(found):
        return
    rows = [(each.phone_id, each.phone_uri, date_time(each.create_time)) for each in found]
    show_table(f"Phones of {named(identity)}", ["phone", "certificate", "bound"], rows)


@phone.command(epilog="**Example**\n\ntillmesh phone sign-in")
def sign_in(phone_id: PhoneId = "", payments: Payments = DEFAULT.payments) -> None:
    """Sign the owner in, by PIN; ends the session that the phone has."""
    pin = ask_pin()
    signed_in = _on_line(phone_id, payments, lambda line: line.sign_in(pin))
    _saved_phones().keep(signed_in)
    say(f"{signed_in.identity_id} is signed in on {signed_in.phone_id}.")


@phone.command(epilog="**Example**\n\ntillmesh phone sign-out")
def sign_out(phone_id: PhoneId = "", payments: Payments = DEFAULT.payments) -> None:
    """End the session; pay codes go on."""

    async def act(line: PhoneClient) -> Phone:
        await line.call(line.payers.SignOut, payer_api.SignOutRequest())
        return replace(line.phone, token=None)

    signed_out = _on_line(phone_id, payments, act)
    _saved_phones().keep(signed_out)
    say(f"Nobody is signed in on {signed_out.phone_id} now.")


@phone.command(epilog="**Examples**\n\ntillmesh phone code --qr\n\ntillmesh phone code | tillmesh pay ORDER --pay-code")
def code(
    phone_id: PhoneId = "",
    qr: Annotated[bool, typer.Option("--qr", help="Also as a QR code to be scanned.")] = False,
) -> None:
    """Show a pay code to a till; needs no connection. Each is good for one payment."""
    now_ms = SystemClock().now_ms()
    digits = _saved_phones().take(phone_id).code(now_ms).value.decode()
    typer.echo(" ".join(digits[start : start + 4] for start in range(0, len(digits), 4)))
    if qr:
        show_qr(digits)
    typer.echo(f"Good for one payment, for {seconds_left(now_ms)} more seconds.", err=True)


@phone.command(epilog="**Example**\n\ntillmesh phone new-key")
def new_key(phone_id: PhoneId = "", payments: Payments = DEFAULT.payments) -> None:
    """Make another key for pay codes: what somebody may have copied no longer counts."""
    renewed = _on_line(phone_id, payments, PhoneClient.new_key)
    _saved_phones().keep(renewed)
    say(f"{renewed.phone_id} has a new key; its old codes no longer count.")


@phone.command(epilog="**Example**\n\ntillmesh phone pending")
def pending(
    phone_id: PhoneId = "",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """List what the owner still has to pay, at all shops."""
    found = _on_line(phone_id, payments, _pending)
    if show_json(found):
        return
    rows = [
        (order.order_id, date_time(order.create_time), order.store_id, amount(order.amount), order_state(order))
        for order in found
    ]
    show_table("To be paid", ["order", "raised", "store", "amount", "state"], rows, right=["amount"])


@phone.command(
    epilog="**Examples**\n\ntillmesh phone claim TILLMESH-CLAIM1/store-1/MFRGGZDFMZTWQ2LKNNWG23TPOA --pay\n\n"
    "tillmesh present 7K3M-9Q2X-VB4T | tillmesh phone claim - --pay --yes"
)
def claim(
    code: Annotated[
        str, typer.Argument(help="The text of the shop's QR code; - asks for it, or reads it from stdin.")
    ] = ASK,
    pay: Annotated[bool, typer.Option("--pay", help="Pay as well, after a yes to what is shown.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --pay: say yes without being asked.")] = False,
    phone_id: PhoneId = "",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Claim the order behind a shop's QR code: see it, and be the one phone that may pay it."""
    if yes and not pay:
        raise typer.BadParameter("needs --pay", param_hint="--yes")
    shown = ask_claim_code().value.decode() if code == ASK else code
    request = claim_api.ClaimOrderRequest(request_id=new_request_id(), code=shown)
    claimed = _on_line(phone_id, payments, lambda line: line.call(line.claims.ClaimOrder, request))
    show_claim(claimed)
    order = claimed.order
    if not pay:
        return
    if not yes:
        ask_yes(f"Pay {amount(order.amount)} to {named(order.store_id)}?")
    show_payment(_on_line(phone_id, payments, lambda line: _pay(line, order)))


@phone.command(epilog="**Example**\n\ntillmesh phone release 7K3M-9Q2X-VB4T")
def release(
    order: Annotated[str, typer.Argument(help="The transaction number of a claimed order.")],
    phone_id: PhoneId = "",
    payments: Payments = DEFAULT.payments,
) -> None:
    """Give a claimed order back, so that another phone can have it."""
    request = claim_api.ReleaseOrderClaimRequest(request_id=new_request_id(), order_id=order)
    _on_line(phone_id, payments, lambda line: line.call(line.claims.ReleaseOrderClaim, request))
    say(f"Order {named(order)} is free for another phone.")


@phone.command(epilog="**Example**\n\ntillmesh phone pay 7K3M-9Q2X-VB4T")
def pay(
    order: Annotated[str, typer.Argument(help="The transaction number, of `tillmesh phone pending` or `phone claim`.")],
    phone_id: PhoneId = "",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Pay a pending or claimed order; that is the owner's yes as well."""

    async def act(line: PhoneClient) -> payment_pb2.Payment:
        return await _pay(line, await _to_pay(line, order))

    show_payment(_on_line(phone_id, payments, act))


@phone.command(epilog="**Example**\n\ntillmesh phone confirm 0d9c3a52-6f1e-4b7c-9a64-2f1f6c1f0a11")
def confirm(
    payment: PaymentId,
    phone_id: PhoneId = "",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Say yes to a payment that a till asked for."""

    async def act(line: PhoneClient) -> payment_pb2.Payment:
        asked = await line.call(line.payments.GetPayment, payment_api.GetPaymentRequest(payment_id=payment))
        return await line.call(line.payments.ConfirmPayment, consent_to(asked), timeout_s=30)

    show_payment(_on_line(phone_id, payments, act))


@phone.command(epilog="**Example**\n\ntillmesh phone cancel 0d9c3a52-6f1e-4b7c-9a64-2f1f6c1f0a11")
def cancel(
    payment: PaymentId,
    phone_id: PhoneId = "",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Say no: the order is unlocked at once."""
    request = payment_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment)
    show_payment(_on_line(phone_id, payments, lambda line: line.call(line.payments.CancelPayment, request)))


@phone.command(name="payments", epilog="**Example**\n\ntillmesh phone payments")
def payments_(
    phone_id: PhoneId = "",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """List the owner's payments, newest first; those that wait for a yes are AWAITING_PAYER."""

    async def look(line: PhoneClient) -> list[payment_pb2.Payment]:
        request = payment_api.ListPaymentsRequest(identity_id=line.phone.identity_id)
        listed = line.listed(line.payments.ListPayments, request, lambda page: page.payments)
        return [payment async for payment in listed]

    show_payments(_on_line(phone_id, payments, look))


@phone.command(
    epilog="**Examples**\n\ntillmesh phone watch\n\ntillmesh phone watch --type locked_for_payer --json | your-program"
)
def watch(
    types: Types = None,
    start: From = Start.NOW,
    cursor_file: CursorPath = None,
    phone_id: PhoneId = "",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Print what happens to the owner's payments as it happens, such as one that waits for a yes."""
    watching = Watch(start, cursor_file, payment_line)
    wanted = types_of(payment_pb2.PaymentEvent, types)

    async def act(line: PhoneClient) -> None:
        request = payment_api.WatchPaymentsRequest(identity_id=line.phone.identity_id)
        request.types.extend(wanted)
        await watching.print_all(line, line.payments.WatchPayments, request)

    with suppress(KeyboardInterrupt):
        _on_line(phone_id, payments, act)


@phone.command(epilog="**Examples**\n\ntillmesh phone statement\n\ntillmesh phone statement --currency EUR")
def statement(
    currency: OwnCurrency = "",
    phone_id: PhoneId = "",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Show everything that moved on the owner's account, oldest first."""

    async def look(line: PhoneClient) -> Statement:
        wallet = await find_wallet(line, line.wallets, line.phone.identity_id, currency)
        return await read_statement(line, line.accounts, wallet.account_id)

    show_statement(_on_line(phone_id, payments, look))


@phone.command(
    epilog="**Examples**\n\ntillmesh phone limits\n\ntillmesh phone limits --confirm-above 20 --per-day-max none"
)
def limits(
    confirm_above: NewConfirmAbove = None,
    per_day_max: NewPerDayMax = None,
    currency: OwnCurrency = "",
    phone_id: PhoneId = "",
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Show or set what a pay code alone may pay. All else waits for the owner's confirmation."""

    async def act(line: PhoneClient) -> wallet_pb2.Wallet:
        found = await find_wallet(line, line.wallets, line.phone.identity_id, currency)
        return await set_limits(line, line.wallets, found, confirm_above, per_day_max)

    found = _on_line(phone_id, payments, act)
    if not show_json([found]):
        say(limits_sentence(found))


async def _pending(line: PhoneClient) -> list[order_pb2.Order]:
    request = payer_api.ListPendingOrdersRequest()
    listed = line.listed(line.payers.ListPendingOrders, request, lambda page: page.orders)
    return [order async for order in listed]


async def _to_pay(line: PhoneClient, order_id: str) -> order_pb2.Order:
    """An order that the owner may pay: raised for them, or claimed."""
    for order in await _pending(line):
        if order.order_id == order_id:
            return order
    try:
        return (await line.call(line.claims.GetOrderClaim, claim_api.GetOrderClaimRequest(order_id=order_id))).order
    except Refusal as refusal:
        if refusal.reason != "CLAIM_NOT_FOUND":
            raise
        raise Failure(f"{line.phone.identity_id} has no order {named(order_id)} to pay.") from refusal


async def _pay(line: PhoneClient, order: order_pb2.Order) -> payment_pb2.Payment:
    request = payment_for(order, payer_pb2.Payer(identity_id=line.phone.identity_id))
    return await line.call(line.payments.CreatePayment, request, timeout_s=30)


def _saved_phones() -> SavedPhones:
    """Beside the certificates."""
    return SavedPhones((tls_dir.get() or Path(".tillmesh/tls")).parent / "phones")


def _on_line(phone_id: str, payments: str, act: Callable[[PhoneClient], Coroutine[Any, Any, Result]]) -> Result:
    """Does something with a phone and its connection."""
    phone = _saved_phones().take(phone_id)

    async def connected() -> Result:
        async with PhoneClient(Addresses(payments=payments), phone) as line:
            return await act(line)

    return run_async(connected())
