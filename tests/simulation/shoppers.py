"""The ways in which shoppers shop."""

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from tests.simulation.baskets import for_nothing, several_things
from tests.simulation.claiming import Claiming
from tests.simulation.customer import EXPECTED, Customer, Deed
from tests.simulation.deeds import ANY_AMOUNT
from tests.simulation.world import World
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api

WATCHED_S = 60.0
NOT_THERE = {
    "CHECKOUT_EXISTS", "CHECKOUT_NOT_FOUND", "ORDER_EXISTS", "ORDER_NOT_FOUND", "REQUEST_ID_REUSED", "SALE_TOO_LATE",
}  # fmt: skip
"""Refusals of who chooses the number of a checkout: it is not there yet, somebody else has that number, it was undone
before it was there, or it came too late."""


class Shopper(Claiming):
    """A customer with a way to shop."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.friend = self
        """Whose pay code is as good as one's own, where no name is on the order."""
        self._shops: Deed = self.no

    async def prepare(self) -> None:
        """Joins the platform, and in half of the worlds fills the basket while all is well."""
        self._shops = self.rng.choice(
            (
                self._wander, self._race, self._race, self._lose_patience, self._lose_patience,
                self._show_codes, self._show_codes, self._take_for_nothing, self._bring_back, self._bring_back,
                self._sell_at_once, self._sell_at_once, self._sell_at_once,
                self._show_qr_code, self._show_qr_code, self._show_qr_code, self._show_qr_code, self._show_qr_code,
            )
        )  # fmt: skip
        self.named = self._shops not in (self._show_codes, self._show_qr_code)
        sells_at_once = self._shops == self._sell_at_once
        if sells_at_once:
            self.named = self.rng.random() < 0.5
            self.expected = EXPECTED | NOT_THERE
        if self._shops == self._take_for_nothing or (sells_at_once and self.rng.random() < 0.2):
            self.basket = for_nothing(self.rng)
        elif self._shops == self._bring_back or self.rng.random() < 0.4:
            self.basket = several_things(self.rng)
        price = self.basket.amount_minor
        threshold = self.rng.choice((ANY_AMOUNT, ANY_AMOUNT, None, price))
        self.says_yes = threshold != ANY_AMOUNT
        shares = (0.5, 1, 2, 10) if self._shops == self._show_codes else (1, 1, 2, 10)
        await self.join(funds=max(1, int(price * self.rng.choice(shares))), threshold=threshold)
        if self.rng.random() < 0.5 and not sells_at_once:
            await self.raise_order()

    async def shop(self) -> None:
        """Buys in one way or another."""
        if not self.checkout_id and self._shops != self._sell_at_once:
            await self.raise_order()
        await self._shops()
        await self.look()
        await self.have_asked()

    async def watch(self) -> None:
        """Looks at the till all the time, for as long as a sale may take."""
        while asyncio.get_running_loop().time() < WATCHED_S:
            await asyncio.sleep(self.rng.uniform(0, 0.1))
            if self.checkout_id:
                await self.look()

    async def _wander(self) -> None:
        """Whatever comes to mind, on both devices at once."""
        at_till = [
            self.pay_at_till, self.pay_at_till, self.pay_at_till, self.cancel_at_till, self.change_at_till,
            self.resume, self.leave, self.give_back, self.return_goods, self.void_sale, self.park, self.recall,
        ]  # fmt: skip
        by_phone = [
            self.confirm, self.confirm, self.confirm_too_early, self.pay_by_phone, self.pay_by_phone,
            self.cancel_by_phone, self.cancel_at_order, self.change_on_web,
        ]  # fmt: skip
        await self.at_once(self._some_of(at_till), self._some_of(by_phone))

    async def _some_of(self, deeds: Sequence[Deed]) -> None:
        for _ in range(self.rng.randint(3, 6)):
            await self.rng.choice(deeds)()
            await self.pause(12)

    async def _race(self) -> None:
        """Both devices pay the same order at about the same time, change it under the lock, confirm what waits."""
        ends = self.cancel_at_order, self.cancel_by_phone, self.cancel_at_till, self.look
        changes = self.change_on_web, self.change_at_till
        for _ in range(self.rng.randint(1, 3)):
            change = self.rng.choice(changes)
            await self.at_once(*map(self.after, (self.pay_at_till, self.pay_by_phone, self.confirm, change)))
            await self.at_once(self.confirm(), self.after(self.rng.choice(ends)))
        await self.rng.choice((self.give_back, self.bring_back))()

    async def _lose_patience(self) -> None:
        """Pays, ends it after a moment, changes the order perhaps, and pays again."""
        for _ in range(self.rng.randint(2, 4)):
            pay = self.rng.choice((self.pay_by_phone, self.pay_by_phone, self.pay_at_till))
            end = self.rng.choice((self.cancel_at_order, self.cancel_at_order, self.cancel_by_phone, self.no))
            paying = asyncio.ensure_future(pay())
            await self.pause(3)
            await self.at_once(self.confirm(), self.after(end))
            if self.rng.random() < 0.6:
                await self._change_mind()
            if self.rng.random() < 0.5:
                await self.rng.choice((self.change_on_web, self.change_at_till))()
            if self.rng.random() < 0.5:
                await self.rng.choice((self.pay_by_phone, self.pay_at_till))()
            await paying
        await self.rng.choice((self.confirm, self.give_back))()

    async def _change_mind(self) -> None:
        """Ends a payment as soon as it has the lock, and pays anew before the first one has heard of its lock."""
        paying = []
        for _ in range(2):
            paying.append(asyncio.ensure_future(self.pay_by_phone()))
            await asyncio.sleep(self.rng.uniform(0, 0.5))
            for payment in (await self.my_payments())[:1]:
                await self.cancel_at_order(payment)
        await self.pay_by_phone()
        await self.at_once(*paying)

    async def _show_codes(self) -> None:
        """One shows a code, then the other: what the first was declined, or cancelled, the second may pay."""
        payers = [self, self.friend]
        self.rng.shuffle(payers)
        for payer in (*payers, self.rng.choice(payers)):
            ends = self.cancel_at_till, self.no, self.no, self.change_at_till
            await self.pay_at_till(payer if self.rng.random() < 0.85 else None)
            await self.at_once(payer.confirm((0.0, 1.0)), self.after(self.rng.choice(ends)))
            await self.wait_for_outcome()
        await self.rng.choice((self.give_back, self.bring_back))()

    async def _show_qr_code(self) -> None:
        """The till shows the order's QR code: one or two phones claim it, while it is paid there or changes."""
        if self.rng.random() < 0.5:
            await self.renew_sticker()
        phones = [self, self.friend]
        for _ in range(self.rng.randint(1, 3)):
            self.rng.shuffle(phones)
            deeds: list[Deed] = [partial(phone.claim_at, self) for phone in phones[: self.rng.choice((1, 2, 2))]]
            by_code = partial(self.pay_at_till, self.rng.choice(phones))
            meanwhile = (
                self.no, self.no, self.present, by_code, by_code, self.change_at_till, self.change_on_web,
                self.cancel_at_till, self.leave, self.renew_sticker,
            )  # fmt: skip
            deeds.append(self.rng.choice(meanwhile))
            await self.present()
            await self.at_once(*map(self.after, deeds), self.friend.confirm())
            await self.wait_for_outcome()
        await self.at_once(*(phone.claim_at(self) for phone in phones))
        await self.rng.choice((self.give_back, self.bring_back, self.leave))()

    async def _take_for_nothing(self) -> None:
        """Takes what comes to nothing, while somebody else changes the order."""
        takes = self.pay_at_till, self.take_for_nothing
        for _ in range(self.rng.randint(1, 3)):
            await self.at_once(*map(self.after, (*takes, self.change_on_web)))
        await self.rng.choice((self.leave, self.give_back, self.pay_at_till))()

    async def _bring_back(self) -> None:
        """Pays, and brings back some of it at two tills at once, again and again."""
        for _ in range(2):
            await self.at_once(self.pay_at_till(), self.after(self.confirm))
            await self.wait_for_outcome()
        for _ in range(self.rng.randint(2, 4)):
            await self.look()
            await self.bring_back()
            await self.pause(3)
        await self.rng.choice((self.give_back, self.no))()

    async def _sell_at_once(self) -> None:
        """Buys everything in one call; it is undone meanwhile, or later, or some of it comes back."""
        payer = None if self.named else self.rng.choice((self, self.friend))
        meanwhile = [self.void_sale, self.void_sale, self.cancel_at_till, self.leave, self.no, self.no]
        if self.named:
            meanwhile += [self.change_on_web, self.pay_by_phone]
        await self.at_once(
            self.sell_at_once(payer),
            self.after((payer or self).confirm),
            self.after(self.rng.choice(meanwhile)),
        )
        await self.wait_for_outcome()
        later = self.void_sale, self.void_sale, self.give_back, self.bring_back, self.pay_at_till, self.no
        for _ in range(2):
            await self.rng.choice(later)()
            await self.pause(3)


