"""Stores' records: who is paid, where, and how much may be given back without a sale."""

from collections.abc import Sequence

import pytest
from google.protobuf import field_mask_pb2

from tests.payments.phones import OTHER_TILL, PLATFORM, TILL, acting, pay_at_till, payer
from tests.payments.side import STORE, Side, gbp, refused, state_and_reason
from thirdparty_server.errors import Reason
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import store_pb2
from tillmesh.api.payment.v1 import store_service_pb2 as stores_api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.ids import new_request_id

LIMIT = "unreferenced_refund_limit"
SUSPENDED = store_pb2.Store(state=store_pb2.Store.STATE_SUSPENDED)
ACTIVE = store_pb2.Store(state=store_pb2.Store.STATE_ACTIVE)


def change(
    store: store_pb2.Store, paths: Sequence[str], version: int = 1, store_id: str = STORE
) -> stores_api.UpdateStoreRequest:
    told = store_pb2.Store()
    told.CopyFrom(store)
    told.store_id = told.store_id or store_id
    return stores_api.UpdateStoreRequest(
        request_id=new_request_id(), store=told, update_mask=field_mask_pb2.FieldMask(paths=paths), version=version
    )


async def store_now(side: Side, store_id: str = STORE) -> store_pb2.Store:
    return await side.stores.GetStore(stores_api.GetStoreRequest(store_id=store_id))


async def credit_limit(side: Side) -> Money:
    request = accounts_api.GetAccountRequest(account_id=f"returns/{STORE}/GBP")
    return (await side.accounts.GetAccount(request)).credit_limit


async def test_a_store_is_recorded_once_by_its_id_and_read_by_its_terminals(side: Side) -> None:
    store = await side.store(limit=300)
    assert (store.name, store.time_zone, store.currency_code) == ("Corner shop", "Europe/London", "GBP")
    assert (list(store.address_lines), store.tax_number) == (["1 High Street", "London"], "GB 123 4567 89")
    assert (store.unreferenced_refund_limit, store.state, store.version) == (gbp(300), store_pb2.Store.STATE_ACTIVE, 1)
    assert await side.store(limit=300) == store
    with refused(Reason.STORE_EXISTS):
        await side.store(limit=301)
    for who in (TILL, PLATFORM):
        with acting(who):
            assert await store_now(side) == store
    with acting(OTHER_TILL), refused(CommonReason.STORE_DENIED):
        await store_now(side)
    with acting(OTHER_TILL), refused(Reason.STORE_NOT_FOUND):
        await store_now(side, "store-2")


async def test_stores_are_listed_by_id(side: Side) -> None:
    for store_id in ("c", "a", "b"):
        await side.store(store_id=store_id)
    request = stores_api.ListStoresRequest(page_size=2)
    first = await side.stores.ListStores(request)
    request.page_token = first.next_page_token
    second = await side.stores.ListStores(request)
    assert [store.store_id for store in (*first.stores, *second.stores)] == ["a", "b", "c"]
    assert not second.next_page_token


@pytest.mark.parametrize(
    ("store", "field"),
    [
        (store_pb2.Store(store_id="no spaces"), "store.store_id"),
        (store_pb2.Store(name="x" * 129), "store.name"),
        (store_pb2.Store(address_lines=["x"] * 6), "store.address_lines"),
        (store_pb2.Store(address_lines=["a\nb"]), "store.address_lines[0]"),
        (store_pb2.Store(address_lines=["x" * 129]), "store.address_lines[0]"),
        (store_pb2.Store(tax_number="x" * 33), "store.tax_number"),
        (store_pb2.Store(time_zone="Europe/Atlantis"), "store.time_zone"),
        (store_pb2.Store(time_zone="../etc/passwd"), "store.time_zone"),
        (store_pb2.Store(currency_code="XAU"), "store.currency_code"),
        (store_pb2.Store(unreferenced_refund_limit=gbp(-1)), f"store.{LIMIT}.minor_units"),
        (
            store_pb2.Store(unreferenced_refund_limit=Money(currency_code="JPY", minor_units=1)),
            f"store.{LIMIT}.currency_code",
        ),
    ],
)
async def test_a_store_that_makes_no_sense_is_refused_by_field(side: Side, store: store_pb2.Store, field: str) -> None:
    request = stores_api.CreateStoreRequest(
        store=store_pb2.Store(store_id=STORE, name="Shop", time_zone="UTC", currency_code="GBP")
    )
    request.store.MergeFrom(store)
    with pytest.raises(Refusal) as raised:
        await side.stores.CreateStore(request)
    assert field in [violation.field for violation in raised.value.violations]
    with refused(Reason.STORE_NOT_FOUND):
        await store_now(side)


