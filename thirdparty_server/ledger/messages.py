"""Messages of accounts, entries, deposits and trial balances."""

from thirdparty_server.ledger.model import Account, AccountKind, Deposit, Entry, TrialBalance
from tillmesh.api.payment.v1 import account_pb2, deposit_pb2
from tillmesh.api.type.v1 import money_pb2
from tillmesh.auth.callers import shown_actor
from tillmesh.rpc.messages import to_money, to_timestamp
from tillmesh.runtime.money import Money
from tillmesh.storage.seal import Seal


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
        sum=_total(currency, sum(by_kind.values())),
        wallets=_total(currency, by_kind[AccountKind.WALLET]),
        stores=_total(currency, stores_minor),
        external=_total(currency, by_kind[AccountKind.EXTERNAL]),
        held=_total(currency, balance.held_minor),
        differing_account_ids=balance.differing_account_ids,
        through_time=to_timestamp(balance.through_at_ms),
        balances_verified_time=to_timestamp(balance.verified_at_ms) if balance.verified_at_ms else None,
    )


def _total(currency: str, minor: int) -> money_pb2.Money:
    """A total; broken books may come to more than a message holds, and then the nearest is shown."""
    return to_money(Money(currency, max(-(2**63), min(minor, 2**63 - 1))))