class Operator(Customer):
    """Somebody of the platform who ends payments by hand, at any moment: none of them is a case for it."""

    async def meddle(self) -> None:
        """Looks for a payment that holds money, and takes any other where there is none."""
        for _ in range(self.rng.randint(4, 12)):
            await self.pause(5)
            for states in ([payment_pb2.Payment.STATE_AUTHORIZED], []):
                listed = await self.ask(self.payments.ListPayments, payments_api.ListPaymentsRequest(states=states))
                if listed and listed.payments:
                    await self._void(self.rng.choice(listed.payments))
                    break
        await self.have_asked()

    async def _void(self, payment: payment_pb2.Payment) -> None:
        request = payments_api.VoidPaymentRequest(request_id=self.new_id(), payment_id=payment.payment_id)
        await self.ask(self.payments.VoidPayment, request)


async def two_shoppers(world: World) -> list[Coroutine[Any, Any, None]]:
    """The story of most seeds."""
    return [Operator(world, "operator").meddle(), *(shopper.shop() for shopper in await _ready_to_shop(world))]


async def watched_shoppers(world: World) -> list[Coroutine[Any, Any, None]]:
    """The same, with somebody who looks at the tills all the time."""
    shoppers = await _ready_to_shop(world)
    return [deed() for shopper in shoppers for deed in (shopper.shop, shopper.watch)]


async def _ready_to_shop(world: World) -> list[Shopper]:
    ada, bob = shoppers = [Shopper(world, name) for name in ("ada", "bob")]
    ada.friend, bob.friend = bob, ada
    await ada.open_store()
    await asyncio.gather(*(shopper.prepare() for shopper in shoppers))
    return shoppers
