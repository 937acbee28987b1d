"""The three servers as a client sees them: stubs, and calls that end in an answer or one plain sentence."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from google.protobuf.message import Message
from grpc import StatusCode, aio

from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceStub
from tillmesh.api.payment.v1.identity_service_pb2_grpc import IdentityServiceStub
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.payment.v1.phone_service_pb2_grpc import PhoneServiceStub
from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceStub
from tillmesh.api.payment.v1.store_service_pb2_grpc import StoreServiceStub
from tillmesh.api.payment.v1.wallet_service_pb2_grpc import WalletServiceStub
from tillmesh.api.terminal.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from tillmesh.api.terminal.v1.checkout_service_pb2_grpc import CheckoutServiceStub
from tillmesh.api.terminal.v1.presentation_service_pb2_grpc import PresentationServiceStub
from tillmesh.api.terminal.v1.receipt_service_pb2_grpc import ReceiptServiceStub
from tillmesh.api.terminal.v1.scan_service_pb2_grpc import ScanServiceStub
from tillmesh.api.terminal.v1.till_refund_service_pb2_grpc import TillRefundServiceStub
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.client.failures import Failure, NotLetIn, Unreachable
from tillmesh.client.reaching import why_unreachable
from tillmesh.rpc.peers import ATTEMPTS_MAX, CALL_TIMEOUT_S, Peer, open_channel
from tillmesh.rpc.watching import WatchReq, WatchRes, watch
from tillmesh.runtime.errors import Refusal, Unanswered
from tillmesh.runtime.foreign_text import named, quoted
from tillmesh.runtime.ids import SYSTEM_RNG

PAGE_SIZE = 200
_TOO_LARGE = re.compile(r"SERVER: Received message larger than max \((\d+) vs\. (\d+)\)")

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)
Item = TypeVar("Item")


tls_dir: ContextVar[Path | None] = ContextVar("tls_dir", default=Path(".tillmesh/tls"))
"""Folder of the mesh's CA, with the certificates that the commands use; None without TLS."""


@dataclass(frozen=True)
class Addresses:
    """Where the three servers listen, as HOST:PORT, and the certificates to call them with."""

    orders: str = "127.0.0.1:7001"
    payments: str = "127.0.0.1:7002"
    terminal: str = "127.0.0.1:7003"
    tls_dir: Path | None = field(default_factory=tls_dir.get)

    def files(self, role: Role) -> TlsFiles | None:
        """The certificate of that role; None without TLS."""
        if self.tls_dir is None:
            return None
        found = next(iter(sorted(self.tls_dir.glob(f"{role}-*/cert.pem"))), None)
        if found is None:
            raise Failure(
                f"There is no {role} certificate in {named(self.tls_dir)}. Start the mesh with: tillmesh up, "
                "or name the folder: tillmesh --tls-dir FOLDER (a sandbox's is .tillmesh/sandbox/tls), "
                "or go without TLS: tillmesh --insecure"
            )
        return TlsFiles.of(found.parent)


class PageRequest(Protocol):
    """A list request, as a type checker sees it (AIP-158)."""

    page_size: int
    page_token: str


class PageAnswer(Protocol):
    """A list answer."""

    @property
    def next_page_token(self) -> str:
        """Where the next page starts."""


PageReq = TypeVar("PageReq", bound=PageRequest)
PageRes = TypeVar("PageRes", bound=PageAnswer)


class Server:
    """One of the three; `metadata` goes with each call."""

    def __init__(
        self,
        name: str,
        address: str,
        role: Role,
        tls: TlsFiles | None,
        metadata: Sequence[tuple[str, str]] = (),
        started_by: str = "tillmesh up",
    ) -> None:
        self.name = name
        self.address = address
        self.channel = open_channel(address, role, tls)
        self.peer = Peer(metadata)
        self._tls = tls
        self._started_by = started_by

    def failure(self, error: Unanswered) -> Failure:
        """The one sentence for a call that was not answered."""
        cause = error.__cause__
        if not isinstance(cause, aio.AioRpcError) or cause.code() is StatusCode.DEADLINE_EXCEEDED:
            return Unreachable(f"The {self.name} at {named(self.address)} did not answer in time.")
        if cause.code() is StatusCode.UNAVAILABLE and error.said is None:
            why = why_unreachable(cause.details() or "", self._tls, self._started_by)
            return Unreachable(f"The {self.name} at {named(self.address)} cannot be reached. {why}")
        if cause.code() is StatusCode.UNAUTHENTICATED:
            return NotLetIn(f"The {self.name} at {named(self.address)} does not accept the caller: {cause.details()}")
        text = f"The {self.name} at {named(self.address)} failed: {cause.code().name}: {quoted(cause.details() or '')}."
        return Unreachable(text, error.said)


