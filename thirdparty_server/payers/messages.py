"""Messages of identities, wallets and phones: records to protobuf, and fields from it."""

from thirdparty_server.ledger.model import wallet
from thirdparty_server.payers.model import Identity, Phone, Wallet
from thirdparty_server.payers.vault import Vault
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import identity_pb2, phone_pb2, wallet_pb2
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallets_api
from tillmesh.auth.callers import Role, acting_role
from tillmesh.rpc.fields import Fields, shown
from tillmesh.rpc.messages import to_money, to_timestamp
from tillmesh.runtime.money import Money
from tillmesh.runtime.secret import Secret

UNCONFIRMED_MAX = 10_000
NewWallet = identities_api.CreateIdentityRequest | wallets_api.OpenWalletRequest


def pay_code(fields: Fields, text: str) -> Secret | None:
    """A pay code, if one was shown; whether it is one is for the payment to say."""
    may_scan = acting_role() in (None, Role.TERMINAL)
    fields.require(may_scan or not text, "pay_code", "is for store terminals alone")
    return Secret(text.encode()) if text else None


def new_wallet(fields: Fields, request: NewWallet, now_ms: int) -> Wallet:
    """The wallet that a request opens."""
    currency = fields.currency("currency_code", request.currency_code)
    return Wallet(
        identity_id=request.identity_id,
        account=wallet(request.identity_id, currency),
        confirmation_threshold=threshold(fields, request),
        unconfirmed_payments_per_day_max=unconfirmed_max(fields, request),
        created_at_ms=now_ms,
    )


def threshold(fields: Fields, message: NewWallet | wallet_pb2.Wallet, within: str = "") -> Money | None:
    """The largest amount that is paid without a yes; None where each payment needs one."""
    if not message.HasField("confirmation_threshold"):
        return None
    limit = fields.money(f"{within}confirmation_threshold", message.confirmation_threshold, minimum=0)
    rule = f"must be {shown(message.currency_code)} as well"
    fields.require(limit.currency == message.currency_code, f"{within}confirmation_threshold.currency_code", rule)
    return limit


def unconfirmed_max(fields: Fields, message: NewWallet | wallet_pb2.Wallet, within: str = "") -> int | None:
    """The largest number of payments a day without a yes; None for any."""
    if not message.HasField("unconfirmed_payments_per_day_max"):
        return None
    count = message.unconfirmed_payments_per_day_max
    ok = 0 <= count <= UNCONFIRMED_MAX
    fields.require(ok, f"{within}unconfirmed_payments_per_day_max", f"must be 0 to {UNCONFIRMED_MAX}, was {count}")
    return count


def to_identity(identity: Identity) -> identity_pb2.Identity:
    """An identity."""
    return identity_pb2.Identity(
        identity_id=identity.identity_id,
        display_name=identity.display_name,
        version=identity.version,
        create_time=to_timestamp(identity.created_at_ms),
    )


def to_wallet(wallet: Wallet) -> wallet_pb2.Wallet:
    """A wallet."""
    limit = wallet.confirmation_threshold
    return wallet_pb2.Wallet(
        identity_id=wallet.identity_id,
        currency_code=wallet.currency,
        account_id=wallet.account.account_id,
        confirmation_threshold=to_money(limit) if limit else None,
        unconfirmed_payments_per_day_max=wallet.unconfirmed_payments_per_day_max,
        version=wallet.version,
        create_time=to_timestamp(wallet.created_at_ms),
    )


def to_phone(phone: Phone) -> phone_pb2.Phone:
    """A phone, without its key."""
    return phone_pb2.Phone(
        identity_id=phone.identity_id,
        phone_id=phone.phone_id,
        phone_uri=phone.phone_uri,
        create_time=to_timestamp(phone.created_at_ms),
    )


def to_key(phone: Phone, vault: Vault) -> phone_pb2.PayCodeKey:
    """The key that a phone makes its pay codes with. It is derived each time and stored nowhere."""
    return phone_pb2.PayCodeKey(handle=phone.handle, key=vault.pay_code_key(phone.handle, phone.key_id).value)


def without_store_s_own(order: order_pb2.Order) -> order_pb2.Order:
    """An order as its payer may see it: without labels, where it was raised, and who set which price."""
    shown = order_pb2.Order()
    shown.CopyFrom(order)
    for name in ("labels", "terminal_id", "lane", "cashier_id"):
        shown.ClearField(name)
    for line in shown.lines:
        line.ClearField("price_override")
    return shown
