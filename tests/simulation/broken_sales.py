"""Ways in which a sale in one call, and one that is undone, could go wrong; see `mutants`."""

from contextlib import suppress
from typing import Any

from store_terminal.checkouts.lifecycle import CheckoutEvent, CheckoutState
from store_terminal.checkouts.moves import advance
from store_terminal.checkouts.queries import CHECKOUTS
from store_terminal.checkouts.sales import SaleCalls
from store_terminal.errors import READ_AGAIN
from store_terminal.outbox import voids, worker
from store_terminal.outbox.model import EntryState, Exchange, RequestKind
from store_terminal.outbox.queries import end_entry, get_exchange
from store_terminal.outbox.requests import is_void
from store_terminal.outbox.worker import Outbox
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.runtime.errors import Refusal, Unanswered
from tillmesh.runtime.ids import new_request_id

Patch = tuple[Any, str, Any]


def pays_before_the_order() -> list[Patch]:
    """Order and payment are asked for at once."""
    real = Outbox._ask_first

    async def ask_first(self: Any, exchange: Any) -> Any:
        if exchange.entry.kind is RequestKind.PAY:
            request = payment_api.CreatePaymentRequest.FromString(exchange.entry.request)
            if code := self.exchanges.pay_codes.find(exchange.entry.request_id):
                request.pay_code = code.value.decode()
            with suppress(Refusal, Unanswered):
                await self.peers.payment_server.call(self.peers.payments.CreatePayment, request)
        return await real(self, exchange)

    return [(Outbox, "_ask_first", ask_first)]


def any_order_will_do() -> list[Patch]:
    """An order that exists is taken for the one that was to be created."""
    real = worker._is_what_was_wanted

    def is_what_was_wanted(kind: Any, order: Any) -> bool:
        return kind is RequestKind.CREATE_ORDER or real(kind, order)

    return [
        (worker, "READ_AGAIN", READ_AGAIN | {"ORDER_EXISTS"}),
        (worker, "_is_what_was_wanted", is_what_was_wanted),
    ]


def repeats_sell_again() -> list[Patch]:
    """A sale that is sent again is another one."""
    real = SaleCalls._sell

    async def sell(self: Any, request: api.SellRequest) -> Any:
        again = request
        if await self.database.run(CHECKOUTS.find, request.checkout_id):
            again = api.SellRequest()
            again.CopyFrom(request)
            again.checkout_id, again.payment_id = new_request_id(self.rng), new_request_id(self.rng)
        return await real(self, again)

    return [(SaleCalls, "_sell", sell)]


def void_waits_for_nobody() -> list[Patch]:
    """What is to be undone is canceled at the till, whatever the order says."""
    real = voids.void_answered

    def void_answered(transaction: Any, *, refund_id: str, order: Any, now_ms: int) -> Exchange:
        exchange = get_exchange(transaction, refund_id)
        checkout = exchange.of_checkout()
        if not is_void(exchange) or checkout.state is not CheckoutState.SUBMITTED:
            return real(transaction, refund_id=refund_id, order=order, now_ms=now_ms)
        canceled = advance(transaction, checkout, checkout, CheckoutEvent.CANCELED, now_ms)
        return Exchange(end_entry(transaction, exchange.entry, EntryState.DONE), canceled)

    return [(voids, "void_answered", void_answered)]


def void_forbids_nothing() -> list[Patch]:
    """A sale that comes after it was undone is made."""

    def forbid(_transaction: Any, _key: Any) -> None:
        return

    return [(worker, "_forbid", forbid)]


def void_gives_nothing_back() -> list[Patch]:
    """What turns out to be paid is left as it is."""

    def refund(transaction: Any, entry: Any, checkout: Any, _now_ms: int) -> Exchange:
        return Exchange(end_entry(transaction, entry, EntryState.DONE), checkout)

    return [(voids, "_refund", refund)]
