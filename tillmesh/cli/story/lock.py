"""One order of one shopper, through everything that can happen before it is paid (the two patents)."""

import asyncio
import time

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payer_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.cli.display import amount, seconds
from tillmesh.cli.order_records import read_order_records, short
from tillmesh.cli.order_story import tell
from tillmesh.cli.phone.client import PhoneClient
from tillmesh.cli.records import show_balances
from tillmesh.cli.story.goods import GOODS, buys_goods
from tillmesh.cli.story.payer import CARD, DEPOSIT, her_phone, pays_by_code, shopper, wrong_pin
from tillmesh.cli.story.presented import PRESENTED, scans_the_shops_code
from tillmesh.cli.story.scene import CALL_S, NAME, PAYER, Stage, check, quote, refused, say, scene
from tillmesh.client import Said, Sale, Till, Verdict
from tillmesh.client.books import is_balanced, read_verified_balances
from tillmesh.client.connections import Client
from tillmesh.client.requests import consent_to
from tillmesh.client.watch import follow_order, follow_payment
from tillmesh.local.mesh import Mesh
from tillmesh.local.processes import ServerName
from tillmesh.runtime.clock import SystemClock
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

PAYER_WINDOW_S = 5
VERIFIED_WITHIN_S = 15

OPEN = order_pb2.Order.STATE_OPEN
LOCKED = order_pb2.Order.STATE_LOCKED
CAPTURED = payment_pb2.Payment.STATE_CAPTURED
VOIDED = payment_pb2.Payment.STATE_VOIDED


async def play(mesh: Mesh) -> None:
    """Plays every scene; raises as soon as something is not as it is told."""
    async with Client(mesh.addresses) as client, Till.over(client) as till:
        stage = Stage(mesh, client, till)
        await shopper(stage)
        phone = await her_phone(stage)
        await pays_by_code(stage, phone)
        async with PhoneClient(mesh.addresses, phone) as line:
            await buys_goods(stage, line)
            await scans_the_shops_code(stage, line)
            await LockStory(stage, line, await _mugs_and_cards(stage)).play()


async def _mugs_and_cards(stage: Stage) -> Sale:
    scene("The till raises a pending transaction under her identity")
    return await stage.sell(PAYER, MUG=4, CARD=2)


