"""The roles that may call each method. Devices must belong to the terminal's own store."""

from tillmesh.auth.callers import Role
from tillmesh.rpc.handlers import Access

_DEVICE = frozenset({Role.DEVICE})
_READERS = frozenset({Role.DEVICE, Role.PLATFORM})

ACCESS: dict[str, Access] = {
    "tillmesh.api.terminal.v1.CheckoutService": {
        "CreateCheckout": _DEVICE,
        "ResumeCheckout": _DEVICE,
        "GetCheckout": _READERS,
        "ListCheckouts": _READERS,
        "ListPendingOrders": _DEVICE,
        "AddLines": _DEVICE,
        "UpdateLine": _DEVICE,
        "RemoveLine": _DEVICE,
        "AdjustCheckout": _DEVICE,
        "SubmitCheckout": _DEVICE,
        "PayCheckout": _DEVICE,
        "EnterPin": _DEVICE,
        "CancelCheckoutPayment": _DEVICE,
        "CancelCheckout": _DEVICE,
        "Sell": _DEVICE,
        "VoidCheckout": _DEVICE,
        "ParkCheckout": _DEVICE,
        "RecallCheckout": _DEVICE,
        "ListCheckoutEvents": _READERS,
        "WatchCheckouts": _READERS,
    },
    "tillmesh.api.terminal.v1.PresentationService": {
        "PresentCheckout": _DEVICE,
        "RenewLaneSticker": _DEVICE,
        "GetLaneSticker": _DEVICE,
    },
    "tillmesh.api.terminal.v1.ScanService": {
        "ScanItem": _DEVICE,
        "GetScanRules": _READERS,
        "ReplaceScanRules": _DEVICE,
    },
    "tillmesh.api.terminal.v1.ReceiptService": {
        "GetReceipt": _READERS,
    },
    "tillmesh.api.terminal.v1.TillRefundService": {
        "RefundCheckout": _DEVICE,
        "ReturnGoods": _DEVICE,
        "GetTillRefund": _READERS,
        "ListTillRefunds": _READERS,
    },
    "tillmesh.api.terminal.v1.CatalogueService": {
        "ImportCatalogueItems": _DEVICE,
        "DeleteCatalogueItems": _DEVICE,
        "GetCatalogueItem": _READERS,
        "LookUpCatalogueItem": _READERS,
        "ListCatalogueItems": _READERS,
        "CreateCatalogueImport": _DEVICE,
        "AddCatalogueImportItems": _DEVICE,
        "CommitCatalogueImport": _DEVICE,
        "CancelCatalogueImport": _DEVICE,
        "GetCatalogueImport": _READERS,
    },
}
