"""A basket that was left behind is canceled, and a name that nobody needs is dropped: both by the till itself."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from store_terminal.checkouts.housekeeping import CHECKOUTS_A_ROUND, Housekeeping
from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Checkout
from store_terminal.checkouts.moves import get_checkout
from store_terminal.checkouts.queries import HISTORY
from store_terminal.tables import METADATA
from tests.clocks import ManualClock
from tests.processes import Server
from tests.terminal.inside import Inside, now_ms, terminal
from tests.terminal.phones import shopper_with_phone
from tests.terminal.test_lifecycle import in_state
from tests.terminal.till import Behind, said
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import receipt_service_pb2 as receipts_api
from tillmesh.runtime.clock import DAY_MS
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import SYSTEM_RNG, new_request_id
from tillmesh.storage.database import Database, open_database

BASKET_MS, NAMES_MS = 7 * DAY_MS, 30 * DAY_MS
S = CheckoutState


def housekeeping(inside: Inside, basket_ms: int = BASKET_MS, names_ms: int = NAMES_MS) -> Housekeeping:
    return Housekeeping(
        inside.database, inside.clock, "spiffe://tillmesh/terminal/store-1/till-1", basket_ms, names_ms, SYSTEM_RNG
    )


async def add(database: Database, count: int, **changes: Any) -> list[Checkout]:
    """Checkouts that differ only in their ids and in what is said."""

    def begin(transaction: Any) -> list[Checkout]:
        return [
            HISTORY.begin(transaction, replace(in_state(S.PAID), checkout_id=f"c-{number}", **changes), "RESUMED")
            for number in range(count)
        ]

    return await database.run(begin)


async def test_a_basket_that_was_left_behind_is_canceled(
    database_url: str, closed_port: str, clock: ManualClock
) -> None:
    async with terminal(database_url, closed_port, closed_port, clock) as inside:
        basket = await inside.create()
        clock.advance(BASKET_MS - 1)
        assert await housekeeping(inside).expire_baskets() == 0
        clock.advance(1)
        assert await housekeeping(inside, basket_ms=0).expire_baskets() == 0
        assert await housekeeping(inside).expire_baskets() == 1
        assert said(await inside.get(basket)) == "CANCELED CLOSED"
        submit = api.SubmitCheckoutRequest(
            request_id=new_request_id(), checkout_id=basket.checkout_id, basket_version=basket.basket_version
        )
        with pytest.raises(Refusal) as raised:
            await inside.service.SubmitCheckout(submit)
        assert raised.value.reason == "CHECKOUT_CANCELED"


async def test_a_basket_whose_order_is_being_asked_for_is_left_alone(
    database_url: str, closed_port: str, clock: ManualClock
) -> None:
    async with terminal(database_url, closed_port, closed_port, clock) as inside:
        changes: dict[str, Any] = {"unanswered": "ask-1", "updated_at_ms": clock.now_ms(), "paid_by": ""}
        await add(inside.database, 1, state=S.BASKET, order_version=0, attempt=None, paid_at_ms=0, **changes)
        clock.advance(2 * BASKET_MS)
        assert await housekeeping(inside).expire_baskets() == 0


async def test_who_paid_is_forgotten_a_month_later_and_receipts_go_on(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind
) -> None:
    today = ManualClock(now_ms())
    async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
        phone = shopper_with_phone(behind)
        paid = await inside.pay(await inside.submitted(""), code=phone.code())
        assert paid.payer_display_name
        today.advance(NAMES_MS - 2 * DAY_MS)
        assert await housekeeping(inside).forget_names() == 0
        today.advance(2 * DAY_MS)
        assert await housekeeping(inside, names_ms=0).forget_names() == 0
        assert await housekeeping(inside).forget_names() == 1
        after = await inside.get(paid)
        paid.ClearField("payer_display_name")
        after.ClearField("update_time")
        paid.ClearField("update_time")
        assert after == paid
        receipt = await inside.receipts.GetReceipt(receipts_api.GetReceiptRequest(checkout_id=paid.checkout_id))
        assert "Paid by" not in receipt.text
        assert f"Payment {paid.paid_by_payment_id}" in receipt.text.replace("\n", " ")


@pytest.mark.parametrize(
    ("clear", "changes"),
    [
        (Housekeeping.forget_names, {"payer_display_name": "Ada"}),
        (
            Housekeeping.expire_baskets,
            {"state": S.BASKET, "order_version": 0, "attempt": None, "paid_by": "", "paid_at_ms": 0},
        ),
    ],
)
async def test_many_are_cleared_a_few_at_a_time(
    database_url: str, clear: Callable[[Housekeeping], Any], changes: dict[str, Any]
) -> None:
    clock = ManualClock(in_state(S.PAID).updated_at_ms + NAMES_MS)
    database = open_database(database_url, METADATA)
    await add(database, CHECKOUTS_A_ROUND + 1, **changes)
    keeping = Housekeeping(database, clock, "", BASKET_MS, NAMES_MS, SYSTEM_RNG)
    assert [await clear(keeping) for _ in range(3)] == [CHECKOUTS_A_ROUND, 1, 0]
    assert (await database.run(get_checkout, "c-0")).payer_display_name == ""
    await database.close()