class LockStory:
    """The scenes in which her order is locked, unlocked, changed and paid."""

    def __init__(self, stage: Stage, line: PhoneClient, sale: Sale) -> None:
        self._stage = stage
        self._client = stage.client
        self._line = line
        self._sale = sale
        self._order_id = sale.checkout_id

    async def play(self) -> None:
        """All scenes in their order."""
        await self._pending_transaction()
        first = await self._locked_by_a_payment()
        await self._change_is_refused(first)
        await self._lease_runs_out(first)
        second = await self._pay_again_and_cancel()
        await self._changed_in_place()
        await self._paid()
        await self._old_payments_are_dead(first, second)
        await self._told_by_the_servers()

    async def _pending_transaction(self) -> None:
        said = self._sale.said
        say(f"4 mugs and 2 cards: order {self._order_id}, version {said.checkout.order_version}, {said.amount}.")
        at_till = await self._stage.till.pending_orders(PAYER)
        on_phone = await self._line.call(self._line.payers.ListPendingOrders, payer_api.ListPendingOrdersRequest())
        for pending in (at_till, on_phone.orders):
            numbers = [order.order_id for order in pending]
            check(numbers == [self._order_id], f"the pending transactions of {PAYER} are {self._order_id}: {numbers}")
        say(f"The till and her phone both ask for the pending transactions of {PAYER}. Each gets exactly this one.")

    async def _locked_by_a_payment(self) -> payment_pb2.Payment:
        scene("She pays by code: it is above her threshold, so the order is locked and waits for her")
        renewed = await self._line.new_key()
        say("A key is good for one payment in half a minute; her phone makes itself a new one.")
        payment = await self._start_payment(renewed.code(SystemClock().now_ms()))
        check(self._sale.said.checkout.payer_display_name == NAME, "the till knows what to call her")
        order = await self._order()
        check(order.state == LOCKED and order.payment_id == payment.payment_id, "the payment holds the lock")
        say(f"Payment {short(payment.payment_id)} of {amount(payment.amount)} waits for her yes. Nothing is held yet.")
        say(f"The order is LOCKED by it, for {seconds(order.lease_remaining)} more seconds at most.")
        return payment

    async def _change_is_refused(self, payment: payment_pb2.Payment) -> None:
        scene("Meanwhile somebody wants to change the order")
        order = await self._order()
        replace = order_api.ReplaceOrderLinesRequest(
            request_id=new_request_id(), order_id=order.order_id, version=order.version, lines=order.lines[:1]
        )
        with refused("ORDER_LOCKED", "a locked order is not changed") as seen:
            await self._client.call(self._client.orders.ReplaceOrderLines, replace)
        holder, left_s = seen[0].metadata.get("payment_id"), seen[0].metadata.get("seconds_left", "0")
        named = holder == payment.payment_id and int(left_s) > 0
        check(named, f"the refusal names the holder and the seconds left: {seen[0]}")
        quote("order_service", seen[0].text)

    async def _lease_runs_out(self, payment: payment_pb2.Payment) -> None:
        scene("The payment server dies: kill -9")
        self._stage.mesh.kill(ServerName.PAYMENTS)
        started = time.monotonic()
        say("It dies in the middle of the payment. Now only the order service can unlock the order.")
        locked = order_pb2.Order(order_id=self._order_id, store_id=payment.store_id)
        await self._stage.until(
            "the lease runs out and the order is OPEN",
            follow_order(self._client, locked),
            lambda order: order.state == OPEN,
        )
        say(f"After {time.monotonic() - started:.1f} s the lease ran out: payment is pending again, the order is OPEN.")
        await asyncio.to_thread(self._stage.mesh.restart, ServerName.PAYMENTS)
        ended = await self._payment_is(payment, VOIDED)
        say(f"The payment server starts again, finds the unfinished payment and ends it: VOIDED ({ended.reason}).")
        said = await self._till_says(Verdict.SAFE_TO_RETRY)
        say(f"The till says SAFE_TO_RETRY ({said.reason}).")

    async def _pay_again_and_cancel(self) -> payment_pb2.Payment:
        scene("Once more, and this time she cancels on her phone")
        payment = await self._start_payment()
        check((await self._order()).state == LOCKED, "the order is locked again")
        cancel = payment_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment.payment_id)
        await self._line.call(self._line.payments.CancelPayment, cancel)
        ended = await self._payment_is(payment, VOIDED)
        order = await self._order()
        check(order.state == OPEN, "the order is OPEN as soon as the payment is canceled")
        say(f"Payment {short(payment.payment_id)} is VOIDED ({ended.reason}), the order is OPEN: no lease to wait for.")
        await self._till_says(Verdict.SAFE_TO_RETRY)
        return payment

    async def _changed_in_place(self) -> None:
        scene("Now the same order is changed in place")
        before = await self._order()
        await self._sale.set_line(1, quantity=3)
        after = await self._order()
        same = after.order_id == before.order_id and after.version == before.version + 1
        check(same and after.amount.minor_units == before.amount.minor_units - 650, "one mug less, version + 1")
        say(f"3 mugs instead of 4: still order {after.order_id}, now version {after.version}, {amount(after.amount)}.")

    async def _paid(self) -> None:
        scene("She pays the new amount: a wrong PIN at the till, then a yes on her phone")
        payment = await self._start_payment()
        await wrong_pin(self._sale)
        await self._line.call(self._line.payments.ConfirmPayment, consent_to(payment), timeout_s=CALL_S)
        await self._till_says(Verdict.HAND_OVER_GOODS)
        captured = await self._payment_is(payment, CAPTURED)
        order = await self._order()
        check(captured.amount == order.amount, "what is captured is what the order says")
        say(f"She says yes to {amount(captured.amount)}. The till says HAND OVER GOODS; the payment is CAPTURED.")

    async def _old_payments_are_dead(self, *payments: payment_pb2.Payment) -> None:
        scene("The old payments can no longer take money")
        for payment in payments:
            with refused("PAYMENT_NOT_WAITING", "a dead payment is not confirmed") as seen:
                await self._line.call(self._line.payments.ConfirmPayment, consent_to(payment))
            quote("thirdparty_server", seen[0].text)
            check((await self._payment(payment)).state == VOIDED, f"payment {payment.payment_id} is VOIDED")
        wallet, order = await self._stage.wallet(), await self._order()
        left_minor = DEPOSIT - CARD - GOODS - PRESENTED - order.amount.minor_units
        paid_once = wallet.posted.minor_units == left_minor and not wallet.held.minor_units
        check(paid_once, f"{PAYER} paid exactly once, she has {amount(wallet.posted)}")
        say(f"Three payments, one charge: {PAYER} has {amount(wallet.posted)} left, and nothing is on hold.")

    async def _told_by_the_servers(self) -> None:
        scene(f"The same, told by the servers: tillmesh explain {self._order_id}")
        tell(await read_order_records(self._client, self._order_id))
        scene("And the books: tillmesh balances")
        balances = await read_verified_balances(self._client, VERIFIED_WITHIN_S)
        show_balances(balances)
        for balance in balances:
            check(is_balanced(balance), f"{balance.currency_code} balances")

    async def _start_payment(self, code: Secret | None = None) -> payment_pb2.Payment:
        """Pays at the till, which then waits for her yes."""
        paying = await self._stage.pay(self._sale, code)
        check(paying.verdict is Verdict.ASK_PAYER, f"the payment waits for the payer: {paying}")
        return await self._stage.payment(paying.checkout.payment_id)

    async def _till_says(self, verdict: Verdict) -> Said:
        return await self._stage.until(
            f"the till says {verdict}", self._sale.follow(), lambda said: said.verdict is verdict
        )

    async def _payment_is(
        self, payment: payment_pb2.Payment, state: payment_pb2.Payment.State.ValueType
    ) -> payment_pb2.Payment:
        claim = f"payment {payment.payment_id} is {payment_pb2.Payment.State.Name(state)}"
        return await self._stage.until(claim, follow_payment(self._client, payment), lambda seen: seen.state == state)

    async def _order(self) -> order_pb2.Order:
        return await self._stage.order(self._order_id)

    async def _payment(self, payment: payment_pb2.Payment) -> payment_pb2.Payment:
        return await self._stage.payment(payment.payment_id)
