"""The catalogue: protobuf to model and back, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from store_terminal.catalogue.messages import catalogue_item, to_item
from store_terminal.catalogue.model import CatalogueItem
from store_terminal.catalogue.queries import ITEMS, count_items, list_items, put_items
from store_terminal.errors import Reason
from tillmesh.api.terminal.v1 import catalogue_item_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as api
from tillmesh.rpc.fields import Fields, shown
from tillmesh.rpc.servicer import Servicer

ITEMS_MAX = 1000


@dataclass(frozen=True)
class CatalogueServicer(Servicer):
    """tillmesh.api.terminal.v1.CatalogueService."""

    async def ImportCatalogueItems(self, request: api.ImportCatalogueItemsRequest) -> api.ImportCatalogueItemsResponse:
        """Adds articles and replaces those that are there."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            items = _items(fields, request.items)
        count = await self._once(
            request,
            request.request_id,
            "catalogue",
            lambda transaction, _id: count_items(transaction),
            put_items,
            items,
        )
        return api.ImportCatalogueItemsResponse(item_count=count)

    async def GetCatalogueItem(self, request: api.GetCatalogueItemRequest) -> catalogue_item_pb2.CatalogueItem:
        """Reads one article."""
        item = await self.database.run(ITEMS.find, request.sku)
        if item is None:
            raise Reason.ITEM_NOT_FOUND(sku=request.sku)
        return to_item(item)

    async def ListCatalogueItems(self, request: api.ListCatalogueItemsRequest) -> api.ListCatalogueItemsResponse:
        """Lists articles by code."""
        shown, token = await self._listed(request, list_items, lambda item: (item.sku,), to_item)
        return api.ListCatalogueItemsResponse(items=shown, next_page_token=token)


def _items(fields: Fields, messages: Sequence[catalogue_item_pb2.CatalogueItem]) -> list[CatalogueItem]:
    fields.require(1 <= len(messages) <= ITEMS_MAX, "items", f"must be 1 to {ITEMS_MAX}, were {len(messages)}")
    items: dict[str, CatalogueItem] = {}
    for index, message in enumerate(messages[:ITEMS_MAX]):
        name = f"items[{index}]"
        fields.require(message.sku not in items, f"{name}.sku", f"must be there once, {shown(message.sku)} came before")
        items[message.sku] = catalogue_item(fields, name, message)
    return list(items.values())
