"""A till with a scanner: the terminal's own classes, whose rules no other test sets."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import pytest

from tests.clocks import ManualClock
from tests.terminal.inside import Inside, terminal
from tillmesh.api.terminal.v1 import catalogue_item_pb2, checkout_pb2, decision_pb2, scan_rules_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.terminal.v1 import scan_service_pb2 as api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

EAN, GTIN, OTHER_EAN = "4006381333931", "04006381333931", "4388844146686"
FNC1 = "\x1d"
Rule = scan_rules_pb2.InStoreCodeRule
Answer = api.ScanItemResponse
Kind = decision_pb2.Decision.Kind
WEIGHT_RULE = Rule(
    prefix="21", value=Rule.VALUE_QUANTITY, article_start=3, article_digits=5, value_start=8, value_digits=5
)
PRICE_RULE = Rule(
    prefix="02", value=Rule.VALUE_AMOUNT, article_start=3, article_digits=5, value_start=8, value_digits=5
)


@contextmanager
def says(reason: str, *fields: str) -> Iterator[None]:
    """Expects that refusal, of those fields."""
    with pytest.raises(Refusal) as refused:
        yield
    assert (refused.value.reason, *(violation.field for violation in refused.value.violations)) == (reason, *fields)


@dataclass
class Scanner:
    """What a test does with the scanner."""

    inside: Inside
    clock: ManualClock

    async def sells(self, *items: catalogue_item_pb2.CatalogueItem) -> None:
        request = catalogue_api.ImportCatalogueItemsRequest(request_id=new_request_id(), items=items)
        await self.inside.catalogue.ImportCatalogueItems(request)

    async def basket(self, currency: str = "") -> checkout_pb2.Checkout:
        request = checkout_api.CreateCheckoutRequest(request_id=new_request_id(), currency_code=currency)
        return await self.inside.service.CreateCheckout(request)

    async def scan(
        self,
        checkout: checkout_pb2.Checkout,
        scanned: str,
        *,
        quantity: int = 0,
        decided: Sequence[Kind.ValueType] = (),
        request_id: str = "",
    ) -> Answer:
        request = api.ScanItemRequest(
            request_id=request_id or new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            scanned=scanned,
            quantity=quantity,
            decided=decided,
        )
        return await self.inside.scans.ScanItem(request)

    async def adjust(self, checkout: checkout_pb2.Checkout, line_number: int, minor: int) -> checkout_pb2.Checkout:
        request = checkout_api.AdjustCheckoutRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            line_number=line_number,
            adjustment=line_item_pb2.Adjustment(reason_code="STAFF", amount_minor=minor),
        )
        return await self.inside.service.AdjustCheckout(request)

    async def remove(self, checkout: checkout_pb2.Checkout, line_number: int) -> checkout_pb2.Checkout:
        request = checkout_api.RemoveLineRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            line_number=line_number,
        )
        return await self.inside.service.RemoveLine(request)

    async def events(self, checkout: checkout_pb2.Checkout) -> list[tuple[str, str]]:
        """Types and reasons of its history."""
        request = checkout_api.ListCheckoutEventsRequest(checkout_id=checkout.checkout_id)
        events = (await self.inside.service.ListCheckoutEvents(request)).events
        names = checkout_pb2.CheckoutEvent.Type
        return [(names.Name(event.type).removeprefix("TYPE_"), event.reason) for event in events]

    async def line(self, scanned: str, quantity: int = 0) -> line_item_pb2.LineItem:
        """The line that a scan makes in a new basket."""
        answer = await self.scan(await self.basket(), scanned, quantity=quantity)
        assert (answer.outcome, answer.line_number) == (Answer.OUTCOME_ADDED, 1)
        return answer.checkout.lines[0].item

    async def rules(
        self, *rules: Rule, add_to_line: bool = False, version: int | None = None, request_id: str = ""
    ) -> scan_rules_pb2.ScanRules:
        """Replaces the rules of the version that counts, or of another one."""
        known = await self.inside.scans.GetScanRules(api.GetScanRulesRequest())
        request = api.ReplaceScanRulesRequest(
            request_id=request_id or new_request_id(),
            rules=scan_rules_pb2.ScanRules(
                rules=rules, add_to_line=add_to_line, version=known.version if version is None else version
            ),
        )
        return await self.inside.scans.ReplaceScanRules(request)


@asynccontextmanager
async def scanning(database_url: str, address: str) -> AsyncIterator[Scanner]:
    """A till with a scanner for the length of a block."""
    clock = ManualClock()
    async with terminal(database_url, address, address, clock) as inside:
        yield Scanner(inside, clock)