def ignore(_failure: Failure) -> None:
    """Nobody has to hear of it: the call is repeated, or the watch goes on."""


class Connections:
    """Connections to servers, by the package of what they are asked; use it as an asynchronous context manager."""

    def __init__(self, servers: Mapping[str, Server]) -> None:
        self._servers = servers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in self._servers.values():
            await server.channel.close()

    async def call(
        self,
        method: aio.UnaryUnaryMultiCallable[Req, Res],
        request: Req,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        attempts: int = ATTEMPTS_MAX,
    ) -> Res:
        """The answer. Raises the server's `Refusal`, or `Unreachable` when there was no answer."""
        server = self._servers[request.DESCRIPTOR.file.package]
        with self._failing_plainly(server):
            return await server.peer.call(method, request, timeout_s=timeout_s, attempts=attempts)

    async def listed(
        self,
        method: "aio.UnaryUnaryMultiCallable[PageReq, PageRes]",
        request: PageReq,
        items: Callable[[PageRes], Iterable[Item]],
    ) -> AsyncIterator[Item]:
        """Every item of a list, page after page."""
        request.page_size = PAGE_SIZE
        while True:
            answer: PageRes = await self.call(method, request)  # type: ignore[type-var]  # messages, all of them
            for item in items(answer):
                yield item
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    async def watch(
        self,
        method: "aio.UnaryStreamMultiCallable[WatchReq, WatchRes]",
        request: WatchReq,
        on_cut: Callable[[Failure], None] = ignore,
    ) -> AsyncGenerator[WatchRes]:
        """The answers of a stream from the request's cursor on, whatever becomes of the server in between.

        Close it (`aclosing`). Raises as `call` does, but not for what passes: of that `on_cut` hears. The first
        answer comes as soon as the server answers at all.
        """
        server = self._servers[request.DESCRIPTOR.file.package]  # type: ignore[attr-defined]  # a message
        answers = watch(server.peer, method, request, SYSTEM_RNG, lambda error: on_cut(server.failure(error)))
        with self._failing_plainly(server):
            async with aclosing(answers):
                async for answer in answers:
                    yield answer

    @contextmanager
    def _failing_plainly(self, server: Server) -> Iterator[None]:
        try:
            yield
        except Unanswered as error:
            raise _too_large(error, server.name) or server.failure(error) from error


def _too_large(error: Unanswered, server: str) -> Refusal | None:
    """The refusal of a request that gRPC itself did not let in: no repeat would change that."""
    cause = error.__cause__
    match = _TOO_LARGE.search(cause.details() or "") if isinstance(cause, aio.AioRpcError) else None
    if match is None:
        return None
    told = f"The request has {int(match[1]):,} bytes; the {server} takes {int(match[2]):,}. Split it."
    return Refusal(StatusCode.INVALID_ARGUMENT, "MESSAGE_TOO_LARGE", told)


class DeviceConnections(Connections):
    """Stubs of every service of a store terminal, for the store's own devices; `others` are more servers."""

    def __init__(self, terminal: Server, others: Mapping[str, Server] | None = None) -> None:
        super().__init__({"tillmesh.api.terminal.v1": terminal, **(others or {})})
        self.till = CheckoutServiceStub(terminal.channel)
        self.presentations = PresentationServiceStub(terminal.channel)
        self.till_refunds = TillRefundServiceStub(terminal.channel)
        self.receipts = ReceiptServiceStub(terminal.channel)
        self.scans = ScanServiceStub(terminal.channel)
        self.catalogue = CatalogueServiceStub(terminal.channel)


class Client(DeviceConnections):
    """Stubs of every service, for the platform and for the store's own devices."""

    def __init__(self, addresses: Addresses) -> None:
        platform, device = addresses.files(Role.PLATFORM), addresses.files(Role.DEVICE)
        orders = Server("order service", addresses.orders, Role.ORDERS, platform)
        payments = Server("payment server", addresses.payments, Role.PAYMENTS, platform)
        terminal = Server("store terminal", addresses.terminal, Role.TERMINAL, device)
        super().__init__(terminal, {"tillmesh.api.order.v1": orders, "tillmesh.api.payment.v1": payments})
        self.orders = OrderServiceStub(orders.channel)
        self.identities = IdentityServiceStub(payments.channel)
        self.wallets = WalletServiceStub(payments.channel)
        self.phones = PhoneServiceStub(payments.channel)
        self.stores = StoreServiceStub(payments.channel)
        self.accounts = AccountServiceStub(payments.channel)
        self.payments = PaymentServiceStub(payments.channel)
        self.refunds = RefundServiceStub(payments.channel)
