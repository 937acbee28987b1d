"""The ordinary flows of a till."""

import pytest

from tests.client.sales import CUP, PRICE, TEA, Counter, heard, say_yes
from tests.terminal.phones import shopper_with_phone
from tests.trust.secrets import PIN, WRONG_PIN
from tillmesh.client import Failure, Line, Money, Outcome, Refusal, Verdict, journal

pytestmark = pytest.mark.process


async def test_a_sale_by_pay_code_is_paid_and_leaves_the_journal(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind)
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, pay_code=phone.code())
        assert (await heard(sale))[-1] == "HAND_OVER_GOODS"
        assert sale.said.hands_over
        assert await till.resume() == []
    assert counter.behind.wallet(phone.identity_id) == (750, 0)
    assert counter.payments(sale) == ["CAPTURED"]


async def test_a_basket_grows_and_is_paid(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind)
    async with counter.till() as till:
        sale = await till.open([TEA])
        await sale.add(Line(sku="CAKE", title="Cake", quantity=1, unit_price_minor=300))
        await sale.set_line(1, quantity=4)
        await sale.remove_line(2)
        await sale.adjust(-50, code="STAFF")
        assert (sale.said.amount, sale.outcome) == (Money("GBP", 450), Verdict.NOT_TRIED)
        await sale.submit()
        await sale.pay(phone.code())
        assert (await sale.ended()).hands_over
    assert counter.behind.wallet(phone.identity_id) == (550, 0)


async def test_a_shopper_who_is_asked_keys_in_the_pin_at_the_second_try(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind, threshold=100)
    pins = [WRONG_PIN, PIN]
    told = []
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, pay_code=phone.code())
        async for said in sale.follow():
            told.append(said.verdict)
            while said.verdict is Verdict.ASK_PAYER and pins:
                pin = pins.pop(0)
                if pin == WRONG_PIN:
                    with pytest.raises(Refusal, match="PIN_WRONG"):
                        await sale.enter_pin(pin)
                else:
                    await sale.enter_pin(pin)
    assert Verdict.ASK_PAYER in told
    assert (told[-1], pins) == (Verdict.HAND_OVER_GOODS, [])
    assert counter.payments(sale) == ["CAPTURED"]


async def test_after_a_decline_another_code_pays_within_the_same_loop(counter: Counter) -> None:
    poor, rich = (shopper_with_phone(counter.behind, funds=funds) for funds in (1, 1000))
    codes = [rich.code()]
    told = []
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, pay_code=poor.code())
        async for said in sale.follow():
            told.append(said.verdict)
            if said.verdict is Verdict.SAFE_TO_RETRY:
                await sale.pay(codes.pop())
    assert told[0] is Verdict.SAFE_TO_RETRY
    assert sale.said.hands_over
    assert sorted(counter.payments(sale)) == ["CAPTURED", "VOIDED"]
    assert counter.behind.wallet(poor.identity_id) == (1, 0)


async def test_a_declined_sale_is_closed_before_money_is_taken_in_another_way(counter: Counter) -> None:
    poor = shopper_with_phone(counter.behind, funds=1)
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, pay_code=poor.code())
        assert (await sale.ended()).verdict is Verdict.SAFE_TO_RETRY
        assert len(await till.resume()) == 1
        assert (await sale.cancel()).verdict is Verdict.CLOSED
        assert not sale.said.hands_over
        assert await till.resume() == []


async def test_a_payment_is_given_up_and_the_order_changed(counter: Counter) -> None:
    shopper = counter.behind.shopper(threshold=0)
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, payer=shopper)
        assert sale.outcome is Verdict.ASK_PAYER
        await sale.cancel_payment()
        assert (await sale.ended()).verdict is Verdict.SAFE_TO_RETRY
        assert (await sale.set_line(1, quantity=1)).amount == Money("GBP", 125)
        assert (await sale.pay()).verdict is Verdict.ASK_PAYER
    assert sorted(counter.payments(sale)) == ["AWAITING_PAYER", "VOIDED"]


async def test_a_yes_on_the_phone_ends_the_loop_at_once(counter: Counter) -> None:
    shopper = counter.behind.shopper(threshold=0)
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, payer=shopper)
        told = []
        async for said in sale.follow():
            told.append(said.verdict)
            if said.verdict is Verdict.ASK_PAYER:
                say_yes(counter.behind, said)
    assert (told[0], told[-1]) == (Verdict.ASK_PAYER, Verdict.HAND_OVER_GOODS)


