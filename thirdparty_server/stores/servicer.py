"""Stores' records: protobuf to model and back, nothing else."""

from functools import cache
from typing import Any, Final
from zoneinfo import available_timezones

from thirdparty_server import updates
from thirdparty_server.errors import Reason
from thirdparty_server.once import create_named, run_once
from thirdparty_server.stores import operations, queries
from thirdparty_server.stores.model import Store, StoreState
from tillmesh.api.payment.v1 import store_pb2
from tillmesh.api.payment.v1 import store_service_pb2 as api
from tillmesh.rpc.fields import Fields, shown
from tillmesh.rpc.messages import to_money, to_timestamp
from tillmesh.rpc.paging import Page
from tillmesh.runtime.clock import Clock
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey

NAME_MAX = 128
ADDRESS_LINES_MAX = 5
ADDRESS_LINE_MAX = 128
TAX_NUMBER_MAX = 32
LIMIT: Final = "unreferenced_refund_limit"
CHANGEABLE = ("name", "address_lines", "tax_number", "time_zone", LIMIT, "state")
_STATES = {
    store_pb2.Store.STATE_UNSPECIFIED: StoreState.ACTIVE,
    store_pb2.Store.STATE_ACTIVE: StoreState.ACTIVE,
    store_pb2.Store.STATE_SUSPENDED: StoreState.SUSPENDED,
}


class StoreServicer:
    """tillmesh.api.payment.v1.StoreService."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def CreateStore(self, request: api.CreateStoreRequest) -> store_pb2.Store:
        """Records a store."""
        fields = Fields()
        store_id = fields.identifier("store.store_id", request.store.store_id)
        currency = fields.currency("store.currency_code", request.store.currency_code)
        values = _values(fields, request.store, frozenset(CHANGEABLE))
        limit_in = request.store.unreferenced_refund_limit.currency_code
        rule = f"must be {shown(currency)} as well"
        fields.require(limit_in in ("", currency), "store.unreferenced_refund_limit.currency_code", rule)
        fields.check()
        now_ms = self._clock.now_ms()
        store = Store(store_id=store_id, currency=currency, version=1, created_at_ms=now_ms, **values)
        created = await create_named(
            self._database,
            IdempotencyKey.of(request, f"store/{store_id}", now_ms),
            create=lambda transaction: operations.create_store(transaction, store=store),
            read=lambda transaction: operations.get_store(transaction, store_id),
            exists=lambda: Reason.STORE_EXISTS(store_id=store_id),
        )
        return to_store(created)

    async def GetStore(self, request: api.GetStoreRequest) -> store_pb2.Store:
        """Reads one store."""
        store = await self._database.run(lambda transaction: operations.get_store(transaction, request.store_id))
        return to_store(store)

    async def ListStores(self, request: api.ListStoresRequest) -> api.ListStoresResponse:
        """Lists stores by id."""
        page = Page[Store](self._database.seal, request.page_size, request.page_token, ["ListStores"])
        after = page.after[0] if page.after else ""
        rows = await self._database.run(lambda transaction: queries.list_stores(transaction, after, page.at_most))
        stores, token = page.cut(rows, lambda store: [store.store_id], to_store)
        return api.ListStoresResponse(stores=stores, next_page_token=token)

    async def UpdateStore(self, request: api.UpdateStoreRequest) -> store_pb2.Store:
        """Changes what the mask names."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        store_id = fields.identifier("store.store_id", request.store.store_id)
        mask = updates.update_mask(fields, request.update_mask, CHANGEABLE)
        changes = _values(fields, request.store, mask)
        fields.check()
        limit_in = request.store.unreferenced_refund_limit.currency_code if LIMIT in mask else ""
        changed = await run_once(
            self._database,
            IdempotencyKey.of(request, request.request_id, self._clock.now_ms()),
            store_id,
            effect=lambda transaction: operations.update_store(
                transaction, store_id=store_id, version=request.version, changes=changes, limit_in=limit_in
            ),
            read=lambda transaction: operations.get_store(transaction, store_id),
        )
        return to_store(changed)


def to_store(store: Store) -> store_pb2.Store:
    """A store's record on the wire."""
    limit = store.unreferenced_refund_limit
    return store_pb2.Store(
        store_id=store.store_id,
        name=store.name,
        address_lines=store.address_lines,
        tax_number=store.tax_number,
        time_zone=store.time_zone,
        currency_code=store.currency,
        unreferenced_refund_limit=to_money(limit) if limit else None,
        state=store_pb2.Store.State.Value(f"STATE_{store.state}"),
        version=store.version,
        create_time=to_timestamp(store.created_at_ms),
    )


def _values(fields: Fields, message: store_pb2.Store, names: frozenset[str]) -> dict[str, Any]:
    """The named values of a store, by the names that the model has for them."""
    values: dict[str, Any] = {}
    if "name" in names:
        values["name"] = fields.text("store.name", message.name, length_min=1, length_max=NAME_MAX)
    if "address_lines" in names:
        values["address_lines"] = _address_lines(fields, message)
    if "tax_number" in names:
        values["tax_number"] = fields.text("store.tax_number", message.tax_number, length_max=TAX_NUMBER_MAX)
    if "time_zone" in names:
        known = message.time_zone in _time_zones()
        rule = "must be an IANA time zone, such as Europe/London"
        fields.require(known, "store.time_zone", f"{rule}, was {shown(message.time_zone)}")
        values["time_zone"] = message.time_zone
    if LIMIT in names:
        limit = message.unreferenced_refund_limit if message.HasField(LIMIT) else None
        minor = fields.money(f"store.{LIMIT}", limit, minimum=0).minor if limit else None
        values["unreferenced_refund_limit_minor"] = minor
    if "state" in names:
        fields.require(message.state in _STATES, "store.state", f"must be a State, was {message.state}")
        values["state"] = _STATES.get(message.state)
    return values


def _address_lines(fields: Fields, message: store_pb2.Store) -> tuple[str, ...]:
    count = len(message.address_lines)
    fields.require(count <= ADDRESS_LINES_MAX, "store.address_lines", f"must be at most {ADDRESS_LINES_MAX}")
    for index, line in enumerate(message.address_lines[:ADDRESS_LINES_MAX]):
        fields.text(f"store.address_lines[{index}]", line, length_max=ADDRESS_LINE_MAX)
    return tuple(message.address_lines)


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())
