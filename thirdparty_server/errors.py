"""What this server refuses, with which status and in which words."""

from grpc import StatusCode

from tillmesh.runtime.errors import ErrorReason

DOMAIN = "payment.tillmesh"


class Reason(ErrorReason):
    """Reasons of refusals."""

    IDENTITY_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no identity {identity_id}.")
    IDENTITY_EXISTS = (StatusCode.ALREADY_EXISTS, "There is an identity {identity_id} already; choose another id.")
    ACCOUNT_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no account {account_id}.")
    PAYMENT_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no payment {payment_id}.")
    REFUND_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no refund {refund_id}.")
    DEVICE_NOT_FOUND = (StatusCode.NOT_FOUND, "Nobody's device is called {device_uri}.")
    DEVICE_BOUND = (
        StatusCode.FAILED_PRECONDITION,
        "Device {device_uri} is bound to another identity; unbind it first.",
    )
    DEVICE_NOT_BOUND = (
        StatusCode.FAILED_PRECONDITION,
        "Device {device_uri} is bound to no identity; let the platform bind it.",
    )
    PIN_WRONG = (StatusCode.FAILED_PRECONDITION, "The PIN is wrong; tries left: {tries_left}.")
    PIN_LOCKED = (
        StatusCode.FAILED_PRECONDITION,
        "The PIN is locked after too many wrong ones; let the platform set a new one.",
    )
    PIN_NOT_SET = (StatusCode.FAILED_PRECONDITION, "No PIN is set for this payer; let the platform set one.")
    SECRET_MISSING = (
        StatusCode.FAILED_PRECONDITION,
        "PINs, devices and pay codes need --secret-file, which this server was started without.",
    )
    CURRENCY_MISMATCH = (
        StatusCode.INVALID_ARGUMENT,
        "Account {account_id} is kept in {currency}, the amount is in {wanted}; nothing is converted.",
    )
    PAYMENT_NOT_WAITING = (
        StatusCode.FAILED_PRECONDITION,
        "Payment {payment_id} is {state} and waits for nobody's confirmation.",
    )
    CONSENT_MISMATCH = (
        StatusCode.FAILED_PRECONDITION,
        "Payment {payment_id} is {amount} to store {store_id}, not what was confirmed; show it to the payer again.",
    )
    PAYMENT_NOT_CAPTURED = (
        StatusCode.FAILED_PRECONDITION,
        "Payment {payment_id} is {state}; only a captured payment is refunded.",
    )
    PAYMENT_NOT_SETTLED = (
        StatusCode.UNAVAILABLE,
        "Payment {payment_id} is {state}, which is not decided yet; repeat the call with the same request id.",
    )
    REFUND_EXCEEDS_PAYMENT = (
        StatusCode.FAILED_PRECONDITION,
        "Payment {payment_id} has {left} left to refund, {wanted} is more.",
    )
    RETURN_LIMIT_EXCEEDED = (
        StatusCode.FAILED_PRECONDITION,
        "Store {store_id} has {left} left of its limit for returns without a sale, {wanted} is more; "
        "refund the sale's payment, or let the operator raise the limit.",
    )
    LIMIT_IN_USE = (
        StatusCode.FAILED_PRECONDITION,
        "Store {store_id} has given back {used} already; the limit can not be less.",
    )


# Reasons why a payment ends that are no errors (Payment.reason); those of the
# order service (OrderPayment.reason) are passed on as they are.
INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
PAYER_TIMEOUT = "PAYER_TIMEOUT"
PAYMENT_CANCELED = "PAYMENT_CANCELED"
ORDER_UNREACHABLE = "ORDER_UNREACHABLE"
SUPERSEDED = "SUPERSEDED"
PAYER_MISMATCH = "PAYER_MISMATCH"
PAY_CODE_INVALID = "PAY_CODE_INVALID"
PAY_CODE_USED = "PAY_CODE_USED"
PAY_CODE_LOCKED = "PAY_CODE_LOCKED"
