"""One client that does its work: `python -m tests.trust.honest ORDERS FOLDER ADDRESS`.

It says a line once it is connected, begins with a line on standard input, makes so many orders one after the other,
and says as one JSON object how long each took, in seconds, and what was refused.
"""

import json
import sys
import time
from pathlib import Path

import grpc

from tests.processes import DEADLINE_S
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import MESH, Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.runtime.ids import new_request_id

ADA = Payer(identity_id="ada")
TEA = LineItem(sku="TEA", title="Tea", quantity=2, unit_price_minor=125)
PAUSE_S = 0.02


def main(orders: int, folder: Path, address: str) -> None:
    """Makes orders."""
    took_s, refused = list[float](), list[str]()
    with TlsFiles(folder, MESH).open_blocking_channel(address, Role.ORDERS) as channel:
        stub = OrderServiceStub(channel)
        grpc.channel_ready_future(channel).result(DEADLINE_S)
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(orders):
            time.sleep(PAUSE_S)
            order = api.CreateOrderRequest(
                request_id=new_request_id(), store_id="store-a", payer=ADA, currency_code="GBP", lines=[TEA]
            )
            started = time.perf_counter()
            try:
                stub.CreateOrder(order, timeout=DEADLINE_S)
            except grpc.RpcError as error:
                refused.append(str(error))
            took_s.append(time.perf_counter() - started)
    print(json.dumps({"took_s": took_s, "refused": refused}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
