"""Stores' records: protobuf to model and back, nothing else."""

from dataclasses import dataclass

from thirdparty_server.errors import Reason
from thirdparty_server.stores import messages, operations, queries
from thirdparty_server.stores.model import Store
from thirdparty_server.updates import Update
from tillmesh.api.payment.v1 import store_pb2
from tillmesh.api.payment.v1 import store_service_pb2 as api
from tillmesh.rpc.fields import Fields, shown
from tillmesh.rpc.servicer import Servicer, masked, named


@dataclass(frozen=True)
class StoreServicer(Servicer):
    """tillmesh.api.payment.v1.StoreService."""

    async def CreateStore(self, request: api.CreateStoreRequest) -> store_pb2.Store:
        """Records a store."""
        with Fields() as fields:
            store_id = fields.identifier("store.store_id", request.store.store_id)
            currency = fields.currency("store.currency_code", request.store.currency_code)
            values = {name: read(fields, request.store) for name, read in messages.CHANGEABLE.items()}
            limit_in = request.store.unreferenced_refund_limit.currency_code
            rule = f"must be {shown(currency)} as well"
            fields.require(limit_in in ("", currency), "store.unreferenced_refund_limit.currency_code", rule)
        new = Store(store_id=store_id, currency=currency, created_at_ms=self.clock.now_ms(), **values)
        with named(Reason.STORE_EXISTS(store_id=store_id)):
            store = await self._once(
                request, f"store/{store_id}", store_id, operations.get_store, operations.create_store, new
            )
        return messages.to_store(store)

    async def GetStore(self, request: api.GetStoreRequest) -> store_pb2.Store:
        """Reads one store."""
        return messages.to_store(await self.database.run(operations.get_store, request.store_id))

    async def ListStores(self, request: api.ListStoresRequest) -> api.ListStoresResponse:
        """Lists stores by id."""
        stores, token = await self._listed(
            request, queries.list_stores, lambda store: (store.store_id,), messages.to_store
        )
        return api.ListStoresResponse(stores=stores, next_page_token=token)

    async def UpdateStore(self, request: api.UpdateStoreRequest) -> store_pb2.Store:
        """Changes what the mask names."""
        with Fields() as fields:
            request_id = fields.identifier("request_id", request.request_id)
            store_id = fields.identifier("store.store_id", request.store.store_id)
            changes = masked(fields, request.update_mask, messages.CHANGEABLE, request.store)
        update = Update(request.version, changes)
        store = await self._once(
            request, request_id, store_id, operations.get_store, operations.update_store, store_id, update
        )
        return messages.to_store(store)
