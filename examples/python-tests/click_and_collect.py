"""A web shop's service: it raises orders that shoppers pay and collect in the store, and hears how they end."""

import time

import grpc

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.payer_pb2 import Payer

CALL_S = 10.0
PAUSE_S = 0.2
PASSES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
EVENT = order_pb2.OrderEvent
ENDS = (EVENT.TYPE_PAID, EVENT.TYPE_CANCELED, EVENT.TYPE_EXPIRED)


class ClickAndCollect:
    """Speaks with the order service over a channel."""

    def __init__(self, channel: grpc.Channel, store_id: str, currency_code: str) -> None:
        self._orders = OrderServiceStub(channel)
        self._store_id = store_id
        self._currency_code = currency_code

    def reserve(self, reservation: str, shopper: str, lines: list[LineItem]) -> order_pb2.Order:
        """Raises an order under the shopper's identity. The same reservation is one order, also if it is sent again."""
        request = api.CreateOrderRequest(
            request_id=reservation,
            store_id=self._store_id,
            payer=Payer(identity_id=shopper),
            currency_code=self._currency_code,
            lines=lines,
            labels={"reservation": reservation},
        )
        return self._orders.CreateOrder(request, timeout=CALL_S)

    def how_it_ends(self, order_id: str, within_s: float) -> order_pb2.Order:
        """Waits until the order is paid, canceled or expired; a stream that breaks goes on where it was."""
        cursor, end = "oldest", time.monotonic() + within_s
        while (left_s := end - time.monotonic()) > 0:
            request = api.WatchOrdersRequest(cursor=cursor, store_id=self._store_id, types=ENDS)
            try:
                for answer in self._orders.WatchOrders(request, timeout=left_s):
                    for update in answer.updates:
                        if update.order.order_id == order_id:
                            return update.order
                    cursor = answer.cursor
            except grpc.RpcError as error:
                if error.code() not in PASSES:
                    raise
                time.sleep(PAUSE_S)
        raise TimeoutError(f"order {order_id} did not end within {within_s} s")
