"""The catalogue: protobuf to model and back, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from store_terminal.catalogue import operations
from store_terminal.catalogue.messages import ITEMS_MAX, catalogue_items, gtin_of, to_import, to_item
from store_terminal.catalogue.queries import find_by_gtin, find_item, list_items
from store_terminal.catalogue.worker import CatalogueWorker
from store_terminal.errors import Reason
from tillmesh.api.terminal.v1 import catalogue_import_pb2, catalogue_item_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as api
from tillmesh.rpc.fields import Fields, shown
from tillmesh.rpc.line_messages import SKU_MAX
from tillmesh.rpc.servicer import Servicer, named
from tillmesh.runtime.errors import found
from tillmesh.storage.requests import content_hash


@dataclass(frozen=True)
class CatalogueServicer(Servicer):
    """tillmesh.api.terminal.v1.CatalogueService."""

    worker: CatalogueWorker

    async def ImportCatalogueItems(self, request: api.ImportCatalogueItemsRequest) -> api.ImportCatalogueItemsResponse:
        """Adds articles and replaces those that are there."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            items = catalogue_items(fields, request.items)
        count = await self._once(
            request,
            request.request_id,
            "catalogue",
            lambda transaction, _id: operations.count_items(transaction),
            operations.import_items,
            items,
        )
        return api.ImportCatalogueItemsResponse(item_count=count)

    async def DeleteCatalogueItems(self, request: api.DeleteCatalogueItemsRequest) -> api.DeleteCatalogueItemsResponse:
        """Deletes articles."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            skus = _skus(fields, request.skus)
        count = await self._once(
            request,
            request.request_id,
            "catalogue",
            lambda transaction, _id: operations.count_items(transaction),
            operations.delete_items,
            skus,
        )
        return api.DeleteCatalogueItemsResponse(item_count=count)

    async def GetCatalogueItem(self, request: api.GetCatalogueItemRequest) -> catalogue_item_pb2.CatalogueItem:
        """Reads one article."""
        item = await self.database.run(find_item, request.sku)
        return to_item(found(item, Reason.ITEM_NOT_FOUND, sku=request.sku))

    async def LookUpCatalogueItem(self, request: api.LookUpCatalogueItemRequest) -> catalogue_item_pb2.CatalogueItem:
        """Reads the article of a GTIN."""
        with Fields() as fields:
            gtin = gtin_of(fields, "gtin", request.gtin)
        item = await self.database.run(find_by_gtin, gtin)
        return to_item(found(item, Reason.GTIN_NOT_FOUND, gtin=gtin))

    async def ListCatalogueItems(self, request: api.ListCatalogueItemsRequest) -> api.ListCatalogueItemsResponse:
        """Lists articles by code."""
        shown, token = await self._listed(request, list_items, lambda item: (item.sku,), to_item)
        return api.ListCatalogueItemsResponse(items=shown, next_page_token=token)

    async def CreateCatalogueImport(
        self, request: api.CreateCatalogueImportRequest
    ) -> catalogue_import_pb2.CatalogueImport:
        """Begins an import."""
        import_id, now_ms = request.import_id, self.clock.now_ms()
        with Fields() as fields:
            fields.identifier("import_id", import_id)
        with named(Reason.IMPORT_EXISTS(import_id=import_id)):
            begun = await self._once(
                request,
                import_id,
                import_id,
                operations.get_import,
                operations.create_import,
                import_id,
                replace_all=request.replace_all,
                now_ms=now_ms,
            )
        self.worker.poke()  # one that is given up is deleted
        return to_import(begun)

    async def AddCatalogueImportItems(
        self, request: api.AddCatalogueImportItemsRequest
    ) -> catalogue_import_pb2.CatalogueImport:
        """Adds a part to an import."""
        with Fields() as fields:
            fields.positive("part_number", request.part_number)
            items = catalogue_items(fields, request.items)
        added = await self.database.run(
            operations.add_import_items,
            request.import_id,
            request.part_number,
            items,
            content_hash(request),
            self.clock.now_ms(),
        )
        return to_import(added)

    async def CommitCatalogueImport(
        self, request: api.CommitCatalogueImportRequest
    ) -> catalogue_import_pb2.CatalogueImport:
        """Ends an import."""
        with Fields() as fields:
            fields.positive("part_count", request.part_count)
        now_ms = self.clock.now_ms()
        ended = await self.database.run(operations.commit_import, request.import_id, request.part_count, now_ms)
        self.worker.poke()
        return to_import(ended)

    async def CancelCatalogueImport(
        self, request: api.CancelCatalogueImportRequest
    ) -> catalogue_import_pb2.CatalogueImport:
        """Gives an import up."""
        canceled = await self.database.run(operations.cancel_import, request.import_id, self.clock.now_ms())
        self.worker.poke()
        return to_import(canceled)

    async def GetCatalogueImport(self, request: api.GetCatalogueImportRequest) -> catalogue_import_pb2.CatalogueImport:
        """Reads an import."""
        return to_import(await self.database.run(operations.get_import, request.import_id))


def _skus(fields: Fields, skus: Sequence[str]) -> list[str]:
    fields.require(1 <= len(skus) <= ITEMS_MAX, "skus", f"must be 1 to {ITEMS_MAX}, were {len(skus)}")
    seen: dict[str, None] = {}
    for index, sku in enumerate(skus[:ITEMS_MAX]):
        fields.text(f"skus[{index}]", sku, length_min=1, length_max=SKU_MAX)
        if sku in seen:
            fields.require(False, f"skus[{index}]", f"must be there once, {shown(sku)} came before")
        seen[sku] = None
    return list(seen)
