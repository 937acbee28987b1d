"""Real goods at the till: scanned, weighed, taxed, paid with the same scanner, and printed."""

from tillmesh.api.terminal.v1 import catalogue_item_pb2, checkout_pb2, scan_rules_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.terminal.v1 import receipt_service_pb2 as receipt_api
from tillmesh.api.terminal.v1 import scan_service_pb2 as api
from tillmesh.api.terminal.v1.decision_pb2 import Decision
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.cli.display import amount, show_paper, show_table
from tillmesh.cli.phone.client import PhoneClient
from tillmesh.cli.story.scene import Stage, check, say, scene
from tillmesh.client.requests import submit
from tillmesh.runtime.clock import SystemClock
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money

CHEESE, COLA, BEER = "2100017004324", "9501101530003", "]d20109501101531000\x1d10LOT-7"
GOODS = 557 + 149 + 25 + 119
"""In all: 0.432 kg at 12.90, a bottle, its deposit, a beer."""
REDUCED, FULL = 50_000, 200_000
ADDED, PAY_CODE, DECISION_REQUIRED = (
    api.ScanItemResponse.OUTCOME_ADDED,
    api.ScanItemResponse.OUTCOME_PAY_CODE,
    api.ScanItemResponse.OUTCOME_DECISION_REQUIRED,
)
_RULE = scan_rules_pb2.InStoreCodeRule
_WEIGHT = _RULE(
    prefix="21", value=_RULE.VALUE_QUANTITY, article_start=3, article_digits=5, value_start=8, value_digits=5
)


async def buys_goods(stage: Stage, line: PhoneClient) -> None:
    """Cheese by weight, a bottle with its deposit, and beer, which she must be old enough for."""
    scene("Real goods: scanned, weighed, taxed")
    await _shelve(stage)
    create = checkout_api.CreateCheckoutRequest(request_id=new_request_id(), currency_code=stage.currency)
    basket = await stage.client.call(stage.client.till.CreateCheckout, create)
    basket = (await _scan(stage, basket, CHEESE, ADDED)).checkout
    say(f"The scale printed {CHEESE}: by the store's rule article 00017, 432 grams.")
    basket = (await _scan(stage, basket, COLA, ADDED)).checkout
    asked = await _scan(stage, basket, BEER, DECISION_REQUIRED)
    say(f"The beer needs a decision: is she {asked.decisions[0].minimum_age_years} or older? The cashier says yes.")
    basket = (await _scan(stage, basket, BEER, ADDED, Decision.KIND_AGE)).checkout
    check(basket.amount.minor_units == GOODS, f"her goods come to {GOODS}: {basket.amount}")
    _show(basket)
    code = (await line.new_key()).code(SystemClock().now_ms())
    await _scan(stage, basket, code.value.decode(), PAY_CODE)
    say("The same scanner reads the code on her phone: the terminal says that it is a pay code, and keeps none of it.")
    sale = await stage.client.call(stage.client.till.SubmitCheckout, submit(basket))
    paid = await stage.pay(sale.checkout_id, code)
    check(paid.verdict == checkout_pb2.VERDICT_HAND_OVER_GOODS, f"the goods are paid: {paid}")
    request = receipt_api.GetReceiptRequest(checkout_id=paid.checkout_id)
    show_paper((await stage.client.call(stage.client.receipts.GetReceipt, request)).text)


async def _shelve(stage: Stage) -> None:
    """The catalogue and the rule for what the scale prints."""
    kinds, item = LineItem.Kind, catalogue_item_pb2.CatalogueItem
    items = [
        item(sku="00017", title="Cheese", unit=LineItem.UNIT_GRAM, unit_price=stage.money(1290), tax_rate_ppm=REDUCED),
        item(
            sku="COLA", title="Cola", gtins=[COLA], unit_price=stage.money(149), tax_rate_ppm=FULL, deposit_sku="GLASS"
        ),
        item(sku="GLASS", title="Deposit", kind=kinds.Value("KIND_DEPOSIT"), unit_price=stage.money(25)),
        item(sku="BEER", title="Beer", gtins=["9501101531000"], unit_price=stage.money(119), tax_rate_ppm=FULL),
    ]
    items[0].tax_code, items[1].tax_code, items[3].tax_code = "B", "A", "A"
    items[3].minimum_age_years = 18
    request = catalogue_api.ImportCatalogueItemsRequest(request_id=new_request_id(), items=items)
    await stage.client.call(stage.client.catalogue.ImportCatalogueItems, request)
    rules = scan_rules_pb2.ScanRules(rules=[_WEIGHT], add_to_line=True)
    replace = api.ReplaceScanRulesRequest(request_id=new_request_id(), rules=rules)
    await stage.client.call(stage.client.scans.ReplaceScanRules, replace)


async def _scan(
    stage: Stage, basket: checkout_pb2.Checkout, scanned: str, outcome: int, *decided: Decision.Kind.ValueType
) -> api.ScanItemResponse:
    request = api.ScanItemRequest(
        request_id=new_request_id(),
        checkout_id=basket.checkout_id,
        basket_version=basket.basket_version,
        scanned=scanned,
        decided=decided,
    )
    answer = await stage.client.call(stage.client.scans.ScanItem, request)
    check(answer.outcome == outcome, f"the scan has outcome {outcome}: {answer}")
    return answer


def _show(basket: checkout_pb2.Checkout) -> None:
    currency = basket.amount.currency_code
    rows = [
        (
            line.item.title,
            f"{line.item.quantity:,} {LineItem.Unit.Name(line.item.unit).removeprefix('UNIT_').lower()}",
            str(Money(currency, line.item.amount_minor)),
            line.item.tax_code,
        )
        for line in basket.lines
    ]
    show_table(
        f"{amount(basket.amount)} in all", ["article", "quantity", "amount", "tax"], rows, right=["quantity", "amount"]
    )