async def test_a_store_without_a_name_is_refused(side: Side) -> None:
    store = store_pb2.Store(store_id=STORE, time_zone="UTC", currency_code="GBP")
    with pytest.raises(Refusal) as raised:
        await side.stores.CreateStore(stores_api.CreateStoreRequest(store=store))
    assert [violation.field for violation in raised.value.violations] == ["store.name"]


async def test_only_what_the_mask_names_changes(side: Side) -> None:
    before = await side.store(limit=300)
    new = store_pb2.Store(name="New name", time_zone="Asia/Tokyo", currency_code="JPY")
    changed = await side.stores.UpdateStore(request := change(new, ["name"]))
    assert (changed.name, changed.version) == ("New name", 2)
    changed.name, changed.version = before.name, before.version
    assert changed == before
    again = await side.stores.UpdateStore(change(new, ["time_zone", "address_lines", "tax_number"], version=2))
    assert (again.time_zone, list(again.address_lines), again.tax_number) == ("Asia/Tokyo", [], "")
    assert (again.unreferenced_refund_limit, again.currency_code, again.version) == (gbp(300), "GBP", 3)
    assert await side.stores.UpdateStore(request) == again
    with refused(Reason.VERSION_MISMATCH):
        await side.stores.UpdateStore(change(new, ["name"], version=2))
    with refused(Reason.STORE_NOT_FOUND):
        await side.stores.UpdateStore(change(new, ["name"], store_id="store-2"))


@pytest.mark.parametrize(
    ("store", "paths", "field"),
    [
        (store_pb2.Store(), [], "update_mask"),
        (store_pb2.Store(), ["currency_code"], "update_mask.paths[0]"),
        (store_pb2.Store(), ["name"], "store.name"),
        (store_pb2.Store(), ["time_zone"], "store.time_zone"),
        (store_pb2.Store(store_id="a b"), ["state"], "store.store_id"),
        (
            store_pb2.Store(unreferenced_refund_limit=Money(currency_code="JPY", minor_units=1)),
            [LIMIT],
            f"store.{LIMIT}.currency_code",
        ),
    ],
)
async def test_a_change_that_makes_no_sense_is_refused_by_field(
    side: Side, store: store_pb2.Store, paths: list[str], field: str
) -> None:
    before = await side.store(limit=300)
    with pytest.raises(Refusal) as raised:
        await side.stores.UpdateStore(change(store, paths))
    assert [violation.field for violation in raised.value.violations] == [field]
    assert await store_now(side) == before


# What a store may give back without a sale


async def test_a_limit_is_changed_removed_and_never_below_what_is_used(side: Side) -> None:
    payer_id = await side.shopper()
    await side.store(limit=100)
    assert await credit_limit(side) == gbp(100)
    with refused(Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED) as refusals:
        await side.give_back(payer_id, 101)
    assert refusals[0].metadata["left"] == "1.00 GBP"
    more = store_pb2.Store(unreferenced_refund_limit=gbp(300))
    await side.stores.UpdateStore(change(more, [LIMIT]))
    await side.give_back(payer_id, 101)
    less = store_pb2.Store(unreferenced_refund_limit=gbp(100))
    for lower in (less, store_pb2.Store()):
        with refused(Reason.LIMIT_IN_USE) as refusals:
            await side.stores.UpdateStore(change(lower, [LIMIT], version=2))
        assert refusals[0].metadata["used"] == "1.01 GBP"
    assert (await store_now(side)).unreferenced_refund_limit == await credit_limit(side) == gbp(300)
    less.unreferenced_refund_limit.minor_units = 101
    await side.stores.UpdateStore(change(less, [LIMIT], version=2))
    with refused(Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED):
        await side.give_back(payer_id, 1)


