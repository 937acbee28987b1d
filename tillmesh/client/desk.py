"""What the sales and refunds of one till share: connections, patience and the journal."""

from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message
from grpc import StatusCode, aio

from tillmesh.api.terminal.v1.checkout_service_pb2 import SellRequest
from tillmesh.client.asking import Asker
from tillmesh.client.connections import DeviceConnections
from tillmesh.client.failures import NotLetIn
from tillmesh.client.journal import Entry, Journal
from tillmesh.runtime.errors import Refusal

TERMINAL_DOMAIN = "terminal.tillmesh"
USED_BEFORE = "REQUEST_ID_REUSED"

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


class NotAllowed(NotLetIn):
    """The terminal refused the caller, not the request, which stays written down and may have been served before.

    Repeat it (`Till.resume`, `Sale.follow`) once the cause is gone; `refusal` tells it.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"The terminal refuses the caller: {refusal.text}")
        self.refusal = refusal


@dataclass(frozen=True)
class Desk:
    """Asks the terminal, and keeps the journal of it."""

    connections: DeviceConnections
    asker: Asker
    journal: Journal

    async def ask(self, entry: Entry) -> Any:
        """The answer to a request that is written down. A repeat gets the record as it is now, or the same refusal."""
        name = type(entry.request).__name__.removesuffix("Request")
        stubs = (self.connections.till, self.connections.till_refunds)
        method = next(getattr(stub, name) for stub in stubs if hasattr(stub, name))
        try:
            return await self.read(method, entry.request)
        except Refusal as refusal:
            # Another caller made it: the same till under the name of a certificate before this one.
            if refusal.reason == USED_BEFORE and not isinstance(entry.request, SellRequest):
                raise NotAllowed(refusal) from refusal
            raise

    async def read(self, method: aio.UnaryUnaryMultiCallable[Req, Res], request: Req) -> Res:
        """The answer to any request; `NotAllowed` where the terminal says nothing but that this caller may not."""
        self.journal.require_open()
        try:
            return await self.asker.ask(method, request)
        except Refusal as refusal:
            if _is_about_the_caller(refusal):
                raise NotAllowed(refusal) from refusal
            raise

    async def forget(self, subject: str) -> None:
        """Removes a sale or refund from the journal: it is final, and the caller knows."""
        await self.journal.strike(*self.journal.entries(subject))


def _is_about_the_caller(refusal: Refusal) -> bool:
    """True for what the terminal does not remember, and what says nothing of an earlier try under the same id."""
    denied = refusal.code is StatusCode.PERMISSION_DENIED and refusal.domain == TERMINAL_DOMAIN
    return denied or refusal.code is StatusCode.RESOURCE_EXHAUSTED or refusal.reason == "DEADLINE_REQUIRED"
