"""The roles that may call each method. The operations check which records they may touch."""

from tillmesh.auth.callers import Role
from tillmesh.rpc.handlers import Access

_PLATFORM = frozenset({Role.PLATFORM})
_SHOPS = frozenset({Role.TERMINAL, Role.PLATFORM})
_PAYER = frozenset({Role.PHONE})
_OWNER = frozenset({Role.PHONE, Role.PLATFORM})
_ALL = frozenset({Role.TERMINAL, Role.PHONE, Role.PLATFORM})

ACCESS: dict[str, Access] = {
    "tillmesh.api.payment.v1.PaymentService": {
        "CreatePayment": _ALL,
        "GetPayment": _ALL,
        "ListPayments": _ALL,
        "ConfirmPayment": _ALL,  # from a shop with the payer's PIN alone
        "CancelPayment": _ALL,
        "VoidPayment": _PLATFORM,
        "ListPaymentEvents": _ALL,
        "WatchPayments": _ALL,
    },
    "tillmesh.api.payment.v1.RefundService": {
        "RefundPayment": _SHOPS,
        "CreateUnreferencedRefund": _SHOPS,
        "GetRefund": _SHOPS,
        "ListRefunds": _SHOPS,
    },
    "tillmesh.api.payment.v1.IdentityService": {
        "CreateIdentity": _PLATFORM,
        "GetIdentity": _OWNER,  # no shop: who knows an id learns nothing by it
        "ListIdentities": _PLATFORM,
        "UpdateIdentity": _OWNER,
        "SetPin": _PLATFORM,
    },
    "tillmesh.api.payment.v1.WalletService": {
        "OpenWallet": _PLATFORM,
        "GetWallet": _OWNER,
        "ListWallets": _OWNER,
        "UpdateWallet": _OWNER,
    },
    "tillmesh.api.payment.v1.PhoneService": {
        "BindPhone": _PLATFORM,
        "ListPhones": _OWNER,
        "UnbindPhone": _PLATFORM,
    },
    "tillmesh.api.payment.v1.StoreService": {
        "CreateStore": _PLATFORM,
        "GetStore": _SHOPS,
        "ListStores": _PLATFORM,
        "UpdateStore": _PLATFORM,
    },
    "tillmesh.api.payment.v1.PayerService": {
        "SignIn": _PAYER,  # the one call without a session
        "SignOut": _PAYER,
        "RenewPayCodeKey": _PAYER,
        "ListPendingOrders": _PAYER,
    },
    "tillmesh.api.payment.v1.ClaimService": {
        "PresentOrder": frozenset({Role.TERMINAL}),
        "ClaimOrder": _PAYER,
        "GetOrderClaim": _PAYER,
        "ReleaseOrderClaim": _PAYER,
    },
    "tillmesh.api.payment.v1.AccountService": {
        "GetAccount": _OWNER,
        "ListAccounts": _PLATFORM,
        "ListAccountEntries": _OWNER,
        "CreateDeposit": _PLATFORM,
        "ListTrialBalances": _PLATFORM,
    },
}
