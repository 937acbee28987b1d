"""The refusals of this server: reason, status and text."""

from grpc import StatusCode

from tillmesh.runtime.errors import ErrorReason

DOMAIN = "payment.tillmesh"


class Reason(ErrorReason):
    """Reasons of refusals."""

    IDENTITY_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no identity {identity_id}.")
    IDENTITY_EXISTS = (
        StatusCode.ALREADY_EXISTS,
        "There is an identity {identity_id} already, with other content; choose another id, or update it.",
    )
    WALLET_NOT_FOUND = (StatusCode.NOT_FOUND, "Identity {identity_id} has no wallet in {currency}; open one first.")
    NO_WALLET_IN_CURRENCY = (
        StatusCode.FAILED_PRECONDITION,
        "The payer of this pay code has no wallet in {currency}, and no money is converted.",
    )
    WALLET_EXISTS = (StatusCode.ALREADY_EXISTS, "Identity {identity_id} has a wallet in {currency} already.")
    STORE_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no record of store {store_id}; let the platform create it.")
    STORE_EXISTS = (
        StatusCode.ALREADY_EXISTS,
        "There is a store {store_id} already, with other content; choose another id, or update it.",
    )
    STORE_SUSPENDED = (StatusCode.FAILED_PRECONDITION, "Store {store_id} is suspended; the platform can activate it.")
    ACCOUNT_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no account {account_id}.")
    BALANCE_LIMIT_EXCEEDED = (
        StatusCode.FAILED_PRECONDITION,
        "Account {account_id} would have more than {most}, the most there may be; use another wallet.",
    )
    LEDGER_LIMIT_EXCEEDED = (
        StatusCode.FAILED_PRECONDITION,
        "All accounts together would have more than {most}, the most that there may be of one currency.",
    )
    PAYMENT_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no payment {payment_id}.")
    REFUND_NOT_FOUND = (StatusCode.NOT_FOUND, "There is no refund {refund_id}.")
    PHONE_NOT_FOUND = (StatusCode.NOT_FOUND, "Phone {phone_uri} is not bound, or no longer to that identity.")
    PHONE_BOUND = (
        StatusCode.FAILED_PRECONDITION,
        "Phone {phone_uri} is bound to another identity; unbind it first, then bind it under a new request id.",
    )
    PHONE_NOT_BOUND = (
        StatusCode.FAILED_PRECONDITION,
        "Phone {phone_uri} is bound to no identity; let the platform bind it.",
    )
    VERSION_MISMATCH = (
        StatusCode.ABORTED,
        "{resource} is at version {version}, not at {wanted}; "
        "read it again and send the change under a new request id.",
    )
    PIN_WRONG = (StatusCode.FAILED_PRECONDITION, "The PIN is wrong; tries left: {tries_left}.")
    PIN_LOCKED = (
        StatusCode.FAILED_PRECONDITION,
        "The PIN is locked after too many wrong ones; let the platform set a new one.",
    )
    PIN_NOT_SET = (StatusCode.FAILED_PRECONDITION, "No PIN is set for this payer; let the platform set one.")
    PIN_TRY_NOT_SETTLED = (
        StatusCode.UNAVAILABLE,
        "The PIN of this request is being checked already; repeat the call with the same request id.",
    )
    PAY_CODE_REQUIRED = (
        StatusCode.FAILED_PRECONDITION,
        "Refund {refund_id} names no payee. Scan the payee's pay code, under a new refund id.",
    )
    PAY_CODE_INVALID = (
        StatusCode.FAILED_PRECONDITION,
        "The pay code was misread, is too old or was made up; scan the next one under a new id.",
    )
    PAY_CODE_USED = (
        StatusCode.FAILED_PRECONDITION,
        "The pay code was used before; scan the next one under a new id.",
    )
    PAY_CODE_LOCKED = (
        StatusCode.FAILED_PRECONDITION,
        "Pay codes of this phone are locked for a while after too many wrong ones; name the identity instead.",
    )
    IDENTITY_GUESSES_EXHAUSTED = (
        StatusCode.RESOURCE_EXHAUSTED,
        "Store {store_id} has named too many identities that cannot pay. Scan a pay code, or repeat the call later.",
    )
    SECRET_MISSING = (
        StatusCode.FAILED_PRECONDITION,
        "PINs, phones and pay codes need --secret-file, which this server was started without.",
    )
    CURRENCY_MISMATCH = (
        StatusCode.INVALID_ARGUMENT,
        "Payment {payment_id} is in {currency}, the amount is in {wanted}; nothing is converted.",
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
    PAYMENT_NOT_VOIDABLE = (
        StatusCode.FAILED_PRECONDITION,
        "Payment {payment_id} is {state}, and no case for an operator: only one that is AUTHORIZED, "
        "and that its order does not know, has nobody else to end it.",
    )
    PAYMENT_NOT_SETTLED = (
        StatusCode.UNAVAILABLE,
        "Payment {payment_id} is {state}, which is not decided yet; repeat the call with the same refund id.",
    )
    PAYMENT_ALREADY_REFUNDED = (
        StatusCode.FAILED_PRECONDITION,
        "Payment {payment_id} is already refunded in full.",
    )
    REFUND_EXCEEDS_PAYMENT = (
        StatusCode.FAILED_PRECONDITION,
        "Payment {payment_id} has {left} left to refund, {wanted} is more.",
    )
    LINE_NOT_FOUND = (
        StatusCode.FAILED_PRECONDITION,
        "Order {order_id} has no line {line_number}; its paid version has lines 1 to {lines}.",
    )
    REFUND_EXCEEDS_LINE = (
        StatusCode.FAILED_PRECONDITION,
        "Line {line_number} of order {order_id} has a quantity of {left} left to give back, {wanted} is more.",
    )
    DECLINED = (
        StatusCode.FAILED_PRECONDITION,
        "Nothing can be given back to that identity in this currency; ask for a pay code.",
    )
    UNREFERENCED_REFUND_LIMIT_EXCEEDED = (
        StatusCode.FAILED_PRECONDITION,
        "Store {store_id} has {left} left of its limit for refunds without a sale, {wanted} is more; "
        "refund the sale's payment, or let the platform raise the limit.",
    )
    ORDER_NOT_FOUND = (StatusCode.NOT_FOUND, "The store has no order {order_id}.")
    ORDER_NOT_PENDING = (
        StatusCode.FAILED_PRECONDITION,
        "Order {order_id} is {state}; only a pending order can be presented and claimed.",
    )
    PAYER_NAMED = (
        StatusCode.FAILED_PRECONDITION,
        "Order {order_id} names its payer, who sees it on the phone; only an order under a reference is presented.",
    )
    CLAIM_CODE_NOT_FOUND = (
        StatusCode.NOT_FOUND,
        "The shop presents nothing under this code, or no longer; scan the code again, under a new request id.",
    )
    CLAIM_NOT_FOUND = (
        StatusCode.NOT_FOUND,
        "You have no claim of order {order_id}, or it has ended; scan the shop's code again.",
    )
    ORDER_CLAIMED = (
        StatusCode.FAILED_PRECONDITION,
        "Somebody else has claimed the order; let the shop present it anew, then scan the new code.",
    )
    CLAIMS_EXHAUSTED = (
        StatusCode.RESOURCE_EXHAUSTED,
        "You have {most} claims, the most there may be. Release one, or repeat the call later.",
    )
    LIMIT_IN_USE = (
        StatusCode.FAILED_PRECONDITION,
        "Store {store_id} has given back {used} already; the limit cannot be less.",
    )


# Reasons why a payment ends (Payment.reason) that are no errors; those of the
# order service (OrderPayment.reason) are passed on as they are.
INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
PAYER_TIMEOUT = "PAYER_TIMEOUT"
PAYMENT_CANCELED = "PAYMENT_CANCELED"
ORDER_UNREACHABLE = "ORDER_UNREACHABLE"
SUPERSEDED = "SUPERSEDED"
VOIDED_BY_OPERATOR = "VOIDED_BY_OPERATOR"
PAYER_MISMATCH = "PAYER_MISMATCH"

UNABLE_TO_PAY = (Reason.IDENTITY_NOT_FOUND.name, Reason.WALLET_NOT_FOUND.name)
"""Reasons that tell who is no payer."""
WRONG_CODE = frozenset({Reason.PAY_CODE_INVALID.name, Reason.PAY_CODE_USED.name, Reason.PAY_CODE_LOCKED.name})
HIDDEN_FROM_TERMINALS = frozenset({*UNABLE_TO_PAY, INSUFFICIENT_FUNDS})
"""Reasons that tell about a payer who showed no pay code: a store terminal sees DECLINED in their place."""
