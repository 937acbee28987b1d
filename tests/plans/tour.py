"""A tour of everything that the three servers do: each call, each filter of a list, each loop in the background."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from store_terminal.outbox import queries as outbox_queries
from tests.plans.callers import ADA, ADAS_PHONE, AT, DEVICE, PAYMENT_SERVER, PLATFORM, SHOP, STORE
from tests.plans.claims import claim_orders
from tests.plans.lists import read_lists
from tests.plans.mesh import Mesh
from tests.plans.parking import park_and_recall
from tests.plans.platform import Platform, gbp
from tests.plans.presenting import present, watch_orders
from tests.plans.sales import make_sales
from tests.plans.scans import scan_codes
from tests.pruning import counts, prune
from tests.simulation.network import PAYMENTS, TERMINAL, Fate
from tests.simulation.pruning import PRUNABLE
from tests.trust.secrets import PIN, WRONG_PIN
from thirdparty_server.payers import pin_counting
from thirdparty_server.payments import operations as payment_operations
from thirdparty_server.payments import queries as payment_queries
from thirdparty_server.payments.model import Lock
from tillmesh.api.payment.v1.payment_service_pb2 import ConfirmPaymentRequest
from tillmesh.auth.callers import Caller, caller
from tillmesh.storage.requests import IdempotencyKey

ALL_MS = 10**15


def tea(price: int = 500, quantity: int = 4) -> dict[str, Any]:
    return {"sku": "tea", "title": "Tea", "quantity": quantity, "unit_price_minor": price, "price_quantity": 1}


class Tour(Platform):
    """Whoever goes round."""

    async def go(self) -> None:
        """Everything once, at least."""
        await self.stores()
        await self.payers()
        await self.catalogue()
        await scan_codes(self)
        await self.orders()
        for payer in ({"identity_id": ADA}, {}):
            await self.baskets(payer)
            await park_and_recall(self.ask, self.new, [await self.basket(payer) for _ in range(3)])
            paid = await self.paid_checkout(payer)
            await self.refunds(paid)
            await make_sales(self, payer)
        await present(self)
        await watch_orders(self)
        await self.payments()
        await self.prune()
        await self.payments()
        await self.pins_at_the_till()
        await claim_orders(self)
        await self.superseded()
        await self.void()
        await self.queues()
        self.falsify_a_balance()
        await self.deposit("bob")  # balances are compared again once something is booked
        await asyncio.sleep(60)  # background loops: what is left comes to its end, and all is rolled up
        await read_lists(self.ask)
        await self.paid_checkout({"identity_id": ADA})  # its payer's name is not forgotten yet
        await self.sign_out()
        for wiring in self.mesh.wirings.values():
            await wiring.probe()

    async def catalogue(self) -> None:
        """Articles that are added, replaced as a whole, changed in parts, looked up, and deleted."""
        item = {"title": "Tea", "unit_price": gbp(500), "price_quantity": 1}
        deposit = item | {"sku": "bottle", "kind": "KIND_DEPOSIT"}
        items = [{"sku": sku, **item} for sku in ("tea", "milk", "sugar")]
        items += [deposit, {"sku": "cola", "gtins": ["4388844146686"], "deposit_sku": "bottle", **item}]
        await self.ask(DEVICE, "CatalogueService.ImportCatalogueItems", request_id=self.new(), items=items)
        for replace_all in (True, False):
            await self.import_articles(items, replace_all)
        import_id = await self.begin_import(items[:1], replace_all=False)
        await self.ask(DEVICE, "CatalogueService.CancelCatalogueImport", import_id=import_id)
        await asyncio.sleep(5)  # what it left behind is deleted
        await self.ask(DEVICE, "CatalogueService.DeleteCatalogueItems", request_id=self.new(), skus=["sugar"])
        await self.ask(DEVICE, "CatalogueService.GetCatalogueItem", sku="tea")
        await self.ask(DEVICE, "CatalogueService.LookUpCatalogueItem", gtin="4388844146686")

    async def import_articles(self, items: Sequence[Mapping[str, Any]], replace_all: bool) -> None:
        import_id = await self.begin_import(items, replace_all)
        await self.ask(DEVICE, "CatalogueService.CommitCatalogueImport", import_id=import_id, part_count=1)
        await asyncio.sleep(5)  # it is checked, shown and merged
        await self.ask(DEVICE, "CatalogueService.GetCatalogueImport", import_id=import_id)

    async def begin_import(self, items: Sequence[Mapping[str, Any]], replace_all: bool) -> str:
        import_id = self.new("import")
        await self.ask(DEVICE, "CatalogueService.CreateCatalogueImport", import_id=import_id, replace_all=replace_all)
        for _ in range(2):
            await self.ask(
                DEVICE, "CatalogueService.AddCatalogueImportItems", import_id=import_id, part_number=1, items=items
            )
        return import_id

    async def orders(self) -> None:
        """What the web shop does with orders, and a payment server with their locks."""
        free = await self.order(price=0)
        await self.ask(
            PLATFORM, "OrderService.CompleteFreeOrder", request_id=self.new(), order_id=free.order_id, version=1
        )
        order = await self.order()
        order_id, replaced = order.order_id, self.new()
        for _ in range(2):
            await self.ask(
                PLATFORM,
                "OrderService.ReplaceOrderLines",
                request_id=replaced,
                order_id=order_id,
                version=1,
                lines=[tea(700)],
            )
        await self.ask(SHOP, "OrderService.GetOrder", order_id=order_id)
        await self.ask(SHOP, "OrderService.GetOrderVersion", order_id=order_id, version=1)
        await self.lock(order_id, 2_800, lease_s=1)
        await asyncio.sleep(5)  # the sweeper unlocks it
        locked = await self.lock(order_id, 2_800, lease_s=9)
        await self.ask(
            PAYMENT_SERVER,
            "OrderService.CompleteOrderPayment",
            payment_id=locked.payment_id,
            order_id=order_id,
            epoch=locked.epoch,
        )
        canceled = await self.order()
        locked = await self.lock(canceled.order_id, 2_000, lease_s=9)
        for payment_id in (locked.payment_id, self.new("payment")):
            await self.ask(SHOP, "OrderService.CancelOrderPayment", payment_id=payment_id, order_id=canceled.order_id)
        for version in (7, 1):
            await self.ask(
                SHOP, "OrderService.CancelOrder", request_id=self.new(), order_id=canceled.order_id, version=version
            )

    async def order(self, price: int = 500, payer: Mapping[str, str] | None = None) -> Any:
        return await self.ask(
            PLATFORM,
            "OrderService.CreateOrder",
            request_id=self.new(),
            store_id=STORE,
            payer=payer or {"identity_id": ADA},
            currency_code="GBP",
            lines=[tea(price)],
            prices_include_tax=True,
        )

    async def lock(self, order_id: str, minor: int, lease_s: int) -> Any:
        return await self.ask(
            PAYMENT_SERVER,
            "OrderService.LockOrder",
            payment_id=self.new("payment"),
            order_id=order_id,
            payer={"identity_id": ADA},
            order_version=2 if minor == 2_800 else 1,
            amount=gbp(minor),
            lease={"seconds": lease_s},
        )

    async def baskets(self, payer: Mapping[str, str]) -> None:
        """A basket that is changed in all ways, submitted, changed again and given up; and one from the web shop."""
        basket = await self.basket(payer)
        where = {"checkout_id": basket.checkout_id}
        for method, change in (
            ("AddLines", {"lines": [tea(100)]}),
            ("UpdateLine", {"line_number": 1, "quantity": 2}),
            ("AdjustCheckout", {"adjustment": {"reason_code": "STAFF", "amount_minor": -1}}),
            ("RemoveLine", {"line_number": 2}),
            ("SubmitCheckout", {}),
            ("AddLines", {"lines": [tea(100)]}),
        ):
            basket = await self.ask(
                DEVICE,
                f"CheckoutService.{method}",
                request_id=self.new(),
                basket_version=basket.basket_version,
                **where,
                **change,
            )
        await self.ask(DEVICE, "CheckoutService.CancelCheckout", request_id=self.new(), **where)
        web = await self.order()
        await self.ask(DEVICE, "CheckoutService.ResumeCheckout", request_id=self.new(), order_id=web.order_id)
        await self.ask(DEVICE, "CheckoutService.ListPendingOrders", payer={"identity_id": ADA})
        await self.ask(DEVICE, "CheckoutService.CancelCheckout", request_id=self.new(), checkout_id=web.order_id)

    async def basket(self, payer: Mapping[str, str], price: int = 500) -> Any:
        return await self.ask(
            DEVICE, "CheckoutService.CreateCheckout", request_id=self.new(), lines=[tea(price)], **AT, **payer
        )

    async def submitted(self, payer: Mapping[str, str], price: int = 500) -> Any:
        basket = await self.basket(payer, price)
        return await self.ask(
            DEVICE,
            "CheckoutService.SubmitCheckout",
            request_id=self.new(),
            checkout_id=basket.checkout_id,
            basket_version=basket.basket_version,
        )

    async def pay(self, checkout: Any, code: str = "") -> Any:
        return await self.ask(
            DEVICE,
            "CheckoutService.PayCheckout",
            payment_id=self.new("payment"),
            checkout_id=checkout.checkout_id,
            order_version=checkout.order_version,
            amount=checkout.amount,
            pay_code=code,
            **AT,
        )

    async def paid_checkout(self, payer: Mapping[str, str]) -> Any:
        """A checkout that a wrong code does not pay, and a right one does."""
        checkout = await self.submitted(payer)
        await self.pay(checkout, self.wrong_pay_code())
        await self.ask(DEVICE, "ReceiptService.GetReceipt", checkout_id=checkout.checkout_id)
        paid = await self.pay(checkout, await self.pay_code())
        assert paid.paid_by_payment_id, paid
        await self.ask(DEVICE, "CheckoutService.GetCheckout", checkout_id=checkout.checkout_id)
        free = await self.submitted(payer, price=0)
        await self.pay(free)
        return paid

    async def refunds(self, paid: Any) -> None:
        """Part of it by lines, part by amount, from the till and from the platform; and goods without a sale."""
        where = {"checkout_id": paid.checkout_id}
        lines = [{"line_number": 1, "quantity": 1}]
        for part in ({"lines": lines}, {"amount": gbp(10)}):
            refund_id = self.new("refund")
            await self.ask(DEVICE, "TillRefundService.RefundCheckout", refund_id=refund_id, **where, **part, **AT)
            await self.ask(DEVICE, "TillRefundService.GetTillRefund", refund_id=refund_id)
        for subject in (where, {"refund_id": refund_id}):
            await self.ask(DEVICE, "ReceiptService.GetReceipt", **subject)
        refund = {"refund_id": self.new("refund"), "payment_id": paid.paid_by_payment_id}
        for _ in range(2):
            await self.ask(PLATFORM, "RefundService.RefundPayment", lines=lines, **refund)
        await self.ask(PLATFORM, "RefundService.GetRefund", refund_id=refund["refund_id"])
        for payee in ({"identity_id": ADA}, {"pay_code": await self.pay_code()}, {"pay_code": self.wrong_pay_code()}):
            await self.ask(
                DEVICE,
                "TillRefundService.ReturnGoods",
                refund_id=self.new("refund"),
                lines=[tea(10)],
                currency_code="GBP",
                **payee,
                **AT,
            )
        await self.ask(
            SHOP,
            "RefundService.CreateUnreferencedRefund",
            refund_id=self.new("refund"),
            store_id=STORE,
            identity_id=ADA,
            amount=gbp(10**6),
        )
        await self.lower_limit()

    async def pins_at_the_till(self) -> None:
        """A payment that waits for its payer's PIN: a wrong one, then the right one; and one that is given up."""
        for ends_by_pin in (True, False):
            checkout = await self.submitted({"identity_id": ADA})
            paying = asyncio.ensure_future(self.pay(checkout))
            await asyncio.sleep(1)
            for wiring in self.mesh.wirings.values():  # now there is something to do
                await wiring.backlogs()
            where = {"checkout_id": checkout.checkout_id}
            if ends_by_pin:
                for pin in (WRONG_PIN, PIN):
                    await self.ask(
                        DEVICE,
                        "CheckoutService.EnterPin",
                        request_id=self.new(),
                        amount=checkout.amount,
                        pin=pin,
                        **where,
                    )
            else:
                await self.ask(DEVICE, "CheckoutService.CancelCheckoutPayment", request_id=self.new(), **where)
            await paying

    async def payments(self) -> None:
        """Payments asked for by a phone, and by a store terminal."""
        for end in ("ConfirmPayment", "CancelPayment"):
            order = await self.order()
            payment_id = await self.create_payment(SHOP, order)
            request: dict[str, Any] = {"request_id": self.new(), "payment_id": payment_id}
            if end == "ConfirmPayment":
                request |= {"store_id": STORE, "amount": order.amount, "pin": PIN}
                await self._begin_pin_try(ConfirmPaymentRequest(**request))
            for _ in range(2):  # the second finds what the first has settled
                await self.ask(SHOP if end == "ConfirmPayment" else ADAS_PHONE, f"PaymentService.{end}", **request)
        await self.create_payment(ADAS_PHONE, await self.order())
        await self.create_payment(SHOP, await self.order(payer={"identity_id": "nobody"}))
        reference = {"reference": "01890a5d-ac96-774b-bcce-b302099a8057"}
        order = await self.order(price=2_000, payer=reference)
        first = await self.create_payment(SHOP, order, await self.pay_code())
        await self.ask(SHOP, "PaymentService.CancelPayment", request_id=self.new(), payment_id=first)
        for who in (SHOP, ADAS_PHONE):
            await self.create_payment(who, order)
        await self.ask(SHOP, "PaymentService.GetPayment", payment_id=first)

    async def _begin_pin_try(self, request: ConfirmPaymentRequest) -> None:
        """What a process leaves behind that dies while it checks the PIN of a request."""
        database = self.mesh.world.nodes[PAYMENTS].database
        token = caller.set(SHOP)
        key = IdempotencyKey.of(request, request.request_id, 0)
        await database.run(pin_counting.begin_once, key, ADA, database.replica, 0)
        caller.reset(token)

    async def create_payment(self, who: Caller, order: Any, code: str = "", payment_id: str = "") -> str:
        payment_id = payment_id or self.new("payment")
        await self.ask(
            who,
            "PaymentService.CreatePayment",
            payment_id=payment_id,
            order_id=order.order_id,
            order_version=order.version,
            payer=order.payer,
            amount=order.amount,
            pay_code=code,
        )
        return payment_id

    async def superseded(self) -> None:
        """A payment whose money is held while the order service is away, and another one that gets the next lock."""
        order = await self.order()
        with self._lost("CompleteOrderPayment"):
            paying = asyncio.ensure_future(self.create_payment(ADAS_PHONE, order))
            await asyncio.sleep(9)  # until its lease is over
            await self.create_payment(ADAS_PHONE, order)
            await paying

    async def void(self) -> None:
        """A payment that its order has never heard of: an operator gives its money back."""
        now_ms = self.mesh.world.nodes[PAYMENTS].now_ms()
        with self._lost("LockOrder"):
            payment_id = self.new("payment")
            creating = asyncio.ensure_future(self.create_payment(ADAS_PHONE, await self.order(), payment_id=payment_id))
            await asyncio.sleep(1)
            lock = Lock(1, STORE, now_ms)
            await self.mesh.world.nodes[PAYMENTS].database.run(payment_operations.record_lock, payment_id, lock, now_ms)
            void = {"request_id": self.new(), "payment_id": payment_id}
            voided = await self.ask(PLATFORM, "PaymentService.VoidPayment", **void)
            assert voided.reason == "VOIDED_BY_OPERATOR", voided
            await creating

    async def prune(self) -> None:
        """All that is old by now; a request for a basket that is gone."""
        gone = await self.basket({})
        where = {"checkout_id": gone.checkout_id}
        await self.ask(DEVICE, "CheckoutService.CancelCheckout", request_id=self.new(), **where)
        for name, parts in PRUNABLE.items():
            database = self.mesh.world.nodes[name].database
            before_ms = self.mesh.world.nodes[name].now_ms() + 1
            old = await counts(database, parts, before_ms)
            assert all(old.values()), old
            await prune(database, parts, before_ms)
        assert await self.ask(DEVICE, "CheckoutService.GetCheckout", **where) == "CHECKOUT_PRUNED"

    @contextmanager
    def _lost(self, method: str) -> Iterator[None]:
        """No such message arrives."""
        network = self.mesh.world.network
        before = network.decide
        network.decide = lambda _source, _target, what: Fate(()) if method in what else None
        yield
        network.decide = before

    async def queues(self) -> None:
        """What is due, page by page, in a database with one process and in one with several."""
        payments, terminal = self.mesh.world.nodes[PAYMENTS].database, self.mesh.world.nodes[TERMINAL].database
        with self._lost(""):
            await self.create_payment(ADAS_PHONE, await self.order())
            await self.submitted({"identity_id": ADA})
        for replica in ("", "other"):
            for after in (None, (0, "")):
                await payments.run(payment_queries.due_payments, replica, ALL_MS, ALL_MS, after, 64)
                await terminal.run(outbox_queries.due_requests, replica, ALL_MS, after, 64)

    def falsify_a_balance(self) -> None:
        """Past the server, which finds out."""
        database = self.mesh.world.nodes[PAYMENTS].database.sqlite()
        database.execute("UPDATE accounts SET posted_minor = posted_minor + 1 WHERE account_id = 'wallet/cleo/GBP'")


async def tour(mesh: Mesh) -> None:
    """Goes round."""
    await Tour(mesh).go()
