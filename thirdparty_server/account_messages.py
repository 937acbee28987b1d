"""Messages of identities, wallets, phones and accounts: records to protobuf, and fields from it."""

from collections.abc import Sequence

from google.protobuf import field_mask_pb2

from thirdparty_server.model import (
    Account,
    AccountKind,
    Deposit,
    Entry,
    Identity,
    Phone,
    TrialBalance,
    Wallet,
)
from thirdparty_server.vault import Vault
from tillmesh.api.payment.v1 import account_pb2, deposit_pb2, identity_pb2, phone_pb2, wallet_pb2
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallets_api
from tillmesh.auth.callers import shown_actor
from tillmesh.rpc.fields import Fields, shown
from tillmesh.rpc.messages import to_money, to_timestamp
from tillmesh.runtime.money import Money
from tillmesh.storage.seal import Seal

UNCONFIRMED_MAX = 10_000
MASK_PATHS_MAX = 20


def update_mask(fields: Fields, mask: field_mask_pb2.FieldMask, allowed: Sequence[str]) -> frozenset[str]:
    """The fields that an update changes; one that nobody can change is named, and so is a mask without any."""
    known = ", ".join(allowed)
    count = len(mask.paths)
    fields.require(1 <= count <= MASK_PATHS_MAX, "update_mask", f"must name 1 to {MASK_PATHS_MAX} of {known}")
    for index, path in enumerate(mask.paths[:MASK_PATHS_MAX]):
        fields.require(path in allowed, f"update_mask.paths[{index}]", f"must be one of {known}, was {shown(path)}")
    return frozenset(mask.paths)


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


def to_account(account: Account) -> account_pb2.Account:
    """An account."""
    limit_minor = account.credit_limit_minor
    return account_pb2.Account(
        account_id=account.account_id,
        kind=account_pb2.Account.Kind.Value(f"KIND_{account.kind}"),
        posted=to_money(Money(account.currency, account.posted_minor)),
        held=to_money(Money(account.currency, account.held_minor)),
        credit_limit=None if limit_minor is None else to_money(Money(account.currency, limit_minor)),
    )


def to_entry(entry: Entry, account_id: str, seal: Seal) -> account_pb2.AccountEntry:
    """A line of an account's statement; nobody reads from its id how many transfers there are."""
    return account_pb2.AccountEntry(
        entry_id=seal.close(str(entry.transfer_id), f"entry of {account_id}"),
        phase=account_pb2.AccountEntry.Phase.Value(f"PHASE_{entry.phase}"),
        purpose=account_pb2.AccountEntry.Purpose.Value(f"PURPOSE_{entry.purpose}"),
        reference=entry.reference,
        counterparty_account_id=entry.counterparty_account_id,
        amount=to_money(entry.amount),
        actor=shown_actor(entry.actor),
        entry_time=to_timestamp(entry.at_ms),
    )


def to_deposit(deposit: Deposit) -> deposit_pb2.Deposit:
    """A deposit."""
    return deposit_pb2.Deposit(
        deposit_id=deposit.deposit_id,
        identity_id=deposit.identity_id,
        amount=to_money(deposit.amount),
        actor=shown_actor(deposit.actor),
        create_time=to_timestamp(deposit.created_at_ms),
    )


def to_trial_balance(balance: TrialBalance) -> account_pb2.TrialBalance:
    """A trial balance."""
    by_kind, currency = balance.minor_by_kind, balance.currency
    stores_minor = by_kind[AccountKind.STORE_SALES] + by_kind[AccountKind.STORE_RETURNS]
    return account_pb2.TrialBalance(
        currency_code=currency,
        sum=to_money(Money(currency, sum(by_kind.values()))),
        wallets=to_money(Money(currency, by_kind[AccountKind.WALLET])),
        stores=to_money(Money(currency, stores_minor)),
        external=to_money(Money(currency, by_kind[AccountKind.EXTERNAL])),
        held=to_money(Money(currency, balance.held_minor)),
        differing_account_ids=balance.differing_account_ids,
    )
