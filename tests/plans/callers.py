"""Who asks the servers on the tour."""

from tillmesh.auth.callers import Caller, Role

STORE, ADA, LANE, CASHIER = "store-1", "ada", "lane-1", "cashier-1"
PLATFORM = Caller("spiffe://tillmesh/platform/web", Role.PLATFORM, None)
PAYMENT_SERVER = Caller("spiffe://tillmesh/payments/1", Role.PAYMENTS, None)
SHOP = Caller(f"spiffe://tillmesh/terminal/{STORE}/till-1", Role.TERMINAL, STORE)
DEVICE = Caller(f"spiffe://tillmesh/device/{STORE}/{LANE}", Role.DEVICE, STORE)
PHONE = Caller(f"spiffe://tillmesh/phone/{ADA}", Role.PHONE, None)
ADAS_PHONE = Caller(PHONE.uri, Role.PHONE, None, ADA)
AT = {"lane": LANE, "cashier_id": CASHIER}
