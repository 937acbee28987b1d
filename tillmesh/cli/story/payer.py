"""Her phone: how it becomes hers, and a pay code instead of a wallet."""

from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identity_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payer_api
from tillmesh.api.terminal.v1 import catalogue_item_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.cli.display import amount
from tillmesh.cli.phone.client import PhoneClient, SignedOut, enroll, set_pin
from tillmesh.cli.phone.device import Phone
from tillmesh.cli.story.scene import NAME, PAYER, Stage, check, quote, refused, say, scene
from tillmesh.client import Sale, Verdict
from tillmesh.runtime.clock import SystemClock
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

PIN, WRONG_PIN = Secret(b"4711"), Secret(b"4712")
DEPOSIT, LIMIT = 10_000, 1_000
CARD = 240
PHONE = "phone-of-ada"


async def shopper(stage: Stage) -> None:
    """She has an account, and the store has something to sell."""
    scene("A shopper with an online account")
    create = identity_api.CreateIdentityRequest(
        identity_id=PAYER,
        display_name=NAME,
        currency_code=stage.currency,
        confirmation_threshold=stage.money(LIMIT),
    )
    client = stage.client
    await client.call(client.identities.CreateIdentity, create)
    deposit = account_api.CreateDepositRequest(
        deposit_id=new_request_id(), identity_id=PAYER, amount=stage.money(DEPOSIT)
    )
    await client.call(client.accounts.CreateDeposit, deposit)
    wallet = await stage.wallet()
    say(f"{PAYER} has {amount(wallet.posted)}. She confirms every payment above {amount(stage.money(LIMIT))}.")
    articles = [("MUG", "Stoneware mug", 650), ("CARD", "Greeting card", CARD)]
    items = [
        catalogue_item_pb2.CatalogueItem(sku=sku, title=title, unit_price=stage.money(price))
        for sku, title, price in articles
    ]
    request = catalogue_api.ImportCatalogueItemsRequest(request_id=new_request_id(), items=items)
    await client.call(client.catalogue.ImportCatalogueItems, request)


async def her_phone(stage: Stage) -> Phone:
    """The platform makes a phone hers, and she signs in."""
    scene("Her phone: tillmesh phone")
    addresses = stage.mesh.addresses
    phone = await enroll(stage.client, addresses, PAYER, PHONE)
    await set_pin(stage.client, PAYER, PIN)
    say("The platform binds the phone to her: it has a certificate and a key for pay codes. She chooses a PIN.")
    async with PhoneClient(addresses, phone) as line:
        try:
            await line.call(line.payers.ListPendingOrders, payer_api.ListPendingOrdersRequest())
        except SignedOut as error:
            quote("tillmesh phone", str(error))
        else:
            check(False, "a phone without a session is told nothing")
        signed_in = await line.sign_in(PIN)
    say("Without a session it is told nothing. She signs in with her PIN; the session lasts a quarter of an hour.")
    return signed_in


async def pays_by_code(stage: Stage, phone: Phone) -> None:
    """Below her limit a pay code is enough, once."""
    scene("A card, paid by pay code")
    code = phone.code(SystemClock().now_ms())
    sale = await stage.sell("", CARD=1)
    paid = await stage.pay(sale, code)
    check(paid.hands_over, f"below her limit a pay code is enough: {paid}")
    check(paid.checkout.payer_display_name == NAME, "the till greets her by name")
    order = await stage.order(sale.checkout_id)
    check(
        PAYER not in str(order) and order.payer == paid.checkout.payer and bool(order.payer.reference),
        "the order is under a reference of its own",
    )
    wallet = await stage.wallet()
    check(wallet.posted.minor_units == DEPOSIT - CARD, f"she paid {paid.amount} once")
    say(f"The till scans 20 digits that her phone made offline, and shows “{NAME}”: {paid.amount} paid at once.")
    say(f"Neither till nor order service learns who she is: the order is under reference {order.payer.reference}.")
    scene("The same code once more")
    other = await stage.sell("", CARD=1)
    again = await stage.pay(other, code)
    refused_once = again.verdict is Verdict.SAFE_TO_RETRY and again.reason == "PAY_CODE_USED"
    check(refused_once, f"a code is good for one payment: {again}")
    check((await stage.wallet()).posted == wallet.posted, "a used code takes nothing")
    say(f"Somebody kept the code and shows it again: {again.reason}. It takes no money.")
    say("The till says SAFE_TO_RETRY: another payment may start, with another code.")
    closed = await other.cancel()
    check(closed.verdict is Verdict.CLOSED, f"a checkout that is canceled is closed: {closed}")
    say("The till cancels the checkout. It says CLOSED: from now on nobody can pay that order.")


async def wrong_pin(sale: Sale) -> None:
    """Somebody else's guess at the PIN pad."""
    with refused("PIN_WRONG", "a wrong PIN at the PIN pad is refused") as seen:
        await sale.enter_pin(WRONG_PIN.value.decode())
    quote("thirdparty_server", seen[0].text)
    waits = await sale.read()
    check(waits.verdict is Verdict.ASK_PAYER, "after a wrong PIN the payment goes on waiting")
