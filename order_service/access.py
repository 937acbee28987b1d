"""Who may call what: one table, everybody else is refused. Which records, the operations check."""

from tillmesh.runtime.callers import Role
from tillmesh.runtime.handlers import Access

_SHOPS = frozenset({Role.TILL, Role.PLATFORM})
_READERS = frozenset({Role.TILL, Role.PLATFORM, Role.PAYMENTS})
_PAYMENTS = frozenset({Role.PAYMENTS})

ACCESS: dict[str, Access] = {
    "tillmesh.api.order.v1.OrderService": {
        "CreateOrder": _SHOPS,
        "GetOrder": _READERS,
        "ListOrders": _READERS,
        "UpdateOrder": _SHOPS,
        "CancelOrder": _SHOPS,
        "LockOrder": _PAYMENTS,
        "CompleteOrderPayment": _PAYMENTS,
        # A till or phone can end its attempt although the payment server is away (rule 3).
        "CancelOrderPayment": _READERS,
        "ListOrderEvents": _READERS,
    }
}
