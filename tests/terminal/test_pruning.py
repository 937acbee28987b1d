"""What is pruned at a till: old histories, baskets that never became an order, requests that were done, imports."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from store_terminal.catalogue.tables import imports
from store_terminal.checkouts.tables import checkouts
from store_terminal.outbox.tables import outbox
from store_terminal.pruning import PRUNABLE
from tests.clocks import ManualClock
from tests.processes import Server
from tests.pruning import audit, prune
from tests.terminal.inside import Inside, now_ms, terminal
from tests.terminal.sales import sale
from tests.terminal.till import Behind, gbp, said
from tillmesh import receipt_code
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refunds_api
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

REFUNDED = api.VoidCheckoutResponse.OUTCOME_REFUNDED
CANCELED = api.VoidCheckoutResponse.OUTCOME_CANCELED


@pytest.fixture
async def inside(database_url: str, order_service: Server, payment_server: Server) -> AsyncIterator[Inside]:
    async with terminal(database_url, order_service.address, payment_server.address, ManualClock(now_ms())) as inside:
        yield inside


async def prune_all(inside: Inside) -> None:
    inside.clock.advance(1)
    pages = await prune(inside.database, PRUNABLE, inside.clock.now_ms(), inside.clock.now_ms())
    assert [page.findings for page in pages if page.findings] == []


async def rows(inside: Inside, table: Any) -> list[Any]:
    return await inside.database.run(lambda transaction: transaction.execute(select(table)).all())


async def events(inside: Inside, checkout: checkout_pb2.Checkout) -> list[int]:
    request = api.ListCheckoutEventsRequest(checkout_id=checkout.checkout_id)
    return [event.number for event in (await inside.service.ListCheckoutEvents(request)).events]


async def test_a_basket_that_never_became_an_order_goes_whole(inside: Inside, database_url: str) -> None:
    create = api.CreateCheckoutRequest(request_id=new_request_id(), identity_id="ada")
    basket = await inside.service.CreateCheckout(create)
    cancel = api.CancelCheckoutRequest(request_id=new_request_id(), checkout_id=basket.checkout_id)
    await inside.service.CancelCheckout(cancel)
    open_basket = await inside.create()
    await prune_all(inside)
    assert [row["checkout_id"] for row in await rows(inside, checkouts)] == [open_basket.checkout_id]
    for repeat in (inside.get(basket), inside.service.CreateCheckout(create), inside.service.CancelCheckout(cancel)):
        with pytest.raises(Refusal) as raised:
            await repeat
        assert raised.value.reason == "CHECKOUT_PRUNED"
    assert len(await rows(inside, checkouts)) == 1
    assert audit(database_url, "checkout_history") == []


async def test_a_stream_begins_now_although_the_newest_rows_were_pruned(inside: Inside) -> None:
    _older, basket = await inside.create(), await inside.create()
    cancel = api.CancelCheckoutRequest(request_id=new_request_id(), checkout_id=basket.checkout_id)
    await inside.service.CancelCheckout(cancel)
    await prune_all(inside)
    answers = inside.service.WatchCheckouts(api.WatchCheckoutsRequest())
    assert not (await anext(answers)).updates
    await answers.aclose()


async def test_what_was_done_is_answered_and_refunded_as_before(
    inside: Inside, database_url: str, behind: Behind
) -> None:
    basket = await inside.create(behind.shopper())
    submit = api.SubmitCheckoutRequest(request_id=new_request_id(), checkout_id=basket.checkout_id, basket_version=1)
    payment_id = new_request_id()
    pending = await inside.service.SubmitCheckout(submit)
    paid = await inside.pay(pending, payment_id)
    assert said(paid) == "PAID HAND_OVER_GOODS"
    refund = refunds_api.RefundCheckoutRequest(refund_id=new_request_id(), checkout_id=paid.checkout_id)
    refund.amount.CopyFrom(paid.amount)
    refund.amount.minor_units = 1
    before = await inside.refunds.RefundCheckout(refund)
    numbers = await events(inside, paid)
    await prune_all(inside)
    assert await events(inside, paid) == numbers[-1:]
    assert [row["kind"] for row in await rows(inside, outbox)] == ["REFUND"]
    now = await inside.get(paid)
    assert await inside.service.SubmitCheckout(submit) == now
    assert await inside.pay(pending, payment_id) == now
    assert await inside.refunds.RefundCheckout(refund) == before
    again = refunds_api.RefundCheckoutRequest(refund_id=new_request_id(), checkout_id=paid.checkout_id)
    await inside.refunds.RefundCheckout(again)
    assert await events(inside, paid) == [numbers[-1], numbers[-1] + 1, numbers[-1] + 2]
    assert audit(database_url, "checkout_history") == []


async def test_a_sale_and_its_undoing_are_answered_as_before(inside: Inside, database_url: str, behind: Behind) -> None:
    sales = [sale(behind.shopper()), sale(behind.shopper()), sale(checkout_id=behind.raise_order("ada").order_id)]
    voids = [api.VoidCheckoutRequest(refund_id=new_request_id(), checkout_id=each.checkout_id) for each in sales]
    kept = await inside.service.Sell(sales[0])
    await inside.service.Sell(sales[1])
    with pytest.raises(Refusal, match="ORDER_EXISTS"):
        await inside.service.Sell(sales[2])
    pending = await inside.submitted()
    voids.append(api.VoidCheckoutRequest(refund_id=new_request_id(), checkout_id=pending.checkout_id))
    before = [await inside.service.VoidCheckout(void) for void in voids[1:]]
    assert [answer.outcome for answer in before] == [REFUNDED, CANCELED, CANCELED]
    await prune_all(inside)
    assert sorted(row["kind"] for row in await rows(inside, outbox)) == ["CREATE_ORDER", "PAY", "REFUND"]
    assert await inside.service.Sell(sales[0]) == kept
    assert await inside.service.VoidCheckout(voids[1]) == before[0]
    assert await inside.service.VoidCheckout(voids[3]) == before[2]
    with pytest.raises(Refusal, match="ORDER_EXISTS"):
        await inside.service.Sell(sales[2])
    with pytest.raises(Refusal, match="CHECKOUT_PRUNED"):
        await inside.service.VoidCheckout(voids[2])
    again = sale(checkout_id=sales[2].checkout_id, payment_id=sales[2].payment_id, amount=gbp(1))
    with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):
        await inside.service.Sell(again)
    assert (await inside.service.VoidCheckout(voids[0])).outcome == REFUNDED
    assert audit(database_url, "checkout_history") == []


async def test_the_number_of_a_basket_that_was_pruned_is_not_sold_under(inside: Inside) -> None:
    basket = await inside.create()
    cancel = api.CancelCheckoutRequest(request_id=new_request_id(), checkout_id=basket.checkout_id)
    await inside.service.CancelCheckout(cancel)
    await prune_all(inside)
    with pytest.raises(Refusal, match="CHECKOUT_EXISTS"):
        await inside.service.Sell(sale(checkout_id=basket.checkout_id))


async def test_a_receipt_counts_also_once_its_history_was_pruned(inside: Inside, behind: Behind) -> None:
    sold = await inside.service.Sell(sale(behind.shopper()))
    (row,) = await rows(inside, checkouts)
    code = receipt_code.make(sold.checkout_id, "till-1", row["event_count"], row["history_hash"])

    async def refund(minor: int, text: str) -> int:
        request = refunds_api.RefundCheckoutRequest(refund_id=new_request_id(), checkout_id=text, amount=gbp(minor))
        return (await inside.refunds.RefundCheckout(request)).amount.minor_units

    assert await refund(1, code) == 1
    assert await refund(2, code) == 2  # there are other events since
    with pytest.raises(Refusal, match="RECEIPT_CODE_MISMATCH"):
        await refund(3, receipt_code.make(sold.checkout_id, "till-1", row["event_count"] + 1, row["history_hash"]))
    await prune_all(inside)
    assert await refund(3, code) == 3


async def test_imports_that_ended_go_and_the_one_that_is_open_stays(inside: Inside) -> None:
    for import_id in ("i-1", "i-2"):  # the newer one gives the older one up
        await inside.catalogue.CreateCatalogueImport(catalogue_api.CreateCatalogueImportRequest(import_id=import_id))
    await prune_all(inside)
    assert [row["import_id"] for row in await rows(inside, imports)] == ["i-2"]


async def test_a_refusal_of_another_server_is_kept(inside: Inside, behind: Behind) -> None:
    pending = await inside.submitted(behind.shopper())
    change = api.AddLinesRequest(
        request_id=new_request_id(), checkout_id=pending.checkout_id, basket_version=pending.basket_version
    )
    change.lines.add(sku="TEA", quantity=1, unit_price_minor=1)
    behind.cancel_order(pending)
    with pytest.raises(Refusal) as raised:
        await inside.service.AddLines(change)
    said_first = raised.value.reason
    await prune_all(inside)
    with pytest.raises(Refusal) as raised:
        await inside.service.AddLines(change)
    assert raised.value.reason == said_first == "ORDER_CANCELED"
