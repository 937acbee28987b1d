"""The refusals of this server: reason, status and text."""

from grpc import StatusCode

from tillmesh.runtime.errors import ErrorReason

DOMAIN = "order.tillmesh"


class Reason(ErrorReason):
    """Reasons of refusals. Those that LockOrder answers with are bodies, not errors."""

    ORDER_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no order {order_id}.")
    ORDER_VERSION_NOT_FOUND = (
        StatusCode.NOT_FOUND,
        "Order {order_id} has no version {wanted}; its versions are 1 to {version}.",
    )
    ORDER_VERSION_PRUNED = (
        StatusCode.NOT_FOUND,
        "Version {wanted} of order {order_id} was pruned; only the last one is kept, which is {version}.",
    )
    ORDER_EXISTS = (
        StatusCode.ALREADY_EXISTS,
        "There is an order {order_id} already; choose another number, under a new request id.",
    )
    VERSION_MISMATCH = (
        StatusCode.ABORTED,
        "Order {order_id} is at version {version}, not at {wanted}; "
        "read it again, then decide anew under a new request id.",
    )
    ORDER_LOCKED = (
        StatusCode.FAILED_PRECONDITION,
        "Order {order_id} is locked by payment {payment_id} for {seconds_left} more seconds at most; "
        "wait, or cancel that payment; then send the change under a new request id.",
    )
    ORDER_ALREADY_PAID = (StatusCode.FAILED_PRECONDITION, "Order {order_id} is already paid.")
    ORDER_CANCELED = (StatusCode.FAILED_PRECONDITION, "Order {order_id} is canceled; create a new one.")
    ORDER_NOT_FREE = (
        StatusCode.FAILED_PRECONDITION,
        "Order {order_id} comes to {amount}; only an order that comes to 0 is completed without a payment.",
    )
    PAYMENT_NOT_FOUND = (StatusCode.NOT_FOUND, "No payment {payment_id} ever asked for a lock.")
    EPOCH_MISMATCH = (
        StatusCode.FAILED_PRECONDITION,
        "Payment {payment_id} has epoch {epoch}, not {wanted}; complete it with the epoch that LockOrder granted.",
    )


# Reasons that stand in the body of a verdict (OrderPayment.reason) and are no errors.
LEASE_EXPIRED = "LEASE_EXPIRED"
PAYMENT_CANCELED = "PAYMENT_CANCELED"
AMOUNT_MISMATCH = "AMOUNT_MISMATCH"
PAYER_MISMATCH = "PAYER_MISMATCH"
STORE_MISMATCH = "STORE_MISMATCH"
NOTHING_TO_PAY = "NOTHING_TO_PAY"
