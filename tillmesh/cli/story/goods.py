"""Real goods at the till: scanned, weighed, taxed, paid with the same scanner, and printed."""

from tillmesh.api.terminal.v1 import catalogue_item_pb2, scan_rules_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.api.terminal.v1 import scan_service_pb2 as api
from tillmesh.api.terminal.v1.decision_pb2 import Decision
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.cli.display import show_paper, show_table
from tillmesh.cli.phone.client import PhoneClient
from tillmesh.cli.story.scene import Stage, check, say, scene
from tillmesh.client import Said, Sale, Scanned
from tillmesh.runtime.clock import SystemClock
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money

CHEESE, COLA, BEER = "2100017004324", "9501101530003", "]d20109501101531000\x1d10LOT-7"
GOODS = 557 + 149 + 25 + 119
"""In all: 0.432 kg at 12.90, a bottle, its deposit, a beer."""
REDUCED, FULL = 50_000, 200_000
ADDED, PAY_CODE, DECISION_REQUIRED = (
    Scanned.OUTCOME_ADDED,
    Scanned.OUTCOME_PAY_CODE,
    Scanned.OUTCOME_DECISION_REQUIRED,
)
_RULE = scan_rules_pb2.InStoreCodeRule
_WEIGHT = _RULE(
    prefix="21", value=_RULE.VALUE_QUANTITY, article_start=3, article_digits=5, value_start=8, value_digits=5
)


async def buys_goods(stage: Stage, line: PhoneClient) -> None:
    """Cheese by weight, a bottle with its deposit, and beer, which she must be old enough for."""
    scene("Real goods: scanned, weighed, taxed")
    await _shelve(stage)
    sale = await stage.till.open(currency=stage.currency)
    await _scan(sale, CHEESE, ADDED)
    say(f"The scale printed {CHEESE}: by the store's rule article 00017, 432 grams.")
    await _scan(sale, COLA, ADDED)
    asked = await _scan(sale, BEER, DECISION_REQUIRED)
    say(f"The beer needs a decision: is she {asked.decisions[0].minimum_age_years} or older? The cashier says yes.")
    await _scan(sale, BEER, ADDED, Decision.KIND_AGE)
    check(sale.said.amount.minor == GOODS, f"her goods come to {GOODS}: {sale.said.amount}")
    _show(sale.said)
    code = (await line.new_key()).code(SystemClock().now_ms())
    await _scan(sale, code.value.decode(), PAY_CODE)
    say("The same scanner reads the code on her phone: the terminal says that it is a pay code, and keeps none of it.")
    await sale.submit()
    paid = await stage.pay(sale, code)
    check(paid.hands_over, f"the goods are paid: {paid}")
    show_paper((await stage.till.receipt(sale.checkout_id)).text)


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


async def _scan(sale: Sale, scanned: str, outcome: int, *decided: Decision.Kind.ValueType) -> Scanned:
    answer = await sale.scan(scanned, decided=decided)
    check(answer.outcome == outcome, f"the scan has outcome {outcome}: {answer}")
    return answer


def _show(said: Said) -> None:
    rows = [
        (
            line.item.title,
            f"{line.item.quantity:,} {LineItem.Unit.Name(line.item.unit).removeprefix('UNIT_').lower()}",
            str(Money(said.amount.currency, line.item.amount_minor)),
            line.item.tax_code,
        )
        for line in said.checkout.lines
    ]
    show_table(f"{said.amount} in all", ["article", "quantity", "amount", "tax"], rows, right=["quantity", "amount"])
