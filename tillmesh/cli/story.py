"""The story of the two patents on a running mesh: each scene does something, checks it, and says it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rich.markup import escape

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identity_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import terminal_service_pb2 as terminal_api
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.acting import consent_to
from tillmesh.cli.client import Client
from tillmesh.cli.display import amount, out, seconds
from tillmesh.cli.explain import read_story, short, tell
from tillmesh.cli.failures import CliError
from tillmesh.cli.looking import show_balances
from tillmesh.cli.mesh import Mesh, Role
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

PAYER = "ada"
PAYER_WINDOW_S = 4
WITHIN_S = 60.0
POLL_INTERVAL_S = 0.1

OPEN = order_pb2.Order.STATE_OPEN
LOCKED = order_pb2.Order.STATE_LOCKED
AWAITING_PAYER = payment_api.Payment.STATE_AWAITING_PAYER
CAPTURED = payment_api.Payment.STATE_CAPTURED
VOIDED = payment_api.Payment.STATE_VOIDED

Seen = TypeVar("Seen")


async def play(mesh: Mesh) -> None:
    """Plays every scene; raises as soon as something is not as it is told."""
    async with Client(mesh.addresses) as client:
        await Story(mesh, client).play()


def scene(title: str) -> None:
    """Begins a scene."""
    out.print()
    out.rule(f"[bold]{title}", align="left")


def say(sentence: str) -> None:
    """Tells what was done and checked."""
    out.print(f"  {escape(sentence)}", soft_wrap=True)


def quote(server: str, words: str) -> None:
    """Gives a server's own words."""
    out.print(f"  [yellow]{server}:[/] “{escape(words)}”", soft_wrap=True)


def check(ok: bool, claim: str) -> None:
    """Ends the demo unless what is told is so."""
    if not ok:
        raise CliError(f"This should be so, but is not: {claim}")


