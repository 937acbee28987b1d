"""Somebody with a till before them and a phone in hand: how they ask, and how long they wait."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Container, Coroutine
from functools import partial
from typing import Any

from tests.simulation.baskets import gbp
from tests.simulation.network import ORDERS, PAYMENTS, TERMINAL
from tests.simulation.reading import Violation
from tests.simulation.world import STORE, World
from tillmesh import paycode
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import phone_pb2, store_pb2
from tillmesh.api.payment.v1 import phone_service_pb2 as phones_api
from tillmesh.api.payment.v1 import store_service_pb2 as stores_api
from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceStub
from tillmesh.api.payment.v1.identity_service_pb2_grpc import IdentityServiceStub
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.payment.v1.phone_service_pb2_grpc import PhoneServiceStub
from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceStub
from tillmesh.api.payment.v1.store_service_pb2_grpc import StoreServiceStub
from tillmesh.api.terminal.v1.checkout_service_pb2_grpc import CheckoutServiceStub
from tillmesh.api.terminal.v1.till_refund_service_pb2_grpc import TillRefundServiceStub
from tillmesh.rpc.peers import Peer
from tillmesh.runtime.errors import Refusal, Unanswered
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

# A shopper who does something at the wrong moment is told so. Anything else that a server
# refuses, such as an order that exists already or a request id used twice, is its own mistake.
EXPECTED = {
    "ADJUSTMENT_TOO_LARGE", "AMOUNT_MISMATCH", "BASKET_VERSION_MISMATCH", "CHECKOUT_BUSY", "CHECKOUT_CANCELED",
    "CHECKOUT_EMPTY", "CHECKOUT_NOT_PAID", "CHECKOUT_NOT_PARKED", "CHECKOUT_NOT_SUBMITTED", "CHECKOUT_PAID",
    "CHECKOUT_PARKED", "CLAIM_CODE_NOT_FOUND", "CLAIM_NOT_FOUND", "LINE_NOT_FOUND", "NOTHING_WAS_PAID",
    "NO_PAYMENT", "ORDER_ALREADY_PAID", "ORDER_CANCELED", "ORDER_CLAIMED", "ORDER_LOCKED", "ORDER_NOT_FREE",
    "ORDER_NOT_PENDING", "PAYMENT_ALREADY_REFUNDED", "PAYMENT_NOT_CAPTURED", "PAYMENT_NOT_VOIDABLE",
    "PAYMENT_NOT_WAITING", "PAYMENT_UNDER_WAY", "REFUND_EXCEEDS_LINE", "REFUND_EXCEEDS_PAYMENT",
    "UNREFERENCED_REFUND_LIMIT_EXCEEDED", "VERSION_MISMATCH",
}  # fmt: skip
PATIENCE_S = 8.0
RETURNS_LIMIT = 1_000
REPEATS = 0.6
"""Of those who were told no, how many ask the same once more, a good while later."""
REPEATS_WITHIN_S = 25.0
Deed = Callable[[], Coroutine[Any, Any, object]]


class Customer:
    """One person with a wallet and a phone."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.rng = random.Random(world.rng.getrandbits(64))
        till, phone = f"hardware-{name}", f"phone-{name}"
        self.peer = Peer()
        self.till = CheckoutServiceStub(world.channel(till, TERMINAL))
        self.till_refunds = TillRefundServiceStub(world.channel(till, TERMINAL))
        self.orders = OrderServiceStub(world.channel(phone, ORDERS))
        self.payments = PaymentServiceStub(world.channel(phone, PAYMENTS))
        self.refunds = RefundServiceStub(world.channel(phone, PAYMENTS))
        self.identities = IdentityServiceStub(world.channel(phone, PAYMENTS))
        self.accounts = AccountServiceStub(world.channel(phone, PAYMENTS))
        self.phones = PhoneServiceStub(world.channel(phone, PAYMENTS))
        self.stores = StoreServiceStub(world.channel(phone, PAYMENTS))
        self._key = phone_pb2.PayCodeKey()
        self._last_step = 0
        self._again: list[asyncio.Task[None]] = []
        self.expected = EXPECTED
        """What may be refused: the moment was wrong, and it is not this customer's mistake."""

    async def open_store(self) -> None:
        """The platform registers the store; who asks first does it."""
        store = store_pb2.Store(
            store_id=STORE,
            name="Store",
            time_zone="Europe/London",
            currency_code="GBP",
            unreferenced_refund_limit=gbp(RETURNS_LIMIT),
        )
        await self.insist(self.stores.CreateStore, stores_api.CreateStoreRequest(store=store))

    async def join(self, funds: int, threshold: int | None) -> None:
        """Opens a wallet with money in it, and gets a phone that shows pay codes."""
        create = identities_api.CreateIdentityRequest(
            identity_id=self.name, display_name=self.name, currency_code="GBP"
        )
        if threshold is not None:
            create.confirmation_threshold.CopyFrom(gbp(threshold))
        await self.insist(self.identities.CreateIdentity, create)
        deposit = accounts_api.CreateDepositRequest(deposit_id=self.new_id(), identity_id=self.name, amount=gbp(funds))
        await self.insist(self.accounts.CreateDeposit, deposit)
        bind = phones_api.BindPhoneRequest(
            request_id=self.new_id(), identity_id=self.name, phone_id=f"phone-{self.name}"
        )
        bound: phone_pb2.Phone = await self.insist(self.phones.BindPhone, bind)
        self._key = bound.pay_code_key

    def pay_code(self) -> str:
        """What the phone shows now; that of the next half minute where this one's was shown already."""
        now = paycode.step_at(self.world.nodes[PAYMENTS].now_ms())
        self._last_step = now + 1 if self._last_step == now else now
        return paycode.make(self._key.handle, Secret(self._key.key), self._last_step).value.decode()

    async def ask(self, method: Any, request: Any) -> Any:
        """The answer, or None where there is none or where the moment was wrong."""
        answers = self.world.answers
        known = answers.known_of(request)
        try:
            answer = await self.peer.call(method, request, timeout_s=PATIENCE_S)
        except Unanswered:
            return None
        except Refusal as refusal:
            if refusal.reason not in self.expected:
                raise Violation(f"invariant 6: unexpected refusal of {type(request).__name__}: {refusal}") from refusal
            answers.note_refusal(request, refusal)
            if self.rng.random() < REPEATS:
                self._again.append(asyncio.ensure_future(self._ask_again(method, request)))
            return None
        if answers.note(request, answer, known):
            self.world.done.append(partial(self._repeat, method, request))
        return answer

    async def _repeat(self, method: Any, request: Any) -> None:
        """What was done is done, unless nothing of it is left."""
        try:
            answer = await self.peer.call(method, request, timeout_s=PATIENCE_S)
        except Unanswered:
            return
        except Refusal as refusal:
            if refusal.reason != "CHECKOUT_PRUNED":
                self.world.answers.note_refusal(request, refusal)
        else:
            self.world.answers.note(request, answer, self.world.answers.known_of(request))

    async def insist(self, method: Any, request: Any, unless: Container[str] = ()) -> Any:
        """The answer, however long it takes: the same request again and again; None where such a refusal comes."""
        while True:
            try:
                answer = await self.peer.call(method, request, timeout_s=PATIENCE_S)
            except Unanswered:
                await asyncio.sleep(self.rng.uniform(0.1, 3))
            except Refusal as refusal:
                if refusal.reason in unless:
                    self.world.answers.note_refusal(request, refusal)
                    return None
                raise Violation(f"invariant 6: unexpected refusal of {type(request).__name__}: {refusal}") from refusal
            else:
                self.world.answers.note(request, answer)
                return answer

    async def have_asked(self) -> None:
        """Waits for what is still asked once more."""
        while self._again:
            await self._again.pop()

    def new_id(self) -> str:
        """A request id."""
        return new_request_id(self.rng)

    async def at_once(self, *calls: Awaitable[Any]) -> None:
        """All of them at the same time."""
        await asyncio.gather(*calls)

    async def pause(self, at_most_s: float) -> None:
        """None, a short one or a long one."""
        await asyncio.sleep(self.rng.choice((0.0, 0.02, 0.1, 1.0, self.rng.uniform(0, at_most_s))))

    async def after(self, deed: Deed) -> None:
        """Does it a moment later."""
        await self.pause(4)
        await deed()

    async def _ask_again(self, method: Any, request: Any) -> None:
        """A no is one for ever, whatever has become of the order since."""
        await asyncio.sleep(self.rng.uniform(0, REPEATS_WITHIN_S))
        await self.ask(method, request)
