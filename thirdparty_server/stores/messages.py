"""Messages of stores: records to protobuf, and fields from it."""

from collections.abc import Callable
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from thirdparty_server.stores.model import Store, StoreState
from tillmesh.api.payment.v1 import store_pb2
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.messages import to_money, to_timestamp
from tillmesh.runtime.money import Money

NAME_MAX = 128
ADDRESS_LINES_MAX = 5
ADDRESS_LINE_MAX = 128
TAX_NUMBER_MAX = 32
_STATES = {
    store_pb2.Store.STATE_UNSPECIFIED: StoreState.ACTIVE,
    store_pb2.Store.STATE_ACTIVE: StoreState.ACTIVE,
    store_pb2.Store.STATE_SUSPENDED: StoreState.SUSPENDED,
}


def to_store(store: Store) -> store_pb2.Store:
    """A store's record."""
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


def _address_lines(fields: Fields, store: store_pb2.Store) -> tuple[str, ...]:
    count = len(store.address_lines)
    fields.require(count <= ADDRESS_LINES_MAX, "store.address_lines", f"must be at most {ADDRESS_LINES_MAX}")
    for index, line in enumerate(store.address_lines[:ADDRESS_LINES_MAX]):
        fields.text(f"store.address_lines[{index}]", line, length_max=ADDRESS_LINE_MAX)
    return tuple(store.address_lines)


def _time_zone(fields: Fields, store: store_pb2.Store) -> str:
    rule = "must be an IANA time zone, such as Europe/London"
    fields.require(store.time_zone in _time_zones(), "store.time_zone", rule, store.time_zone)
    return store.time_zone


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _limit(fields: Fields, store: store_pb2.Store) -> Money | None:
    if not store.HasField("unreferenced_refund_limit"):
        return None
    return fields.money("store.unreferenced_refund_limit", store.unreferenced_refund_limit, minimum=0)


def _state(fields: Fields, store: store_pb2.Store) -> StoreState | None:
    fields.require(store.state in _STATES, "store.state", "must be a State", store.state)
    return _STATES.get(store.state)


CHANGEABLE: dict[str, Callable[[Fields, store_pb2.Store], Any]] = {
    "name": lambda fields, store: fields.text("store.name", store.name, length_min=1, length_max=NAME_MAX),
    "address_lines": _address_lines,
    "tax_number": lambda fields, store: fields.text("store.tax_number", store.tax_number, length_max=TAX_NUMBER_MAX),
    "time_zone": _time_zone,
    "unreferenced_refund_limit": _limit,
    "state": _state,
}
"""Each field of a store that may change, by its name here and in the model, and how it is read."""
