"""The terminal's own classes over real connections, by a clock that the test moves."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from grpc import aio

from store_terminal.catalogue.servicer import CatalogueServicer
from store_terminal.checkouts.servicer import CheckoutServicer
from store_terminal.outbox.worker import Outbox
from store_terminal.presenting.servicer import PresentationServicer
from store_terminal.receipts.servicer import ReceiptServicer
from store_terminal.refunds.servicer import TillRefundServicer
from store_terminal.scanning.servicer import ScanServicer
from store_terminal.server import TerminalSettings, assemble
from store_terminal.tables import METADATA
from tests.clocks import ManualClock
from tests.processes import DEADLINE_S
from tests.terminal.till import TEA, terminal_flags
from tillmesh.api.terminal.v1 import checkout_pb2, till_refund_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refunds_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.auth.callers import Role
from tillmesh.rpc.peers import open_channel
from tillmesh.rpc.settings import load_settings
from tillmesh.runtime.deadlines import set_deadline
from tillmesh.runtime.ids import SYSTEM_RNG, new_request_id
from tillmesh.storage.database import Database, open_database

WAIT_MS = 60_000
MARGIN_MS = 3_000


class Counting:
    """A channel that counts the calls of each method, streams among them."""

    def __init__(self, channel: aio.Channel, calls: Counter[str]) -> None:
        self._channel = channel
        self._calls = calls

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """A callable that makes calls of a method."""
        return self._counted(method, self._channel.unary_unary(method, *arguments, **options))

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """A callable that opens streams of a method."""
        return self._counted(method, self._channel.unary_stream(method, *arguments, **options))

    def _counted(self, method: str, real: Any) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._calls[method.rpartition("/")[2]] += 1
            return real(*arguments, **options)

        return call

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()


@dataclass
class Inside:
    """The terminal without its own port; unless it resumes, only what is asked is driven."""

    service: CheckoutServicer
    refunds: TillRefundServicer
    receipts: ReceiptServicer
    scans: ScanServicer
    catalogue: CatalogueServicer
    presenting: PresentationServicer
    outbox: Outbox
    database: Database
    clock: ManualClock
    calls: Counter[str]
    """Calls to the order service and the payment server so far, by their method."""

    def write_to(self, database: Database) -> None:
        """Has this database written to from now on."""
        self.service, self.refunds = replace(self.service, database=database), replace(self.refunds, database=database)
        self.scans = replace(self.scans, database=database)
        self.presenting = replace(self.presenting, database=database)
        self.outbox._database = database

    async def create(self, identity_id: str = "ada", lines: Sequence[api.NewLine] = (TEA,)) -> checkout_pb2.Checkout:
        request = api.CreateCheckoutRequest(request_id=new_request_id(), identity_id=identity_id, lines=lines)
        return await self.service.CreateCheckout(request)

    async def submitted(self, identity_id: str = "ada", lines: Sequence[api.NewLine] = (TEA,)) -> checkout_pb2.Checkout:
        basket = await self.create(identity_id, lines)
        submit = api.SubmitCheckoutRequest(
            request_id=new_request_id(), checkout_id=basket.checkout_id, basket_version=basket.basket_version
        )
        return await self.service.SubmitCheckout(submit)

    async def pay(
        self, checkout: checkout_pb2.Checkout, payment_id: str = "", within_s: float = DEADLINE_S, code: str = ""
    ) -> checkout_pb2.Checkout:
        set_deadline(within_s)
        request = api.PayCheckoutRequest(
            payment_id=payment_id or new_request_id(),
            checkout_id=checkout.checkout_id,
            order_version=checkout.order_version,
            amount=checkout.amount,
            pay_code=code,
        )
        answer = await self.service.PayCheckout(request)
        set_deadline(None)
        return answer

    async def cancel_payment(self, checkout: checkout_pb2.Checkout) -> checkout_pb2.Checkout:
        request = api.CancelCheckoutPaymentRequest(request_id=new_request_id(), checkout_id=checkout.checkout_id)
        return await self.service.CancelCheckoutPayment(request)

    async def get(self, checkout: checkout_pb2.Checkout) -> checkout_pb2.Checkout:
        return await self.service.GetCheckout(api.GetCheckoutRequest(checkout_id=checkout.checkout_id))

    async def give_back(
        self, *lines: line_item_pb2.LineItem, code: str, refund_id: str = "", within_s: float = DEADLINE_S
    ) -> till_refund_pb2.TillRefund:
        set_deadline(within_s)
        request = refunds_api.ReturnGoodsRequest(refund_id=refund_id or new_request_id(), pay_code=code, lines=lines)
        answer = await self.refunds.ReturnGoods(request)
        set_deadline(None)
        return answer

    async def get_refund(self, refund_id: str) -> till_refund_pb2.TillRefund:
        return await self.refunds.GetTillRefund(refunds_api.GetTillRefundRequest(refund_id=refund_id))

    async def ended_refund(self, refund_id: str) -> till_refund_pb2.TillRefund:
        """The refund, once the payment server has answered."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                refund = await self.get_refund(refund_id)
                if refund.state != till_refund_pb2.TillRefund.STATE_PENDING:
                    return refund
                await asyncio.sleep(0.02)

    async def until(
        self, checkout: checkout_pb2.Checkout, holds: Callable[[checkout_pb2.Checkout], bool]
    ) -> checkout_pb2.Checkout:
        """Asks as a till does, until it is told that."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                now = await self.get(checkout)
                if holds(now):
                    return now
                await asyncio.sleep(0.02)

    async def answers_until(
        self, checkout: checkout_pb2.Checkout, holds: Callable[[checkout_pb2.Checkout], bool]
    ) -> list[checkout_pb2.Checkout]:
        """Every answer until the one that holds."""
        answers: list[checkout_pb2.Checkout] = []

        def note(now: checkout_pb2.Checkout) -> bool:
            answers.append(now)
            return holds(now)

        await self.until(checkout, note)
        return answers


@asynccontextmanager
async def terminal(
    database_url: str, orders: str, payments: str, clock: ManualClock, *, resumes: bool = False
) -> AsyncIterator[Inside]:
    """A terminal for the length of a block; `resumes` takes up what is due, as the process does."""
    flags = terminal_flags(orders, payments, "--insecure", "--database-url", database_url)
    settings = load_settings(TerminalSettings, [*flags, "--payment-wait-s", str(WAIT_MS / 1000)])
    database = open_database(settings.database_url, METADATA)
    calls: Counter[str] = Counter()
    channels = open_channel(orders, Role.ORDERS, None), open_channel(payments, Role.PAYMENTS, None)
    counting = [cast(aio.Channel, Counting(channel, calls)) for channel in channels]
    wiring = assemble(settings, database, counting[0], counting[1], clock, SYSTEM_RNG)
    servicers: Mapping[str, Any] = wiring.servicers
    service = servicers["tillmesh.api.terminal.v1.CheckoutService"]
    refunds = servicers["tillmesh.api.terminal.v1.TillRefundService"]
    receipts = servicers["tillmesh.api.terminal.v1.ReceiptService"]
    scans = servicers["tillmesh.api.terminal.v1.ScanService"]
    catalogue = servicers["tillmesh.api.terminal.v1.CatalogueService"]
    loops = [asyncio.create_task(loop()) for loop in wiring.loops] if resumes else []
    presenting = servicers["tillmesh.api.terminal.v1.PresentationService"]
    yield Inside(service, refunds, receipts, scans, catalogue, presenting, service.outbox, database, clock, calls)
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    for close in wiring.on_stop:
        await close()


def now_ms() -> int:
    """The time of the other servers."""
    return time.time_ns() // 1_000_000
