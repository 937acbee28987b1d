"""The catalogue of real articles: GTINs, prices in time, ages, deposits; imported, found and deleted."""

import time
from typing import Any

import pytest
from grpc import StatusCode

from tests.clocks import ManualClock
from tests.processes import DEADLINE_S, running, start_server
from tests.terminal.inside import terminal
from tests.terminal.test_baskets import article, import_items
from tests.terminal.test_pricing import new
from tests.terminal.till import COFFEE, Behind, Till, gbp, refused, said, terminal_flags
from tillmesh.api.terminal.v1 import catalogue_import_pb2, catalogue_item_pb2, checkout_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.rpc.messages import to_timestamp
from tillmesh.runtime.clock import HOUR_MS
from tillmesh.runtime.ids import new_request_id

WIRE = line_item_pb2.LineItem
IMPORT = catalogue_import_pb2.CatalogueImport
Item = catalogue_item_pb2.CatalogueItem


def item(sku: str, minor: int = 100, **more: Any) -> Item:
    return Item(sku=sku, unit_price=gbp(minor), **more)


def bottled(sku: str, deposit_sku: str, minor: int = 149) -> list[Item]:
    """A drink and its deposit."""
    bottle = item(deposit_sku, 25, title="Deposit", kind=WIRE.KIND_DEPOSIT)
    return [item(sku, minor, title="Cola", deposit_sku=deposit_sku), bottle]


def look_up(till: Till, gtin: str) -> Item:
    return till.catalogue.LookUpCatalogueItem(api.LookUpCatalogueItemRequest(gtin=gtin), timeout=DEADLINE_S)


def get(till: Till, sku: str) -> Item:
    return till.catalogue.GetCatalogueItem(api.GetCatalogueItemRequest(sku=sku), timeout=DEADLINE_S)


def delete(till: Till, *skus: str, request_id: str = "") -> int:
    request = api.DeleteCatalogueItemsRequest(request_id=request_id or new_request_id(), skus=skus)
    return till.catalogue.DeleteCatalogueItems(request, timeout=DEADLINE_S).item_count


def begin(till: Till, *parts: list[Item], import_id: str = "", replace_all: bool = False) -> str:
    """An import with those parts, still open."""
    import_id = import_id or new_request_id()
    create = api.CreateCatalogueImportRequest(import_id=import_id, replace_all=replace_all)
    till.catalogue.CreateCatalogueImport(create, timeout=DEADLINE_S)
    for number, part in enumerate(parts, 1):
        add = api.AddCatalogueImportItemsRequest(import_id=import_id, part_number=number, items=part)
        till.catalogue.AddCatalogueImportItems(add, timeout=DEADLINE_S)
    return import_id


def commit(till: Till, import_id: str, part_count: int) -> IMPORT:
    request = api.CommitCatalogueImportRequest(import_id=import_id, part_count=part_count)
    return till.catalogue.CommitCatalogueImport(request, timeout=DEADLINE_S)


