"""Who may call what: one table, everybody else is refused. Which records, the operations check."""

from tillmesh.runtime.callers import Role
from tillmesh.runtime.handlers import Access

_PLATFORM = frozenset({Role.PLATFORM})
_SHOPS = frozenset({Role.TILL, Role.PLATFORM})

ACCESS: dict[str, Access] = {
    "tillmesh.api.payment.v1.PaymentService": {
        "CreatePayment": _SHOPS,
        "GetPayment": _SHOPS,
        "ListPayments": _SHOPS,
        "ConfirmPayment": _PLATFORM,  # the payer's yes never comes from a shop
        "CancelPayment": _SHOPS,
        "ListPaymentEvents": _SHOPS,
    },
    "tillmesh.api.payment.v1.RefundService": {
        "CreateRefund": _SHOPS,
        "GetRefund": _SHOPS,
        "ListRefunds": _SHOPS,
    },
    "tillmesh.api.payment.v1.IdentityService": {
        "CreateIdentity": _PLATFORM,
        "GetIdentity": _SHOPS,
        "ListIdentities": _PLATFORM,
        "UpdateIdentity": _PLATFORM,
    },
    "tillmesh.api.payment.v1.AccountService": {
        "GetAccount": _PLATFORM,
        "ListAccounts": _PLATFORM,
        "ListAccountEntries": _PLATFORM,
        "CreateDeposit": _PLATFORM,
        "SetReturnLimit": _PLATFORM,
        "ListTrialBalances": _PLATFORM,
    },
}
