"""Who may call what: one table, everybody else is refused. Which records, the operations check."""

from tillmesh.runtime.callers import Role
from tillmesh.runtime.handlers import Access

_PLATFORM = frozenset({Role.PLATFORM})
_SHOPS = frozenset({Role.TILL, Role.PLATFORM})
_PAYER = frozenset({Role.PAYER})
_OWNER = frozenset({Role.PAYER, Role.PLATFORM})
_ALL = frozenset({Role.TILL, Role.PAYER, Role.PLATFORM})

ACCESS: dict[str, Access] = {
    "tillmesh.api.payment.v1.PaymentService": {
        "CreatePayment": _ALL,
        "GetPayment": _ALL,
        "ListPayments": _ALL,
        "ConfirmPayment": _ALL,  # from a shop with the payer's PIN alone
        "CancelPayment": _ALL,
        "ListPaymentEvents": _ALL,
    },
    "tillmesh.api.payment.v1.RefundService": {
        "CreateRefund": _SHOPS,
        "GetRefund": _SHOPS,
        "ListRefunds": _SHOPS,
    },
    "tillmesh.api.payment.v1.IdentityService": {
        "CreateIdentity": _PLATFORM,
        "GetIdentity": _OWNER,  # no shop: who knows an id learns nothing by it
        "ListIdentities": _PLATFORM,
        "UpdateIdentity": _OWNER,
        "SetPin": _PLATFORM,
        "BindDevice": _PLATFORM,
        "UnbindDevice": _PLATFORM,
    },
    "tillmesh.api.payment.v1.PayerService": {
        "SignIn": _PAYER,  # the one call without a session
        "SignOut": _PAYER,
        "RenewPayCodeKey": _PAYER,
        "ListPendingTransactions": _PAYER,
    },
    "tillmesh.api.payment.v1.AccountService": {
        "GetAccount": _OWNER,
        "ListAccounts": _PLATFORM,
        "ListAccountEntries": _OWNER,
        "CreateDeposit": _PLATFORM,
        "SetReturnLimit": _PLATFORM,
        "ListTrialBalances": _PLATFORM,
    },
}
