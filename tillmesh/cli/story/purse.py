"""Her phone: how it becomes hers, and a pay code instead of a wallet."""

from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identity_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payer_api
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import terminal_service_pb2 as terminal_api
from tillmesh.cli.display import amount
from tillmesh.cli.phone.device import Phone
from tillmesh.cli.phone.line import Line, SignedOut, enroll, set_pin
from tillmesh.cli.story.stage import NAME, PAYER, Stage, check, quote, refused, say, scene
from tillmesh.runtime.clock import SystemClock
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

PIN, WRONG_PIN = Secret(b"4711"), Secret(b"4712")
DEPOSIT, LIMIT = 10_000, 1_000
CARD = 240
DEVICE = "phone-of-ada"


async def shopper(stage: Stage) -> None:
    """She has an account, and the store has something to sell."""
    scene("A shopper with an online account")
    create = identity_api.CreateIdentityRequest(
        request_id=new_request_id(),
        identity_id=PAYER,
        display_name=NAME,
        currency_code=stage.currency,
        instant_limit=stage.money(LIMIT),
    )
    client = stage.client
    identity = await client.call(client.identities.CreateIdentity, create)
    deposit = account_api.CreateDepositRequest(
        request_id=new_request_id(), identity_id=PAYER, amount=stage.money(DEPOSIT)
    )
    wallet = await client.call(client.accounts.CreateDeposit, deposit)
    say(f"{PAYER} has {amount(wallet.posted)}. More than {amount(identity.instant_limit)} needs her yes.")
    articles = [("MUG", "Stoneware mug", 650), ("CARD", "Greeting card", CARD)]
    items = [
        catalogue_api.CatalogueItem(sku=sku, title=title, unit_price=stage.money(price))
        for sku, title, price in articles
    ]
    request = catalogue_api.ImportCatalogueItemsRequest(request_id=new_request_id(), items=items)
    await client.call(client.catalogue.ImportCatalogueItems, request)


async def her_phone(stage: Stage) -> Phone:
    """The platform makes a phone hers, and she signs in."""
    scene("Her phone: tillmesh phone")
    addresses = stage.mesh.addresses
    phone = await enroll(stage.client, addresses, PAYER, DEVICE)
    await set_pin(stage.client, PAYER, PIN)
    say("The platform binds the phone to her: it has a certificate and a key for pay codes. She chooses a PIN.")
    async with Line(addresses, phone) as line:
        try:
            await line.call(line.payers.ListPendingTransactions, payer_api.ListPendingTransactionsRequest())
        except SignedOut as error:
            quote("tillmesh phone", str(error))
        else:
            check(False, "a phone on which nobody is signed in learns nothing")
        signed_in = await line.sign_in(PIN)
    say("Until she signs in it is told nothing. She signs in with the PIN, and stays so for a quarter of an hour.")
    return signed_in


async def pays_by_code(stage: Stage, phone: Phone) -> None:
    """Below her limit a pay code is enough, once."""
    scene("A card, paid by pay code")
    code = phone.code(SystemClock().now_ms())
    sale = await stage.sell("", CARD=1)
    paid = await stage.pay(sale.checkout_id, code)
    check(paid.verdict == checkout_pb2.VERDICT_HAND_OVER_GOODS, f"below her limit a pay code is enough: {paid}")
    check(paid.payer_display_name == NAME, "the till greets her by name")
    order = await stage.order(sale.checkout_id)
    check(PAYER not in str(order) and order.payer_id == sale.payer_id, "the order is under a reference of its own")
    wallet = await stage.wallet()
    check(wallet.posted.minor_units == DEPOSIT - CARD, f"she paid {amount(paid.amount)} once")
    say(
        f"The till scans 20 digits that her phone made offline, and shows “{NAME}”: {amount(paid.amount)} paid at once."
    )
    say(f"Who she is online, neither till nor order know: the order is under {order.payer_id}.")
    scene("The same code once more")
    other = await stage.sell("", CARD=1)
    again = await stage.pay(other.checkout_id, code)
    refused_once = again.verdict == checkout_pb2.VERDICT_SAFE_TO_RETRY and again.verdict_reason == "PAY_CODE_USED"
    check(refused_once, f"a code is good for one payment: {again}")
    check((await stage.wallet()).posted == wallet.posted, "a used code takes nothing")
    say(f"Somebody kept it: {again.verdict_reason}. Nothing is taken; the till says SAFE_TO_RETRY, with another code.")
    cancel = terminal_api.CancelCheckoutRequest(request_id=new_request_id(), checkout_id=other.checkout_id)
    await stage.client.call(stage.client.till.CancelCheckout, cancel)


async def wrong_pin(stage: Stage, checkout: checkout_pb2.Checkout) -> None:
    """Somebody else's guess at the PIN pad."""
    enter = terminal_api.EnterPinRequest(
        request_id=new_request_id(),
        checkout_id=checkout.checkout_id,
        amount=checkout.amount,
        pin=WRONG_PIN.value.decode(),
    )
    with refused("PIN_WRONG", "a wrong PIN at the PIN pad is refused") as seen:
        await stage.client.call(stage.client.till.EnterPin, enter)
    quote("thirdparty_server", seen[0].text)
    waits = await stage.checkout(checkout.checkout_id)
    check(waits.verdict_reason == "AWAITING_PAYER", "after a wrong PIN the payment waits on")
