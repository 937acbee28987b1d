"""A sale in one call, and a sale that is undone: protobuf to model and back, nothing else."""

from dataclasses import dataclass
from functools import partial

from store_terminal.checkouts import messages, selling, voiding
from store_terminal.checkouts.calls import CheckoutCalls
from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.messages import new_lines
from store_terminal.checkouts.model import Checkout, NewCheckout, NewPayment
from store_terminal.checkouts.named_orders import named_order
from store_terminal.checkouts.selling import NewSale
from store_terminal.errors import NOTHING_LEFT
from store_terminal.outbox.model import EntryState, Exchange, RequestKind
from store_terminal.refunds.messages import new_refund
from store_terminal.refunds.queries import get_refund
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.messages import to_money
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money

FIRST_VERSION = 1
"""The version that an order has when it is created: what a sale in one call pays."""
_Answer = api.VoidCheckoutResponse


@dataclass(frozen=True)
class SaleCalls(CheckoutCalls):
    """Whole sales."""

    async def _sell(self, request: api.SellRequest) -> checkout_pb2.Checkout:
        """Sells in one call; a repeat goes on with what it wrote."""
        checkout_id, payment_id = request.checkout_id, request.payment_id
        with Fields() as fields:
            fields.identifier("checkout_id", checkout_id)
            fields.identifier("payment_id", payment_id)
            fields.require(payment_id != checkout_id, "payment_id", "must be another id than checkout_id")
            fields.identity("identity_id", request.identity_id, optional=True)
            lines = new_lines(fields, request.lines, least=1)
            amount = fields.money("amount", request.amount, minimum=0)
            code = messages.pay_code(fields, request.pay_code)
            labels = fields.labels("labels", request.labels)
            origin = messages.origin(fields, self.till.terminal_id, request.lane, request.cashier_id)
            exchanged = fields.identifier("exchanged_refund_id", request.exchanged_refund_id, optional=True)
            messages.approval(fields, request.approval_id)
        taxed, payer, till = self._prices_include_tax(request), self._payer(request), self.till
        basket = NewCheckout(
            checkout_id, till.store_id, origin, payer, amount.currency, lines, taxed, labels, exchanged
        )
        payment = NewPayment(checkout_id, FIRST_VERSION, amount, origin, code, till.payment_wait_ms)
        sale = NewSale(basket, payment, payment_id, new_request_id(self.rng))
        key = self._key(request, checkout_id)
        effect = partial(selling.sell, new=sale, key=key, pay_codes=self.outbox.exchanges.pay_codes)
        return await self._settled(payment_id, await self._once_for(key, checkout_id, effect, payment_id))

    async def _void(self, request: api.VoidCheckoutRequest) -> api.VoidCheckoutResponse:
        """Undoes a sale; a repeat is told how far that is."""
        refund_id = request.refund_id
        with Fields() as fields:
            fields.identifier("refund_id", refund_id)
            named = named_order(fields, "checkout_id", request.checkout_id)
            new = new_refund(fields, request, self.till.terminal_id)
        key = self._key(request, refund_id)
        void = partial(voiding.void_checkout, new=new)
        effect = await self.outbox.taking_up(key, named, void, forbids=True)
        outcome = await self._once_for(key, named.order_id, effect)
        if isinstance(outcome, Checkout):
            return self._undone(outcome)
        try:
            settled = await self.outbox.settle(refund_id, outcome)
        except Refusal as refusal:
            if refusal.reason not in NOTHING_LEFT:
                raise
            settled = await self.outbox.exchanges.get(refund_id)
        checkout = settled.checkout or await self._get(named.order_id)  # which says that it was pruned
        if not settled.entry.ended:
            return _Answer(outcome=_Answer.OUTCOME_PENDING, checkout=self._message(checkout))
        return self._undone(checkout, await self._given_back(settled))

    def _undone(self, checkout: Checkout, refunded: Money | None = None) -> api.VoidCheckoutResponse:
        canceled = checkout.state is CheckoutState.CANCELED
        return _Answer(
            outcome=_Answer.OUTCOME_CANCELED if canceled else _Answer.OUTCOME_REFUNDED,
            checkout=self._message(checkout),
            refunded=to_money(refunded) if refunded else None,
        )

    async def _given_back(self, void: Exchange) -> Money | None:
        """What a void gave back, if it gave anything back."""
        entry = void.entry
        if entry.kind is not RequestKind.REFUND or entry.state is not EntryState.DONE:
            return None
        refund = await self.database.run(get_refund, entry.request_id)
        return Money(refund.currency, refund.amount_minor) if refund.amount_minor else None