async def test_lines_come_back_and_then_all_of_it(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind)
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, pay_code=phone.code())
        await sale.ended()
        repaid = await sale.refund(lines={1: 1})
        assert (repaid.is_done, repaid.refund.amount.minor_units) == (True, 125)
        undone = await sale.void()
        assert (undone.outcome, undone.refunded) == (Outcome.REFUNDED, Money("GBP", 125))
        assert (sale.outcome, sale.said.hands_over) == (Verdict.HAND_OVER_GOODS, False)
        with pytest.raises(Refusal, match="PAYMENT_ALREADY_REFUNDED"):
            await till.refund(sale.checkout_id)
        assert await till.resume() == []
    assert counter.behind.wallet(phone.identity_id) == (1000, 0)


async def test_a_sale_that_is_not_paid_is_undone(counter: Counter) -> None:
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, payer=counter.behind.shopper(threshold=0))
        assert (await sale.void()).outcome is Outcome.CANCELED
        assert sale.outcome is Verdict.CLOSED
        assert await till.resume() == []


async def test_a_refusal_says_why_and_nothing_is_left_to_repeat(counter: Counter) -> None:
    async with counter.till() as till:
        with pytest.raises(Refusal) as refused:
            await till.sell([TEA], amount=Money("GBP", 1), payer="ada")
        assert (refused.value.reason, refused.value.domain) == ("AMOUNT_MISMATCH", "terminal.tillmesh")
        with pytest.raises(Refusal) as refused:
            await till.sell([Line(sku="", quantity=1)], amount=PRICE, payer="ada")
        assert {violation.field for violation in refused.value.violations} >= {"lines[0].sku"}
        assert await till.resume() == []


async def test_a_sale_that_is_taken_up_again_is_in_the_journal_once_and_not_at_all_when_it_is_over(
    counter: Counter,
) -> None:
    phone = shopper_with_phone(counter.behind)
    async with counter.till() as till:
        sale = await till.open([TEA])
        await sale.submit()
        for _ in range(2):
            await till.take_up(sale.checkout_id)
            await till.find(sale.checkout_id)
        assert len(await till.resume()) == 1
        await sale.pay(phone.code())
        await till.find(sale.checkout_id)
        assert len(await till.resume()) == 1  # it was paid, and nobody has been told so by the sale itself
        await sale.ended()
        assert (await till.take_up(sale.checkout_id)).said.hands_over
        assert await till.resume() == []


async def test_goods_without_their_sale_are_taken_back(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind, funds=0)
    async with counter.till() as till:
        assert (await till.take_back([CUP], payee=phone.identity_id)).is_done
        assert (await till.take_back([CUP], pay_code=phone.code())).is_done
    assert counter.behind.wallet(phone.identity_id) == (60, 0)


async def test_a_sale_that_is_sold_again_under_its_number_is_the_one_that_was_made(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind)
    async with counter.till() as till:
        first = await till.sell([TEA], amount=PRICE, pay_code=phone.code(), checkout_id="twice")
        assert (await first.ended()).hands_over
        again = await till.sell([TEA], amount=PRICE, payer=phone.identity_id, checkout_id="twice")
        assert (await again.ended()).hands_over
        assert await till.resume() == []
    assert counter.payments(again) == ["CAPTURED"]
    assert counter.behind.wallet(phone.identity_id) == (750, 0)


async def test_a_terminal_whose_clock_was_put_back_is_heard(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind, threshold=100)
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, pay_code=phone.code())
        async for said in sale.follow():
            if said.verdict is Verdict.ASK_PAYER:
                said.checkout.update_time.seconds += 3_600  # as it was before
                say_yes(counter.behind, said)
        assert sale.said.hands_over


async def test_at_the_bound_of_the_journal_what_is_open_can_be_ended(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ENTRIES_MAX", 1)
    async with counter.till() as till:
        sale = await till.open([TEA])
        with pytest.raises(Failure, match="open requests"):
            await till.open([TEA])
        await sale.cancel()
        assert await till.resume() == []
