"""One order service with limits that a test can reach, and who calls it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from tests.processes import Server, patient, running
from tests.trust.certified import ALL, DEVICE, HERE, TILL, flags
from tests.trust.frames import Wire, connected
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.local.authority import Authority

OTHER_TILL = "till-2"
PLATFORM = (Role.PLATFORM, ALL)
HOSTILE = (Role.TERMINAL, HERE, TILL)
"""The till that misbehaves."""
NEIGHBOUR = (Role.TERMINAL, HERE, OTHER_TILL)
STOLEN = (Role.TERMINAL, HERE, "till-3")
DEVICE_HERE = (Role.DEVICE, HERE, DEVICE)
SERVICE = "tillmesh.api.order.v1.OrderService"
LIST_ORDERS = f"/{SERVICE}/ListOrders".encode()
Who = tuple[Role, str] | tuple[Role, str, str]


@dataclass
class Fort:
    """The server and its callers."""

    server: Server
    authority: Authority
    closing: ExitStack

    def files(self, who: Who) -> TlsFiles:
        """Somebody's certificate."""
        role, *names = who
        return TlsFiles(self.authority.folder_of(role, *names), self.authority.mesh)

    def channel(self, who: Who) -> grpc.Channel:
        """A new connection, without deadlines of its own."""
        return self.closing.enter_context(self.files(who).open_blocking_channel(self.server.address, Role.ORDERS))

    def orders(self, who: Who) -> OrderServiceStub:
        """The service for somebody."""
        return OrderServiceStub(patient(self.channel(who)))

    def wire(self, who: Who, *settings: bytes) -> AbstractContextManager[Wire]:
        """A connection on which a test sends what it likes."""
        return connected(self.server.address, Role.ORDERS, self.files(who), *settings)

    def memory_kb(self, what: str = "VmRSS") -> int:
        """What the process has in memory; as VmHWM, what it ever had."""
        return memory_kb(self.server, what)


@contextmanager
def running_fort(folder: Path, *limits: str) -> Iterator[Fort]:
    """An order service with those limits, for the length of a block."""
    authority = Authority(folder / "tls")
    authority.create()
    for role, *names in (PLATFORM, HOSTILE, STOLEN, NEIGHBOUR, DEVICE_HERE, (Role.ORDERS, ALL)):
        authority.issue(role, *names)
    with ExitStack() as stack:
        server = stack.enter_context(running("order_service", folder, *flags(authority, Role.ORDERS, ALL), *limits))
        yield Fort(server, authority, stack)


def memory_kb(server: Server, what: str = "VmRSS") -> int:
    """What a process has in memory; as VmHWM, what it ever had."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0])