class Story:
    """One order of one shopper, through everything that can happen before it is paid."""

    def __init__(self, mesh: Mesh, client: Client) -> None:
        self._mesh = mesh
        self._client = client
        self._currency = mesh.store.currency
        self._order_id = ""

    async def play(self) -> None:
        """All scenes in their order."""
        await self._shopper()
        await self._pending_transaction()
        first = await self._locked_by_a_payment()
        await self._change_is_refused(first)
        await self._lease_runs_out(first)
        second = await self._pay_again_and_cancel()
        await self._changed_in_place()
        await self._paid()
        await self._old_payments_are_dead(first, second)
        await self._told_by_the_servers()

    async def _shopper(self) -> None:
        scene("A shopper with an online account")
        create = identity_api.CreateIdentityRequest(
            request_id=new_request_id(),
            identity_id=PAYER,
            display_name="Ada",
            currency_code=self._currency,
            instant_limit=self._money(1000),
        )
        identity = await self._client.call(self._client.identities.CreateIdentity, create)
        deposit = account_api.CreateDepositRequest(
            request_id=new_request_id(), identity_id=PAYER, amount=self._money(10_000)
        )
        wallet = await self._client.call(self._client.accounts.CreateDeposit, deposit)
        say(f"{PAYER} has {amount(wallet.posted)}. More than {amount(identity.instant_limit)} needs her yes.")
        articles = [("MUG", "Stoneware mug", 650), ("CARD", "Greeting card", 240)]
        items = [
            catalogue_api.CatalogueItem(sku=sku, title=title, unit_price=self._money(price))
            for sku, title, price in articles
        ]
        request = catalogue_api.ImportCatalogueItemsRequest(request_id=new_request_id(), items=items)
        await self._client.call(self._client.catalogue.ImportCatalogueItems, request)

    async def _pending_transaction(self) -> None:
        scene("The till raises a pending transaction under her identity")
        create = terminal_api.CreateCheckoutRequest(
            request_id=new_request_id(),
            payer_id=PAYER,
            currency_code=self._currency,
            lines=[terminal_api.NewLine(sku="MUG", quantity=4), terminal_api.NewLine(sku="CARD", quantity=2)],
        )
        basket = await self._client.call(self._client.till.CreateCheckout, create)
        submit = terminal_api.SubmitCheckoutRequest(request_id=new_request_id(), checkout_id=basket.checkout_id)
        checkout = await self._client.call(self._client.till.SubmitCheckout, submit)
        self._order_id = checkout.checkout_id
        say(f"4 mugs and 2 cards: order {self._order_id}, version {checkout.order_version}, {amount(checkout.amount)}.")
        at_till = await self._client.call(
            self._client.till.ListPendingTransactions,
            terminal_api.ListPendingTransactionsRequest(payer_id=PAYER),
        )
        on_phone = await self._client.call(
            self._client.orders.ListOrders, order_api.ListOrdersRequest(payer_id=PAYER, states=[OPEN, LOCKED])
        )
        for pending in (at_till, on_phone):
            numbers = [order.order_id for order in pending.orders]
            check(numbers == [self._order_id], f"the pending transactions of {PAYER} are {self._order_id}: {numbers}")
        say(f"Asked for the pending transactions of {PAYER}, the till and her phone both get exactly that one.")

    async def _locked_by_a_payment(self) -> payment_api.Payment:
        scene("She pays: the order is locked")
        payment = await self._start_payment()
        order = await self._order()
        check(order.state == LOCKED and order.payment_id == payment.payment_id, "the payment holds the lock")
        say(f"Payment {short(payment.payment_id)} of {amount(payment.amount)} waits for her yes. Nothing is held yet.")
        say(f"The order is LOCKED by it, for {seconds(order.lease_remaining)} more seconds at most.")
        return payment

    async def _change_is_refused(self, payment: payment_api.Payment) -> None:
        scene("Meanwhile somebody wants to change the order")
        order = await self._order()
        update = order_api.UpdateOrderRequest(
            request_id=new_request_id(), order_id=order.order_id, version=order.version, lines=order.lines[:1]
        )
        try:
            await self._client.call(self._client.orders.UpdateOrder, update)
        except Refusal as refusal:
            holder, left_s = refusal.metadata.get("payment_id"), refusal.metadata.get("seconds_left", "0")
            named = refusal.reason == "ORDER_LOCKED" and holder == payment.payment_id and int(left_s) > 0
            check(named, f"the refusal names the holder and the seconds left: {refusal}")
            quote("order_service", refusal.text)
        else:
            check(False, "a locked order is not changed")

    async def _lease_runs_out(self, payment: payment_api.Payment) -> None:
        scene("The payment server dies: kill -9")
        self._mesh.kill(Role.PAYMENTS)
        started = time.monotonic()
        say("It is gone in the middle of the payment. Nobody is left to unlock the order but the order service.")
        await self._until("the lease runs out and the order is OPEN", self._order, lambda order: order.state == OPEN)
        say(f"After {time.monotonic() - started:.1f} s the lease ran out: payment is pending again, the order is OPEN.")
        await asyncio.to_thread(self._mesh.restart, Role.PAYMENTS)
        ended = await self._ended(payment)
        say(f"Started again, the payment server finds its half-done payment and ends it: VOIDED ({ended.reason}).")
        checkout = await self._until(
            "the till may try again", self._checkout, lambda seen: seen.verdict == checkout_pb2.VERDICT_SAFE_TO_RETRY
        )
        say(f"The till says SAFE_TO_RETRY ({checkout.verdict_reason}).")

    async def _pay_again_and_cancel(self) -> payment_api.Payment:
        scene("Once more, and this time she cancels on her phone")
        payment = await self._start_payment()
        check((await self._order()).state == LOCKED, "the order is locked again")
        cancel = payment_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment.payment_id)
        await self._client.call(self._client.payments.CancelPayment, cancel)
        ended = await self._ended(payment)
        order = await self._order()
        check(order.state == OPEN, "the order is OPEN as soon as the payment is canceled")
        say(f"Payment {short(payment.payment_id)} is VOIDED ({ended.reason}), the order is OPEN: no lease to wait for.")
        await self._until(
            "the till may try again", self._checkout, lambda seen: seen.verdict == checkout_pb2.VERDICT_SAFE_TO_RETRY
        )
        return payment

    async def _changed_in_place(self) -> None:
        scene("Now the same order is changed in place")
        before = await self._order()
        change = terminal_api.UpdateLineRequest(
            request_id=new_request_id(), checkout_id=self._order_id, line_number=1, quantity=3
        )
        await self._client.call(self._client.till.UpdateLine, change)
        after = await self._order()
        same = after.order_id == before.order_id and after.version == before.version + 1
        check(same and after.amount.minor_units == before.amount.minor_units - 650, "one mug less, version + 1")
        say(f"3 mugs instead of 4: still order {after.order_id}, now version {after.version}, {amount(after.amount)}.")

    async def _paid(self) -> None:
        scene("She pays the new amount")
        payment = await self._start_payment()
        await self._client.call(self._client.payments.ConfirmPayment, consent_to(payment), timeout_s=30)
        await self._until(
            "the till hands over the goods",
            self._checkout,
            lambda seen: seen.verdict == checkout_pb2.VERDICT_HAND_OVER_GOODS,
        )
        captured = await self._until(
            "the payment is CAPTURED", lambda: self._payment(payment), lambda seen: seen.state == CAPTURED
        )
        order = await self._order()
        check(captured.amount == order.amount, "what is captured is what the order says")
        say(f"She says yes to {amount(captured.amount)}. The till says HAND OVER GOODS; the payment is CAPTURED.")

    async def _old_payments_are_dead(self, *payments: payment_api.Payment) -> None:
        scene("The old payments can no longer take money")
        for payment in payments:
            try:
                await self._client.call(self._client.payments.ConfirmPayment, consent_to(payment))
            except Refusal as refusal:
                check(refusal.reason == "PAYMENT_NOT_WAITING", f"a dead payment is refused: {refusal}")
                quote("thirdparty_server", refusal.text)
            else:
                check(False, "a dead payment is not confirmed")
            check((await self._payment(payment)).state == VOIDED, f"payment {payment.payment_id} is VOIDED")
        request = account_api.GetAccountRequest(account_id=f"wallet/{PAYER}")
        wallet = await self._client.call(self._client.accounts.GetAccount, request)
        order = await self._order()
        paid_once = wallet.posted.minor_units == 10_000 - order.amount.minor_units and not wallet.held.minor_units
        check(paid_once, f"{PAYER} paid exactly once, she has {amount(wallet.posted)}")
        say(f"Three payments, one charge: {PAYER} has {amount(wallet.posted)} left, and nothing is on hold.")

    async def _told_by_the_servers(self) -> None:
        scene(f"The same, told by the servers: tillmesh explain {self._order_id}")
        tell(await read_story(self._client, self._order_id))
        scene("And the books: tillmesh balances")
        answer = await self._client.call(
            self._client.accounts.ListTrialBalances, account_api.ListTrialBalancesRequest()
        )
        show_balances(list(answer.trial_balances))
        for balance in answer.trial_balances:
            check(balance.sum_minor == 0 and not balance.differing_account_ids, f"{balance.currency_code} balances")

    async def _start_payment(self) -> payment_api.Payment:
        """Pays at the till, and waits until her phone is asked."""
        checkout = await self._checkout()
        pay = terminal_api.PayCheckoutRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            order_version=checkout.order_version,
            amount=checkout.amount,
        )
        await self._client.call(self._client.till.PayCheckout, pay, timeout_s=30)
        paying = payment_api.GetPaymentRequest(payment_id=pay.request_id)
        return await self._until(
            "the payment waits for the payer",
            lambda: self._client.call(self._client.payments.GetPayment, paying),
            lambda seen: seen.state == AWAITING_PAYER,
        )

    async def _ended(self, payment: payment_api.Payment) -> payment_api.Payment:
        return await self._until(
            f"payment {payment.payment_id} is VOIDED", lambda: self._payment(payment), lambda seen: seen.state == VOIDED
        )

    async def _order(self) -> order_pb2.Order:
        request = order_api.GetOrderRequest(order_id=self._order_id)
        return await self._client.call(self._client.orders.GetOrder, request)

    async def _checkout(self) -> checkout_pb2.Checkout:
        request = terminal_api.GetCheckoutRequest(checkout_id=self._order_id)
        return await self._client.call(self._client.till.GetCheckout, request)

    async def _payment(self, payment: payment_api.Payment) -> payment_api.Payment:
        request = payment_api.GetPaymentRequest(payment_id=payment.payment_id)
        return await self._client.call(self._client.payments.GetPayment, request)

    def _money(self, minor: int) -> money_pb2.Money:
        return money_pb2.Money(currency_code=self._currency, minor_units=minor)

    async def _until(self, claim: str, look: Callable[[], Awaitable[Seen]], ok: Callable[[Seen], bool]) -> Seen:
        """Looks again until it is so."""
        end = time.monotonic() + WITHIN_S
        while not ok(seen := await look()):
            check(time.monotonic() < end, f"{claim}, within {WITHIN_S:.0f} s")
            await asyncio.sleep(POLL_INTERVAL_S)
        return seen
