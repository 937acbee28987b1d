"""The mesh, the people and the checks that every scene uses."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import TypeVar

from rich.text import Text

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import account_pb2, payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.display import out
from tillmesh.client import Failure, Line, Refusal, Said, Sale, Till, Verdict
from tillmesh.client.connections import Client
from tillmesh.client.wallets import read_account, wallet_account_id
from tillmesh.local.mesh import Mesh
from tillmesh.runtime.foreign_text import quoted, visible
from tillmesh.runtime.secret import Secret

PAYER, NAME = "ada", "Ada"
WITHIN_S = 60.0
CALL_S = 30.0

Seen = TypeVar("Seen")


def scene(title: str) -> None:
    """Begins a scene."""
    out.print()
    out.rule(Text(title, "bold"), align="left")


def say(sentence: str) -> None:
    """Tells what was done and checked."""
    out.print(f"  {visible(sentence)}", soft_wrap=True)


def quote(server: str, words: str) -> None:
    """Gives a server's own words."""
    out.print(Text.assemble("  ", (f"{server}:", "yellow"), f" {quoted(words)}"), soft_wrap=True)


def check(ok: bool, claim: str) -> None:
    """Ends the demo unless what is told is so."""
    if not ok:
        raise Failure(f"This should be so, but is not: {claim}")


@contextmanager
def refused(reason: str, claim: str) -> Iterator[list[Refusal]]:
    """Ends the demo unless the block is refused for that reason; the refusal is put into the list."""
    seen: list[Refusal] = []
    try:
        yield seen
    except Refusal as refusal:
        check(refusal.reason == reason, f"{claim}, with {reason}: {refusal}")
        seen.append(refusal)
    else:
        check(False, claim)


class Stage:
    """The mesh, as the platform and a till of the store use it."""

    def __init__(self, mesh: Mesh, client: Client, till: Till) -> None:
        self.mesh = mesh
        self.client = client
        self.till = till
        self.currency = mesh.store.currency

    def money(self, minor: int) -> money_pb2.Money:
        """An amount of the store's currency."""
        return money_pb2.Money(currency_code=self.currency, minor_units=minor)

    async def sell(self, identity_id: str, **pieces: int) -> Sale:
        """The till raises a pending transaction: so many of each article."""
        lines = [Line(sku=sku, quantity=quantity) for sku, quantity in pieces.items()]
        sale = await self.till.open(lines, payer=identity_id, currency=self.currency)
        await sale.submit()
        return sale

    async def pay(self, sale: Sale, code: Secret | None = None) -> Said:
        """The till asks for the money, with a pay code if one was shown; the answer is its verdict."""
        await sale.pay(code.value.decode() if code else "")
        return await self.until(
            "the till knows what it waits for, or what came of the payment",
            sale.follow(),
            lambda said: said.verdict is not Verdict.WAIT,
        )

    async def order(self, order_id: str) -> order_pb2.Order:
        """An order as it is now."""
        return await self.client.call(self.client.orders.GetOrder, order_api.GetOrderRequest(order_id=order_id))

    async def payment(self, payment_id: str) -> payment_pb2.Payment:
        """A payment as it is now."""
        request = payment_api.GetPaymentRequest(payment_id=payment_id)
        return await self.client.call(self.client.payments.GetPayment, request)

    async def wallet(self) -> account_pb2.Account:
        """Her wallet, with its balance."""
        return await read_account(self.client, wallet_account_id(PAYER, self.currency))

    async def until(self, claim: str, seen: AsyncGenerator[Seen], ok: Callable[[Seen], bool]) -> Seen:
        """Watches until it is so."""
        try:
            async with asyncio.timeout(WITHIN_S), aclosing(seen):
                async for one in seen:
                    if ok(one):
                        return one
        except TimeoutError:
            pass
        raise Failure(f"This should be so, but is not: {claim}, within {WITHIN_S:.0f} s")
