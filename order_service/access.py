"""The roles that may call each method. The operations check which records they may touch."""

from tillmesh.auth.callers import Role
from tillmesh.rpc.handlers import Access

_SHOPS = frozenset({Role.TERMINAL, Role.PLATFORM})
_READERS = frozenset({Role.TERMINAL, Role.PLATFORM, Role.PAYMENTS})
_PAYMENTS = frozenset({Role.PAYMENTS})

ACCESS: dict[str, Access] = {
    "tillmesh.api.order.v1.OrderService": {
        "CreateOrder": _SHOPS,
        "GetOrder": _READERS,
        "GetOrderVersion": _READERS,
        "ListOrders": _READERS,
        "ReplaceOrderLines": _SHOPS,
        "CancelOrder": _SHOPS,
        "CompleteFreeOrder": _SHOPS,
        "LockOrder": _PAYMENTS,
        "CompleteOrderPayment": _PAYMENTS,
        # Whoever started an attempt can end it although the payment server is away (rule 3).
        "CancelOrderPayment": _READERS,
        "ListOrderEvents": _READERS,
        "WatchOrders": _SHOPS,
    }
}
