"""What this server refuses, with which status and in which words."""

from grpc import StatusCode

from tillmesh.runtime.errors import ErrorReason

DOMAIN = "terminal.tillmesh"


class Reason(ErrorReason):
    """Reasons of refusals; those of the other servers are passed on as they are."""

    CHECKOUT_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no checkout {checkout_id} at this till.")
    LINE_NOT_FOUND = (StatusCode.NOT_FOUND, "Checkout {checkout_id} has no line {line_number}.")
    ITEM_NOT_FOUND = (StatusCode.NOT_FOUND, "The catalogue has no article {sku}; import it, or give its price.")
    REFUND_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no refund {refund_id} at this till.")
    ORDER_NOT_FOUND = (StatusCode.NOT_FOUND, "This store has no order {order_id}.")
    CURRENCY_MISMATCH = (
        StatusCode.INVALID_ARGUMENT,
        "{what} is in {currency}, {wanted} is needed; nothing is converted.",
    )
    VERSION_MISMATCH = (
        StatusCode.ABORTED,
        "Checkout {checkout_id} is at version {version}, not at {wanted}; show it to the shopper again.",
    )
    AMOUNT_MISMATCH = (
        StatusCode.ABORTED,
        "Checkout {checkout_id} comes to {amount}, not to {wanted}; show it to the shopper again.",
    )
    CHECKOUT_EMPTY = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} would be an order without lines; add one, or cancel the checkout.",
    )
    TOTAL_NEGATIVE = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} would be an order of {amount}; an order is not negative, return the goods instead.",
    )
    CHECKOUT_TOO_LARGE = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} would be an order of {bytes} bytes, {bytes_max} is the most; split it.",
    )
    CHECKOUT_NOT_SUBMITTED = (StatusCode.FAILED_PRECONDITION, "Checkout {checkout_id} has no order yet; submit it.")
    CHECKOUT_SUBMITTED = (StatusCode.FAILED_PRECONDITION, "Checkout {checkout_id} has its order already; pay it.")
    CHECKOUT_BUSY = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} waits for an answer to request {request_id}, which is being repeated; try again.",
    )
    PAYMENT_UNDER_WAY = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} is being paid by payment {payment_id}; wait, or cancel that payment.",
    )
    NO_PAYMENT = (StatusCode.FAILED_PRECONDITION, "No payment of checkout {checkout_id} was started at this till.")
    CHECKOUT_PAID = (StatusCode.FAILED_PRECONDITION, "Checkout {checkout_id} is paid by payment {payment_id}.")
    CHECKOUT_NOT_PAID = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} is not paid: there is nothing to print or to give back.",
    )
    CHECKOUT_CANCELED = (StatusCode.FAILED_PRECONDITION, "Checkout {checkout_id} is canceled; open a new one.")


# Reasons of other servers that decide what this one does next.
PAYMENT_CANCELED = "PAYMENT_CANCELED"
ORDER_ALREADY_PAID = "ORDER_ALREADY_PAID"
STALE_COPY = frozenset({"VERSION_MISMATCH", ORDER_ALREADY_PAID, "ORDER_CANCELED"})

# Reasons of this server that stand in the body of a verdict and are no errors.
AWAITING_PAYER = "AWAITING_PAYER"
PAYMENT_TIMEOUT = "PAYMENT_TIMEOUT"
