"""Messages of identities, wallets and phones: records to protobuf, and fields from it."""

import re

from thirdparty_server.payers.model import Identity, Phone, Wallet
from thirdparty_server.payers.vault import Vault
from tillmesh.api.payment.v1 import identity_pb2, phone_pb2, wallet_pb2
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallets_api
from tillmesh.auth.callers import Role, acting_role
from tillmesh.rpc.fields import Fields, shown
from tillmesh.rpc.messages import to_money, to_timestamp
from tillmesh.runtime.secret import Secret

_PIN = re.compile(r"[0-9]{4,12}")


def pin(fields: Fields, text: str) -> Secret:
    """A PIN, of which no answer repeats anything."""
    fields.require(bool(_PIN.fullmatch(text)), "pin", "must be 4 to 12 digits")
    return Secret(text.encode())


def require_pin(pin: Secret | None) -> None:
    """INVALID_ARGUMENT without the PIN that a store terminal must send."""
    fields = Fields()
    fields.require(pin is not None, "pin", "must be the payer's, from a store terminal")
    fields.check()


def pay_code(fields: Fields, text: str) -> Secret | None:
    """A pay code, if one was shown; whether it is one is for the payment to say."""
    may_scan = acting_role() in (None, Role.TERMINAL)
    fields.require(may_scan or not text, "pay_code", "is for store terminals alone")
    return Secret(text.encode()) if text else None


UNCONFIRMED_MAX = 10_000


def threshold(
    fields: Fields,
    name: str,
    message: identities_api.CreateIdentityRequest | wallets_api.OpenWalletRequest | wallet_pb2.Wallet,
) -> int | None:
    """The largest amount that is paid without a yes; None where each payment needs one."""
    if not message.HasField("confirmation_threshold"):
        return None
    limit = fields.money(f"{name}confirmation_threshold", message.confirmation_threshold, minimum=0)
    rule = f"must be {shown(message.currency_code)} as well"
    fields.require(limit.currency == message.currency_code, f"{name}confirmation_threshold.currency_code", rule)
    return limit.minor


def unconfirmed_max(
    fields: Fields,
    name: str,
    message: identities_api.CreateIdentityRequest | wallets_api.OpenWalletRequest | wallet_pb2.Wallet,
) -> int | None:
    """The largest number of payments a day without a yes; None for any."""
    if not message.HasField("unconfirmed_payments_per_day_max"):
        return None
    count = message.unconfirmed_payments_per_day_max
    ok = 0 <= count <= UNCONFIRMED_MAX
    fields.require(ok, f"{name}unconfirmed_payments_per_day_max", f"must be 0 to {UNCONFIRMED_MAX}, was {count}")
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
    return wallet_pb2.Wallet(
        identity_id=wallet.identity_id,
        currency_code=wallet.currency,
        account_id=wallet.account.account_id,
        confirmation_threshold=to_money(wallet.threshold) if wallet.threshold else None,
        unconfirmed_payments_per_day_max=wallet.unconfirmed_per_day_max,
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
