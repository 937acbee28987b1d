"""The refusals of this server: reason, status and text."""

from grpc import StatusCode

from tillmesh.runtime.errors import CommonReason, ErrorReason

DOMAIN = "terminal.tillmesh"


class Reason(ErrorReason):
    """Reasons of refusals; those of the other servers are passed on as they are."""

    CHECKOUT_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no checkout {checkout_id} at this till.")
    CHECKOUT_PRUNED = (
        StatusCode.NOT_FOUND,
        "Checkout {checkout_id} was a basket that never became an order; it was pruned when it was old.",
    )
    CHECKOUT_EXISTS = (
        StatusCode.ALREADY_EXISTS,
        "The id {checkout_id} is that of another checkout; sell under another id.",
    )
    LINE_NOT_FOUND = (StatusCode.NOT_FOUND, "Checkout {checkout_id} has no line {line_number}.")
    ITEM_NOT_FOUND = (StatusCode.NOT_FOUND, "The catalogue has no article {sku}; import it, or give its price.")
    GTIN_NOT_FOUND = (StatusCode.NOT_FOUND, "The catalogue has no article with the GTIN {gtin}.")
    CODE_UNREADABLE = (StatusCode.INVALID_ARGUMENT, "The scanned code cannot be read: {why}.")
    CODE_LENGTH_WRONG = (
        StatusCode.INVALID_ARGUMENT,
        "The scanned code has {length} digits; a GTIN has 8, 12, 13 or 14. Scan it again.",
    )
    CHECK_DIGIT_WRONG = (
        StatusCode.INVALID_ARGUMENT,
        "The check digit of {what} is wrong; scan it again, or key in its digits.",
    )
    RULE_MISSING = (
        StatusCode.FAILED_PRECONDITION,
        "No rule is set for in-store codes of {length} digits that begin with {prefix}; set one with ReplaceScanRules.",
    )
    SCAN_RULES_VERSION_MISMATCH = (
        StatusCode.ABORTED,
        "The scan rules are at version {version}, not at {wanted}; read them again.",
    )
    ITEM_IN_USE = (
        StatusCode.FAILED_PRECONDITION,
        "Article {sku} is the deposit of {used_by}; change or delete that first.",
    )
    IMPORT_NOT_SETTLED = (StatusCode.UNAVAILABLE, "An import of the catalogue is being taken over; repeat the call.")
    IMPORT_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no import {import_id} at this till.")
    IMPORT_EXISTS = (
        StatusCode.ALREADY_EXISTS,
        "The id {import_id} was already used with other content; begin the import under another id.",
    )
    IMPORT_ENDED = (
        StatusCode.FAILED_PRECONDITION,
        "Import {import_id} is {state} and changes no more; begin another one.",
    )
    PART_OUT_OF_ORDER = (
        StatusCode.FAILED_PRECONDITION,
        "Import {import_id} has {part_count} parts, so {part_number} is not the number that is due.",
    )
    PART_NUMBER_REUSED = (
        StatusCode.ALREADY_EXISTS,
        "Part {part_number} of import {import_id} came with other content before.",
    )
    REFUND_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no refund {refund_id} at this till.")
    ORDER_NOT_FOUND = (StatusCode.NOT_FOUND, "This store has no order {order_id}.")
    RECEIPT_CODE_MISMATCH = (
        StatusCode.INVALID_ARGUMENT,
        "The receipt's code does not match the history of checkout {checkout_id} at this till; "
        "scan it again, or key in the transaction number.",
    )
    CURRENCY_MISMATCH = (
        StatusCode.INVALID_ARGUMENT,
        "{what} is in {currency}, {wanted} is needed; nothing is converted.",
    )
    BASKET_VERSION_MISMATCH = (
        StatusCode.ABORTED,
        "The basket of checkout {checkout_id} is at version {version}, not at {wanted}; read it again.",
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
    ADJUSTMENT_TOO_LARGE = (
        StatusCode.FAILED_PRECONDITION,
        "The goods of checkout {checkout_id} are not worth an adjustment of {amount}: no line may become negative.",
    )
    CHECKOUT_TOO_LARGE = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} would be an order of {bytes} bytes, {bytes_max} is the most; split it.",
    )
    CHECKOUT_NOT_SUBMITTED = (StatusCode.FAILED_PRECONDITION, "Checkout {checkout_id} has no order yet; submit it.")
    CHECKOUT_SUBMITTED = (StatusCode.FAILED_PRECONDITION, "Checkout {checkout_id} has its order already; pay it.")
    CHECKOUT_BUSY = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} waits for an answer to request {request_id}, which is being repeated. "
        "Try again under a new request id.",
    )
    CHECKOUT_PARKED = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} is put aside; recall it first.",
    )
    CHECKOUT_NOT_PARKED = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} is not put aside, or somebody has recalled it; read it again.",
    )
    PAYER_NAMED = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} names its payer, who sees the order on the phone anyway. "
        "Open a checkout without an identity to present it.",
    )
    STICKER_NOT_FOUND = (StatusCode.NOT_FOUND, "Lane {lane} has no sticker; make one with RenewLaneSticker.")
    LANES_EXHAUSTED = (
        StatusCode.RESOURCE_EXHAUSTED,
        "{lanes_max} lanes have a sticker already, so {lane} gets none; use the name of a lane that has one.",
    )
    PAYMENT_UNDER_WAY = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} is being paid by payment {payment_id}; wait, or cancel that payment.",
    )
    NO_PAYMENT = (StatusCode.FAILED_PRECONDITION, "No payment of checkout {checkout_id} was started at this till.")
    CHECKOUT_PAID = (StatusCode.FAILED_PRECONDITION, "Checkout {checkout_id} is paid already.")
    CHECKOUT_NOT_PAID = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} is not paid: there is nothing to print or to give back.",
    )
    SALE_TOO_LATE = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} got its order only {seconds} s after it was sold, so its payment was not sent. "
        "Pay it, or void it.",
    )
    NOT_DECLINED = (
        StatusCode.FAILED_PRECONDITION,
        "No payment of checkout {checkout_id} has ended without paying: there is no slip to print.",
    )
    REFUND_NOT_DONE = (
        StatusCode.FAILED_PRECONDITION,
        "Refund {refund_id} is {state}: there is no slip to print before the shopper has the money.",
    )
    NOTHING_WAS_PAID = (
        StatusCode.FAILED_PRECONDITION,
        "Checkout {checkout_id} came to 0 and was completed without a payment: there is nothing to give back.",
    )
    PAY_CODE_LOST = (
        StatusCode.FAILED_PRECONDITION,
        "The till started anew before the payment server had the pay code of {request_id}. "
        "Scan a new one, under a new id.",
    )
    CHECKOUT_CANCELED = (StatusCode.FAILED_PRECONDITION, "Checkout {checkout_id} is canceled; open a new one.")


# Reasons of other servers that decide what this one does next.
PAYMENT_CANCELED = "PAYMENT_CANCELED"
ORDER_ALREADY_PAID = "ORDER_ALREADY_PAID"
ORDER_CANCELED = "ORDER_CANCELED"
NUMBER_TAKEN = frozenset({"ORDER_EXISTS"})
"""The order service has an order of that number already."""
READ_AGAIN = frozenset({"VERSION_MISMATCH", "ORDER_LOCKED", ORDER_ALREADY_PAID, ORDER_CANCELED})
"""After one of these refusals the till looks how the order is now."""
NOT_THERE = frozenset({"PAYMENT_NOT_FOUND", CommonReason.STORE_DENIED.name})
"""The payment server has no such payment: a store gets STORE_DENIED for what does not exist."""
NOTHING_LEFT = frozenset({"PAYMENT_ALREADY_REFUNDED"})
"""All of the payment was given back before."""
NEVER_MADE = frozenset({"PAY_CODE_REQUIRED"})
"""The payment server has no such refund, and will not make it either."""

# A reason of this server that stands in the body of a verdict and is no error.
PAYMENT_TIMEOUT = "PAYMENT_TIMEOUT"
