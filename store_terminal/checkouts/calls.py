"""What the calls that change a checkout have in common."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from store_terminal.checkouts import moves
from store_terminal.checkouts.messages import to_checkout
from store_terminal.checkouts.model import Call, Checkout, Till
from store_terminal.outbox.model import Exchange, RequestKind
from store_terminal.outbox.queries import find_exchange
from store_terminal.outbox.worker import Outbox
from tillmesh.api.terminal.v1 import checkout_pb2, scan_service_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.payer import Payer, identity, reference
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.servicer import Servicer
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.ids import new_request_id
from tillmesh.storage.requests import IdempotencyKey, answer_once
from tillmesh.storage.statements import Transaction

Versioned = (
    api.AddLinesRequest
    | api.UpdateLineRequest
    | api.RemoveLineRequest
    | api.AdjustCheckoutRequest
    | api.SubmitCheckoutRequest
    | api.ParkCheckoutRequest
    | scan_service_pb2.ScanItemRequest
)
_Change = (
    Versioned
    | api.CreateCheckoutRequest
    | api.PayCheckoutRequest
    | api.CancelCheckoutRequest
    | api.RecallCheckoutRequest
)
_New = api.CreateCheckoutRequest | api.SellRequest
_Effect = Callable[[Transaction, Call], Checkout | Exchange]


@dataclass(frozen=True)
class CheckoutCalls(Servicer):
    """Changes checkouts, and waits for the other servers where they have to answer."""

    outbox: Outbox
    rng: random.Random
    till: Till

    async def _change_lines(
        self, request: Versioned, operation: Callable[..., Checkout | Exchange], **what: object
    ) -> checkout_pb2.Checkout:
        """Changes a basket that is as the caller read it."""
        checkout_id, basket_version = request.checkout_id, request.basket_version
        effect = partial(operation, checkout_id=checkout_id, basket_version=basket_version, **what)
        return await self._change(request, request.request_id, checkout_id, effect)

    async def _change(
        self, request: _Change, request_id: str, checkout_id: str, effect: _Effect
    ) -> checkout_pb2.Checkout:
        """Runs an operation once for its request id; waits for the answer if it asks another server."""
        return await self._settled(
            request_id, await self._once_for(self._key(request, request_id), checkout_id, effect)
        )

    async def _once_for(
        self, key: IdempotencyKey, checkout_id: str, effect: _Effect, entry_id: str = ""
    ) -> Checkout | Exchange:
        """Runs an operation once for its key; the entry that it writes has the same id, unless another one is given."""

        def read(transaction: Transaction, known_id: str) -> Checkout | Exchange:
            found = find_exchange(transaction, entry_id or key.request_id)
            return found or moves.get_checkout(transaction, known_id)

        async with self.outbox.writing(key, entry_id) as call:
            return await answer_once(self.database, key, checkout_id, read, effect, call)

    async def _settled(self, entry_id: str, outcome: Checkout | Exchange) -> checkout_pb2.Checkout:
        """The answer, once another server has given its own; a payment under way is told as it is."""
        if isinstance(outcome, Checkout):
            return self._message(outcome)
        settled = await self.outbox.settle(entry_id, outcome)
        is_paying = settled.pending and settled.entry.kind is RequestKind.PAY
        if not settled.entry.ended and not is_paying:
            raise CommonReason.PEER_UNAVAILABLE(retry_after_ms=1_000)
        return self._message(settled.of_checkout())

    def _prices_include_tax(self, request: _New) -> bool:
        unset = not request.HasField("prices_include_tax")
        return self.till.prices_include_tax if unset else request.prices_include_tax

    def _payer(self, request: _New) -> Payer:
        """The named identity, or a new reference, which says nothing about anybody."""
        return identity(request.identity_id) if request.identity_id else reference(new_request_id(self.rng))

    async def _get(self, checkout_id: str) -> Checkout:
        return await self.database.run(moves.get_checkout, checkout_id)

    def _message(self, checkout: Checkout) -> checkout_pb2.Checkout:
        return to_checkout(checkout, self.outbox.exchanges.orders.read_at_ms(checkout), self.clock.now_ms())


def checked(request: Versioned) -> Fields:
    """The fields of a request that names the basket that it read, those two checked."""
    fields = Fields()
    fields.identifier("request_id", request.request_id)
    fields.positive("basket_version", request.basket_version)
    return fields