async def test_a_store_without_a_record_a_limit_or_that_currency_gives_nothing_back_without_a_sale(side: Side) -> None:
    pounds_id, yen_id = await side.shopper(), await side.shopper(currency="JPY")
    with refused(Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED):
        await side.give_back(pounds_id, 1)
    await side.store()
    with refused(Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED):
        await side.give_back(pounds_id, 1)
    await side.store(limit=100, store_id="store-2")
    with refused(Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED) as refusals:
        await side.give_back(yen_id, 1, "JPY", store_id="store-2")
    assert refusals[0].metadata["left"] == "0 JPY"
    await side.give_back(pounds_id, 1, store_id="store-2")
    assert await side.wallet(pounds_id) == (1, 0)
    assert await side.wallet(yen_id, "JPY") == (0, 0)


async def test_sales_do_not_raise_what_a_store_may_give_back_without_a_sale(side: Side) -> None:
    payer_id = await side.shopper(funds=100_000)
    await side.store(limit=10)
    await side.captured(payer_id, 100_000)
    with refused(Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED):
        await side.give_back(payer_id, 11)
    assert await side.wallet(payer_id) == (0, 0)


# A suspended store


async def test_a_suspended_store_is_not_paid_and_gives_nothing_back_without_a_sale(side: Side) -> None:
    payer_id = await side.shopper(funds=5000)
    await side.store(limit=100)
    await side.stores.UpdateStore(change(SUSPENDED, ["state"]))
    order = await side.order(payer_id)
    payment = await side.pay(order)
    assert state_and_reason(payment) == ("VOIDED", "STORE_SUSPENDED")
    assert payment.epoch == 1
    assert await side.events(payment.payment_id) == ["CREATED", "DECLINED", "ORDER_RELEASED"]
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN
    assert await side.wallet(payer_id) == (5000, 0)
    with refused(Reason.STORE_SUSPENDED):
        await side.give_back(payer_id, 1, refund_id=(refund_id := new_request_id()))
    await side.stores.UpdateStore(change(ACTIVE, ["state"], version=2))
    with refused(Reason.STORE_SUSPENDED):
        await side.give_back(payer_id, 1, refund_id=refund_id)
    assert state_and_reason(await side.pay(order)) == ("CAPTURED", "")
    await side.give_back(payer_id, 1)


async def test_a_suspended_store_asks_no_payer_and_ends_and_refunds_what_is_under_way(side: Side) -> None:
    phone = await payer(side)
    await side.store()
    paid = await side.captured(phone.identity_id)
    waiting = await pay_at_till(side, await side.order(phone.identity_id))
    await side.stores.UpdateStore(change(SUSPENDED, ["state"]))
    assert state_and_reason(await pay_at_till(side, await side.order(phone.identity_id))) == (
        "VOIDED",
        "STORE_SUSPENDED",
    )
    request = payments_api.ConfirmPaymentRequest(
        request_id=new_request_id(), payment_id=waiting.payment_id, store_id=STORE, amount=waiting.amount
    )
    assert state_and_reason(await side.payments.ConfirmPayment(request)) == ("CAPTURED", "")
    assert (await side.refund(paid.payment_id, None)).amount == gbp(1000)


async def test_a_store_that_is_another_is_paid_as_ever(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    await side.store(store_id="store-2")
    await side.stores.UpdateStore(change(SUSPENDED, ["state"], store_id="store-2"))
    await side.captured(payer_id)


@pytest.mark.parametrize("limit", [0, 1_000, None])
async def test_a_limit_in_one_currency_lets_nothing_out_in_any_other(side: Side, limit: int | None) -> None:
    await side.store(limit=limit)
    for currency in ("USD", "EUR", "JPY", "CHF", "BHD"):
        payee = await side.shopper(currency=currency)
        with refused(Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED):
            await side.give_back(payee, 1, currency)
        assert await side.wallet(payee, currency) == (0, 0)