def ended(till: Till, import_id: str) -> IMPORT:
    """The import, once the terminal is through with it."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        told = till.catalogue.GetCatalogueImport(
            api.GetCatalogueImportRequest(import_id=import_id), timeout=DEADLINE_S, wait_for_ready=True
        )
        if told.state not in (IMPORT.STATE_OPEN, IMPORT.STATE_CHECKING):
            return told
        time.sleep(0.02)
    raise AssertionError(told)


def test_an_article_is_found_by_each_of_its_gtins_however_long_the_code(till: Till) -> None:
    import_items(till, item("TUNA", gtins=["810354020810", "96385074"]))
    tuna = get(till, "TUNA")
    assert list(tuna.gtins) == ["00810354020810", "00000096385074"]
    for code in ("810354020810", "0810354020810", "00810354020810", "96385074", "0000096385074"):
        assert look_up(till, code) == tuna
    assert till.create(lines=[new("TUNA")]).lines[0].item.gtin == "00810354020810"
    with refused("GTIN_NOT_FOUND", StatusCode.NOT_FOUND):
        look_up(till, "4337185144998")
    for wrong in ("810354020811", "8103540208", "", "810-354020810"):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
            look_up(till, wrong)
        assert [violation.field for violation in refusals[0].violations] == ["gtin"]


def test_a_gtin_is_of_one_article_and_may_move_to_another_one(till: Till) -> None:
    import_items(till, item("PEAS", gtins=["4014500507378"]))
    for wrong in ([item("BEANS", gtins=["04014500507378"])], [item("PEAS"), item("B", gtins=["1" * 8])]):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
            import_items(till, *wrong)
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        import_items(till, item("X", gtins=["96385074"]), item("Y", gtins=["96385074"]))
    assert [violation.field for violation in refusals[0].violations] == ["items[1].gtins[0]"]
    import_items(till, item("PEAS"), item("BEANS", gtins=["4014500507378"]))
    assert look_up(till, "4014500507378").sku == "BEANS"
    delete(till, "BEANS")
    with refused("GTIN_NOT_FOUND", StatusCode.NOT_FOUND):
        look_up(till, "4014500507378")


async def test_a_price_counts_from_its_first_moment_to_its_last_by_the_tills_clock(
    database_url: str, closed_port: str
) -> None:
    clock = ManualClock()
    start = clock.now_ms()
    periods = [
        catalogue_item_pb2.PricePeriod(end_time=to_timestamp(start), unit_price=gbp(50)),
        catalogue_item_pb2.PricePeriod(
            start_time=to_timestamp(start + HOUR_MS), end_time=to_timestamp(start + 2 * HOUR_MS), unit_price=gbp(75)
        ),
        catalogue_item_pb2.PricePeriod(start_time=to_timestamp(start + 2 * HOUR_MS), unit_price=gbp(80)),
    ]
    async with terminal(database_url, closed_port, closed_port, clock) as inside:
        offered = item("FIG", 99, price_periods=periods)
        await inside.catalogue.ImportCatalogueItems(
            api.ImportCatalogueItemsRequest(request_id=new_request_id(), items=[offered])
        )
        read = await inside.catalogue.GetCatalogueItem(api.GetCatalogueItemRequest(sku="FIG"))
        assert list(read.price_periods) == periods
        sold = []
        for at_ms in (-1, 0, HOUR_MS - 1, HOUR_MS, 2 * HOUR_MS - 1, 2 * HOUR_MS, 999 * HOUR_MS):
            clock.advance(start + at_ms - clock.now_ms())
            line = (await inside.create(lines=[new("FIG", 2)])).lines[0].item
            sold.append((line.unit_price_minor, line.amount_minor))
            assert line.price_source == WIRE.PRICE_SOURCE_CATALOGUE
    assert sold == [(price, 2 * price) for price in (50, 99, 99, 75, 75, 80, 80)]


def test_articles_that_make_no_sense_are_named_with_their_field(till: Till) -> None:
    early, late = to_timestamp(1_000), to_timestamp(2_000)
    period, penny = catalogue_item_pb2.PricePeriod, gbp(1)
    wrong = [
        item("A", price_periods=[period(start_time=late, end_time=early, unit_price=penny)]),
        item("B", price_periods=[period(unit_price=penny), period(start_time=late, unit_price=penny)]),
        item("C", price_periods=[period(end_time=late, unit_price=penny), period(start_time=early, unit_price=penny)]),
        item("D", price_periods=[period(unit_price=article("D", 1, "EUR").unit_price)]),
        item("E", minimum_age_years=100),
        item("F", unit=WIRE.UNIT_GRAM, deposit_sku="A"),
        item("G", kind=WIRE.KIND_DEPOSIT, deposit_sku="A"),
        item("H", gtins=["96385074"] * 17),
    ]
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        import_items(till, *wrong)
    assert [violation.field for violation in refusals[0].violations][:8] == [
        "items[0].price_periods[0].end_time",
        "items[1].price_periods",
        "items[2].price_periods",
        "items[3].price_periods[0].unit_price.currency_code",
        "items[4].minimum_age_years",
        "items[5].deposit_sku",
        "items[6].deposit_sku",
        "items[7].gtins",
    ]
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        import_items(till, item("COLA-0", deposit_sku="NO-SUCH"))
    assert [violation.field for violation in refusals[0].violations] == ["items[0].deposit_sku"]


def test_a_bottle_brings_its_deposit_and_takes_it_along(till: Till) -> None:
    import_items(till, *bottled("COLA-1", "CAN-1"))
    basket = till.create(lines=[COFFEE, new("COLA-1", 6), COFFEE])
    assert [(line.line_number, line.item.sku, line.deposit_of) for line in basket.lines] == [
        *((1, "COFFEE", 0), (2, "COLA-1", 0), (3, "CAN-1", 2), (4, "COFFEE", 0)),
    ]
    can = basket.lines[2].item
    assert (can.kind, can.quantity, can.amount_minor, can.title) == (WIRE.KIND_DEPOSIT, 6, 150, "Deposit")
    basket = till.update(basket, 2, quantity=2)
    assert [line.item.quantity for line in basket.lines] == [1, 2, 2, 1]
    basket = till.update(basket, 3, quantity=1)  # one bottle stays here
    basket = till.update(basket, 2, price=100)
    assert [line.item.quantity for line in basket.lines] == [1, 2, 1, 1]
    assert till.remove(basket, 3).amount == gbp(400 + 200 + 400)
    basket = till.remove(till.get(basket), 2)
    assert [line.item.sku for line in basket.lines] == ["COFFEE", "COFFEE"]


def test_a_bottle_of_a_pending_order_keeps_its_deposit_whoever_changes_the_order(till: Till, behind: Behind) -> None:
    import_items(till, *bottled("COLA-2", "CAN-2"))
    pending = till.add(till.submitted(behind.shopper(), [COFFEE]), new("COLA-2", 3))
    assert [line.deposit_of for line in pending.lines] == [0, 0, 2]
    assert pending.amount == behind.order(pending).amount == gbp(400 + 3 * (149 + 25))
    behind.change_order(pending, *[line.item for line in pending.lines[1:]])
    pending = till.resume(pending.checkout_id)
    assert [(line.line_number, line.deposit_of) for line in pending.lines] == [(2, 0), (3, 2)]
    pending = till.update(pending, 2, quantity=1)
    assert pending.amount == gbp(149 + 25)
    assert said(till.pay(till.add(pending, COFFEE))) == "PAID HAND_OVER_GOODS"


def test_an_article_with_a_deposit_is_sold_by_the_piece(till: Till) -> None:
    import_items(till, *bottled("COLA-3", "CAN-3"))
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        till.create(lines=[new("COLA-3", 500, unit=WIRE.UNIT_MILLILITER, unit_price_minor=1)])
    assert [violation.field for violation in refusals[0].violations] == ["lines[0].unit"]


def test_articles_are_deleted_all_or_none_and_once(till: Till) -> None:
    count = import_items(till, *bottled("COLA-4", "CAN-4"), item("PLUM"))
    with refused("ITEM_IN_USE", StatusCode.FAILED_PRECONDITION) as refusals:
        delete(till, "PLUM", "CAN-4")
    assert refusals[0].metadata == {"sku": "CAN-4", "used_by": "COLA-4"}
    with refused("ITEM_NOT_FOUND", StatusCode.NOT_FOUND):
        delete(till, "PLUM", "NEVER-THERE")
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        delete(till, "PLUM", "PLUM")
    request_id = new_request_id()
    assert delete(till, "CAN-4", "COLA-4", request_id=request_id) == count - 2
    import_items(till, item("CAN-4"))
    assert delete(till, "CAN-4", "COLA-4", request_id=request_id) == count - 1  # as it is now
    assert get(till, "CAN-4").sku == "CAN-4"


def test_an_import_in_parts_is_on_sale_once_it_is_committed(till: Till) -> None:
    import_id = begin(till, bottled("COLA-5", "CAN-5")[:1], bottled("COLA-5", "CAN-5")[1:])
    with refused("ITEM_NOT_FOUND", StatusCode.NOT_FOUND):
        get(till, "COLA-5")
    commit(till, import_id, 2)
    told = ended(till, import_id)
    assert (told.state, told.part_count, told.item_count, told.checked_item_count) == (IMPORT.STATE_COMMITTED, 2, 2, 2)
    assert get(till, "COLA-5").deposit_sku == "CAN-5"
    assert till.create(lines=[new("COLA-5")]).amount == gbp(149 + 25)
    assert begin(till, import_id=import_id) == import_id  # a repeat, which finds it as it is now
    with refused("IMPORT_EXISTS", StatusCode.ALREADY_EXISTS):
        begin(till, import_id=import_id, replace_all=True)
    with refused("IMPORT_ENDED", StatusCode.FAILED_PRECONDITION):
        cancel = api.CancelCatalogueImportRequest(import_id=import_id)
        till.catalogue.CancelCatalogueImport(cancel, timeout=DEADLINE_S)


def test_an_import_that_fits_nowhere_says_what_is_wrong_and_changes_nothing(till: Till) -> None:
    import_items(till, item("KIWI", gtins=["4388844146686"]))
    import_id = begin(till, [item("LIME", gtins=["4388844146686"]), item("SODA", deposit_sku="NO-SUCH")])
    commit(till, import_id, 1)
    told = ended(till, import_id)
    assert told.state == IMPORT.STATE_REFUSED
    assert [(each.sku, each.field) for each in told.violations] == [("LIME", "gtins"), ("SODA", "deposit_sku")]
    assert "'KIWI'" in told.violations[0].description
    with refused("ITEM_NOT_FOUND", StatusCode.NOT_FOUND):
        get(till, "LIME")


def test_imports_that_are_not_there_or_have_no_parts_are_refused(till: Till) -> None:
    with refused("IMPORT_NOT_FOUND", StatusCode.NOT_FOUND):
        commit(till, "never-begun", 1)
    import_id = begin(till)
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):  # it would replace all by nothing
        commit(till, import_id, 0)
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        begin(till, [])
    canceled = till.catalogue.CancelCatalogueImport(
        api.CancelCatalogueImportRequest(import_id=import_id), timeout=DEADLINE_S
    )
    assert canceled.state == IMPORT.STATE_CANCELED
    with refused("IMPORT_ENDED", StatusCode.FAILED_PRECONDITION):
        commit(till, import_id, 1)


@pytest.mark.process
def test_a_terminal_that_is_killed_while_it_takes_an_import_over_goes_on(
    tmp_path: Any, order_service: Any, payment_server: Any
) -> None:
    flags = terminal_flags(order_service.address, payment_server.address)
    server = start_server("store_terminal", tmp_path, *flags)
    with server.channel() as channel:
        till = Till(channel)
        import_items(till, item("OLD"))
        parts = [[item(f"N{part}-{number}") for number in range(1000)] for part in range(2)]
        import_id = begin(till, *parts)
        assert commit(till, import_id, 2).state == IMPORT.STATE_CHECKING
    server.kill()
    with running("store_terminal", tmp_path, *flags) as again, again.channel() as channel:
        till = Till(channel)
        assert ended(till, import_id).state == IMPORT.STATE_COMMITTED
        assert {get(till, sku).sku for sku in ("OLD", "N0-0", "N1-999")} == {"OLD", "N0-0", "N1-999"}


def test_a_minimum_age_is_kept(till: Till) -> None:
    import_items(till, item("GIN", minimum_age_years=18))
    assert get(till, "GIN").minimum_age_years == 18
    assert isinstance(till.create(lines=[new("GIN")]), checkout_pb2.Checkout)
