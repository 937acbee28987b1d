"""Many clients that call without a pause: `python -m tests.trust.flooder CLIENTS FOLDER ADDRESS`.

Each has a connection of its own. The process says a line once all are connected, lets go of them with a line on
standard input, ends them with the end of it, and says as one JSON object how many calls ended how.
"""

import asyncio
import json
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from grpc import aio

from tests.processes import DEADLINE_S
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.auth.callers import MESH, Role
from tillmesh.auth.tls import TlsFiles

LIST = api.ListOrdersRequest(store_id="store-a", page_size=5)
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


async def flood(channel: aio.Channel, stopped: asyncio.Event, outcomes: Counter[str]) -> None:
    """Calls and calls again, whatever it is told."""
    stub = OrderServiceStub(channel)
    while not stopped.is_set():
        try:
            await stub.ListOrders(LIST, timeout=DEADLINE_S)
            outcomes["OK"] += 1
        except aio.AioRpcError as error:
            outcomes[error.code().name] += 1


async def main(clients: int, folder: Path, address: str) -> None:
    """All clients, until standard input ends."""
    stopped, outcomes, files = asyncio.Event(), Counter[str](), TlsFiles(folder, MESH)
    async with AsyncExitStack() as stack:
        channels = [files.open_channel(address, Role.ORDERS, OWN_CONNECTION) for _ in range(clients)]
        for channel in channels:
            await stack.enter_async_context(channel)
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        tasks = [asyncio.create_task(flood(channel, stopped, outcomes)) for channel in channels]
        await asyncio.to_thread(sys.stdin.read)
        stopped.set()
        await asyncio.gather(*tasks)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
