"""Messages that no honest client sends, to every method of the three servers."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc import StatusCode, aio
from grpc_status.rpc_status import GRPC_DETAILS_METADATA_KEY

from tests.processes import DEADLINE_S
from tests.terminal.till import TEA, goods
from tests.trust.certified import ACCESS, ALL, HERE, Shops, methods_of, names_of, running_shops
from tests.trust.fort import memory_kb
from tests.trust.malformed import FRESH, Known, Malformer
from tests.trust.test_payers import Metadata, new_phone
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceStub
from tillmesh.api.payment.v1.identity_service_pb2_grpc import IdentityServiceStub
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.rpc.server import MESSAGE_BYTES_MAX

pytestmark = pytest.mark.process

AT_A_TIME = 48
GROWTH_KB_MAX = 40 * 1024  # most of it is SQLite's page cache, which fills to 64 MB
ORDERS = [f"order-{number}" for number in range(8)]
TRUSTED = "wallet-with-money"
CAROL, PHONE, OTHER_PHONE = "carol", "phone-1", "phone-2"
SIGNING = ("SignIn", "SignOut")
SENDERS = (Role.TERMINAL, Role.DEVICE, Role.PLATFORM, Role.PAYMENTS, Role.PHONE)
NEVER = {
    StatusCode.INTERNAL,
    StatusCode.UNKNOWN,
    StatusCode.UNIMPLEMENTED,
    StatusCode.UNAUTHENTICATED,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.DATA_LOSS,
    StatusCode.CANCELLED,
}
KNOWN: Known = {
    "request_id": [FRESH],
    "order_id": ORDERS,
    "store_id": [HERE],
    "identity_id": ["bob"],
    "reference": ["0f8fad5b-d9cb-469f-a165-70867728950e"],
    "account_id": ["wallet/bob/GBP", f"wallet/{TRUSTED}/GBP", "external/GBP"],
    "currency_code": ["GBP"],
    "time_zone": ["Europe/London"],
    "paths": ["display_name", "name", "state", "unreferenced_refund_limit", "confirmation_threshold"],
    "sku": ["TEA"],
    "gtin": ["", "04006381333931"],
    "phone_id": ["tablet"],
    "pay_code": ["", "27123456789465650089"],
    "scanned": ["04006381333931", "]C101040063813339313103001250", "0212345002650", "27123456789465650089"],
    "prefix": ["02", "21"],
    "pin": ["12 34"] * 40 + ["1234"],  # each that could be one takes 40 ms
}
# Nobody gives money to those who cannot take it: bob's wallet is empty, ada's is in yen.
KNOWN_TO: dict[str, Known] = {
    "CreateDeposit": {"deposit_id": [FRESH], "identity_id": ["ada"]},
    "CreateUnreferencedRefund": {"refund_id": [FRESH], "identity_id": ["ada"]},
    "ReturnGoods": {"refund_id": [FRESH], "identity_id": ["ada"]},
    "RefundPayment": {"refund_id": [FRESH]},
    "RefundCheckout": {"refund_id": [FRESH]},
    "CreatePayment": {"payment_id": [FRESH]},
    "PayCheckout": {"payment_id": [FRESH]},
    "CreateIdentity": {"identity_id": [FRESH, "bob"]},
    "CreateStore": {"store_id": [FRESH, HERE]},
}


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Shops]:
    """Servers for this test alone, which no limit of calls a second slows down."""
    with running_shops(tmp_path, "--calls-per-s", "1000000", "--log-level", "WARNING") as shops:
        yield shops


def furnish(shops: Shops) -> Known:
    """Orders, checkouts, payments, wallets and phones; those that messages can name."""
    platform, till = shops.platform, shops.till(HERE)
    payments = shops.channel(Role.PAYMENTS, shops.authority.folder_of(Role.PLATFORM, ALL))
    identities, accounts = IdentityServiceStub(payments), AccountServiceStub(payments)
    for name, currency in (("ada", "JPY"), ("bob", "GBP"), (CAROL, "GBP"), ("dave", "GBP"), (TRUSTED, "GBP")):
        identities.CreateIdentity(identities_api.CreateIdentityRequest(identity_id=name, currency_code=currency))
    deposit = accounts_api.CreateDepositRequest(deposit_id="d-1", identity_id=TRUSTED)
    deposit.amount.currency_code, deposit.amount.minor_units = "GBP", 12_345
    accounts.CreateDeposit(deposit)
    for order_id in ORDERS:
        create = orders_api.CreateOrderRequest(
            request_id=f"c-{order_id}",
            order_id=order_id,
            store_id=HERE,
            payer=Payer(identity_id="bob"),
            currency_code="GBP",
        )
        create.lines.append(goods(700))
        platform.orders.CreateOrder(create)
    checkouts = [till.create("bob", [TEA]), till.submitted("bob"), till.pay(till.submitted("bob"))]
    return KNOWN | {
        "checkout_id": [checkout.checkout_id for checkout in checkouts],
        "payment_id": [checkouts[-1].payment_id],
    }


def money(shops: Shops) -> dict[str, tuple[int, ...]]:
    """All balances that are not zero, by currency."""
    payments = shops.channel(Role.PAYMENTS, shops.authority.folder_of(Role.PLATFORM, ALL))
    listed = AccountServiceStub(payments).ListTrialBalances(accounts_api.ListTrialBalancesRequest())
    for balance in listed.trial_balances:
        assert (balance.sum.minor_units, list(balance.differing_account_ids)) == (0, [])
    sums = {
        row.currency_code: tuple(money.minor_units for money in (row.wallets, row.stores, row.external, row.held))
        for row in listed.trial_balances
    }
    return {currency: minor for currency, minor in sums.items() if any(minor)}


class Sender:
    """Sends bytes as they are, with a certificate that may call the method, and a session where it needs one."""

    def __init__(self, shops: Shops, stack: AsyncExitStack) -> None:
        self._shops = shops
        self._stack = stack
        self._channels: dict[tuple[Role, Path], aio.Channel] = {}
        self._sessions: dict[Path, Metadata] = {}
        for payer, phone_id in ((CAROL, PHONE), ("dave", OTHER_PHONE)):
            phone = new_phone(shops, payer, phone_id)
            phone.sign_in()
            self._sessions[shops.authority.folder_of(Role.PHONE, phone_id)] = phone.bearer
        self.statuses: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []

    async def send(self, server: Role, method: MethodDescriptor, payload: bytes) -> None:
        """Sends one message, and notes what became of it."""
        folder = self._certificate(server, method)
        channel = await self._channel(server, folder)
        path, metadata = f"/{method.containing_service.full_name}/{method.name}", self._sessions.get(folder, ())
        try:
            if method.server_streaming:
                watch: Any = channel.unary_stream(path)
                stream = watch(payload, timeout=DEADLINE_S, metadata=metadata)
                await stream.read()
                stream.cancel()
            else:
                call: Any = channel.unary_unary(path)
                await call(payload, timeout=DEADLINE_S, metadata=metadata)
        except aio.AioRpcError as error:
            self.statuses[method.name, error.code().name] += 1
            told = dict(error.trailing_metadata() or ())
            # Without them it is no refusal of ours, or one that did not get through; gRPC says what is too large.
            untold = GRPC_DETAILS_METADATA_KEY not in told and len(payload) <= MESSAGE_BYTES_MAX
            signed_out = method.name in SIGNING and error.code() is StatusCode.UNAUTHENTICATED
            wrong = error.code() in NEVER and not signed_out
            if untold or wrong or f"{error.details()}".startswith("The role "):
                self.wrong.append(
                    f"{method.name} {payload[:200]!r} of {len(payload)} bytes: {error.code()} {error.details()}"
                )
        else:
            self.statuses[method.name, "OK"] += 1

    def _certificate(self, server: Role, method: MethodDescriptor) -> Path:
        allowed = ACCESS[server][method.containing_service.full_name][method.name]
        role = next(role for role in SENDERS if role in allowed)
        # Who signs in or out has no session afterwards.
        phone_id = OTHER_PHONE if method.name in SIGNING else PHONE
        return self._shops.authority.folder_of(role, *((phone_id,) if role is Role.PHONE else names_of(role)))

    async def _channel(self, server: Role, folder: Path) -> aio.Channel:
        if (server, folder) not in self._channels:
            opened = TlsFiles(folder, self._shops.authority.mesh).open_channel(
                self._shops.servers[server].address, server, ()
            )
            self._channels[server, folder] = await self._stack.enter_async_context(opened)
        return self._channels[server, folder]


async def flood(sender: Sender, messages: Iterable[tuple[Role, MethodDescriptor, bytes]]) -> None:
    """Sends all of them, so many at a time."""
    waiting = iter(messages)

    async def work() -> None:
        for message in waiting:
            await sender.send(*message)

    await asyncio.gather(*(work() for _ in range(AT_A_TIME)))


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=[pytest.mark.chaos, pytest.mark.timeout(1800)])])
async def test_messages_that_nobody_means_well_with_break_nothing_and_move_no_money(market: Shops, count: int) -> None:
    known = furnish(market)
    before = money(market)
    servers = {method.full_name: server for server in ACCESS for method in methods_of(server)}
    methods = [method for server in ACCESS for method in methods_of(server)]
    made = Malformer(random.Random(20261121), known, KNOWN_TO).messages(methods, count)
    messages = ((servers[method.full_name], method, payload) for method, payload in made)
    async with AsyncExitStack() as stack:
        sender = Sender(market, stack)
        await flood(sender, (message for _, message in zip(range(count // 5), messages, strict=False)))
        warm = {role: memory_kb(server) for role, server in market.servers.items()}
        await flood(sender, messages)
    grown = {role: memory_kb(server) - warm[role] for role, server in market.servers.items()}
    assert sender.wrong[:10] == []
    assert sum(sender.statuses.values()) == count
    assert {name for name, _ in sender.statuses} == {method.name for method in methods}
    assert max(grown.values()) < GROWTH_KB_MAX, grown
    assert money(market) == before == {"GBP": (12_345, 0, -12_345, 0)}
    captured = payments_api.ListPaymentsRequest(states=[payment_pb2.Payment.STATE_CAPTURED])
    assert not market.platform.payments.ListPayments(captured).payments
    for server in market.servers.values():
        assert server.process.poll() is None
        assert "rpc_failed" not in server.log.read_text()
