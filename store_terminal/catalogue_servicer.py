"""The catalogue: protobuf to model and back, nothing else."""

from collections.abc import Sequence

from store_terminal import store
from store_terminal.errors import Reason
from store_terminal.messages import SKU_MAX, TITLE_MAX, item_message
from store_terminal.model import CatalogueItem
from store_terminal.tables import REQUESTS
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as api
from tillmesh.runtime.database import Database
from tillmesh.runtime.fields import Fields, shown
from tillmesh.runtime.money import MINOR_UNITS_MAX
from tillmesh.runtime.paging import Page
from tillmesh.runtime.statements import Connection

ITEMS_MAX = 1000


class CatalogueServicer:
    """tillmesh.api.terminal.v1.CatalogueService."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ImportCatalogueItems(self, request: api.ImportCatalogueItemsRequest) -> api.ImportCatalogueItemsResponse:
        """Adds articles and replaces those that are there."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        items = _items(fields, request.items)
        fields.check()

        def run(connection: Connection) -> api.ImportCatalogueItemsResponse:
            return REQUESTS.once(
                connection,
                request,
                api.ImportCatalogueItemsResponse,
                lambda: api.ImportCatalogueItemsResponse(item_count=store.put_items(connection, items)),
            )

        return await REQUESTS.run(self._database, request, run)

    async def GetCatalogueItem(self, request: api.GetCatalogueItemRequest) -> api.CatalogueItem:
        """Reads one article."""
        item = await self._database.run(lambda connection: store.find_item(connection, request.sku))
        if item is None:
            raise Reason.ITEM_NOT_FOUND(sku=request.sku)
        return item_message(item)

    async def ListCatalogueItems(self, request: api.ListCatalogueItemsRequest) -> api.ListCatalogueItemsResponse:
        """Lists articles by code."""
        page = Page[CatalogueItem](request.page_size, request.page_token, [], [str])
        after = page.after[0] if page.after else ""
        rows = await self._database.run(lambda connection: store.list_items(connection, after, page.at_most))
        shown, token = page.cut(rows, lambda item: [item.sku])
        return api.ListCatalogueItemsResponse(items=[item_message(item) for item in shown], next_page_token=token)


def _items(fields: Fields, messages: Sequence[api.CatalogueItem]) -> list[CatalogueItem]:
    fields.require(1 <= len(messages) <= ITEMS_MAX, "items", f"must be 1 to {ITEMS_MAX}, were {len(messages)}")
    items: dict[str, CatalogueItem] = {}
    for index, message in enumerate(messages[:ITEMS_MAX]):
        name = f"items[{index}]"
        fields.text(f"{name}.sku", message.sku, length_min=1, length_max=SKU_MAX)
        fields.require(message.sku not in items, f"{name}.sku", f"must be there once, {shown(message.sku)} came before")
        fields.text(f"{name}.title", message.title, length_max=TITLE_MAX)
        price = fields.money(f"{name}.unit_price", message.unit_price, minimum=-MINOR_UNITS_MAX)
        items[message.sku] = CatalogueItem(message.sku, message.title, price)
    return list(items.values())
