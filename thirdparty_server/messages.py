"""What the servicers share: records on the wire, and fields off it that need more than a look."""

import re

from thirdparty_server.lifecycle import PaymentState
from thirdparty_server.model import (
    Account,
    AccountKind,
    Device,
    Entry,
    HistoryEntry,
    Identity,
    Payment,
    Refund,
    TrialBalance,
    wallet,
)
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.runtime.callers import Role, acting_role
from tillmesh.runtime.convert import to_money, to_timestamp
from tillmesh.runtime.fields import Fields
from tillmesh.runtime.money import Money
from tillmesh.runtime.secret import Secret

_PIN = re.compile(r"[0-9]{4,12}")
INSTANT_COUNT_MAX = 10_000


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
    may_scan = acting_role() in (None, Role.TILL)
    fields.require(may_scan or not text, "pay_code", "is for store terminals alone")
    return Secret(text.encode()) if text else None


def to_payment(payment: Payment) -> payments_api.Payment:
    """A payment, as far as the caller may see it: no store learns who paid by pay code."""
    message = payments_api.Payment(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        order_version=payment.order_version,
        payer_id=payment.payer_id,
        store_id=payment.store_id,
        amount=to_money(payment.amount),
        state=payments_api.Payment.State.Value(f"STATE_{payment.state}"),
        reason=payment.reason,
        epoch=payment.epoch,
        refunded=to_money(Money(payment.amount.currency, payment.refunded_minor)),
        create_time=to_timestamp(payment.created_at_ms),
        update_time=to_timestamp(payment.updated_at_ms),
        identity_id="" if acting_role() is Role.TILL else payment.identity_id or "",
        payer_display_name=payment.payer_display_name,
    )
    if payment.state is PaymentState.AWAITING_PAYER:
        message.confirm_deadline.CopyFrom(to_timestamp(payment.confirm_deadline_ms))
    return message


def to_event(entry: HistoryEntry) -> payments_api.PaymentEvent:
    """A change of a payment."""
    return payments_api.PaymentEvent(
        payment_id=entry.payment_id,
        number=entry.number,
        event=entry.event,
        from_state=payments_api.Payment.State.Value(f"STATE_{entry.from_state or 'UNSPECIFIED'}"),
        to_state=payments_api.Payment.State.Value(f"STATE_{entry.to_state}"),
        epoch=entry.epoch,
        reason=entry.reason,
        refund_id=entry.refund_id,
        amount=to_money(entry.amount),
        trace_id=entry.trace_id,
        event_time=to_timestamp(entry.at_ms),
    )


def to_refund(refund: Refund) -> refunds_api.Refund:
    """A refund."""
    return refunds_api.Refund(
        refund_id=refund.refund_id,
        payment_id=refund.payment_id,
        store_id=refund.store_id,
        payer_id=refund.payer_id,
        amount=to_money(refund.amount),
        note=refund.note,
        create_time=to_timestamp(refund.created_at_ms),
    )


def instant_limit(
    fields: Fields, request: identities_api.CreateIdentityRequest | identities_api.UpdateIdentityRequest
) -> Money | None:
    """The largest payment without a yes; None for any."""
    if not request.HasField("instant_limit"):
        return None
    return fields.money("instant_limit", request.instant_limit, minimum=0)


def instant_count_max(
    fields: Fields, request: identities_api.CreateIdentityRequest | identities_api.UpdateIdentityRequest
) -> int | None:
    """The largest number of payments a day without a yes; None for any."""
    if not request.HasField("instant_count_max"):
        return None
    count = request.instant_count_max
    ok = 0 <= count <= INSTANT_COUNT_MAX
    fields.require(ok, "instant_count_max", f"must be 0 to {INSTANT_COUNT_MAX}, was {count}")
    return count


def to_identity(identity: Identity) -> identities_api.Identity:
    """An identity."""
    message = identities_api.Identity(
        identity_id=identity.identity_id,
        display_name=identity.display_name,
        account_id=wallet(identity.identity_id, identity.currency).account_id,
        create_time=to_timestamp(identity.created_at_ms),
    )
    if identity.instant_limit_minor is not None:
        message.instant_limit.CopyFrom(to_money(Money(identity.currency, identity.instant_limit_minor)))
    if identity.instant_count_max is not None:
        message.instant_count_max = identity.instant_count_max
    return message


def to_key(device: Device) -> identities_api.PayCodeKey:
    """What names a device in its pay codes, without its key: answers are kept, and the key is kept nowhere."""
    return identities_api.PayCodeKey(handle=device.handle)


def to_device(device: Device) -> identities_api.PayerDevice:
    """A payer's terminal, without its key."""
    return identities_api.PayerDevice(
        identity_id=device.identity_id,
        device_id=device.device_id,
        device_uri=device.device_uri,
        create_time=to_timestamp(device.created_at_ms),
    )


def to_account(account: Account) -> accounts_api.Account:
    """An account."""
    message = accounts_api.Account(
        account_id=account.account_id,
        kind=accounts_api.Account.Kind.Value(f"KIND_{account.kind}"),
        posted=to_money(Money(account.currency, account.posted_minor)),
        held=to_money(Money(account.currency, account.held_minor)),
    )
    if account.credit_limit_minor is not None:
        message.credit_limit.CopyFrom(to_money(Money(account.currency, account.credit_limit_minor)))
    return message


def to_entry(entry: Entry) -> accounts_api.AccountEntry:
    """A line of a statement."""
    return accounts_api.AccountEntry(
        transfer_id=entry.transfer_id,
        phase=accounts_api.AccountEntry.Phase.Value(f"PHASE_{entry.phase}"),
        purpose=entry.purpose,
        reference=entry.reference,
        counterparty_account_id=entry.counterparty_account_id,
        amount=to_money(entry.amount),
        entry_time=to_timestamp(entry.at_ms),
    )


def to_trial_balance(balance: TrialBalance) -> accounts_api.TrialBalance:
    """What a currency adds up to."""
    by_kind = balance.minor_by_kind
    return accounts_api.TrialBalance(
        currency_code=balance.currency,
        sum_minor=sum(by_kind.values()),
        wallets_minor=by_kind[AccountKind.WALLET],
        stores_minor=by_kind[AccountKind.STORE_SALES] + by_kind[AccountKind.STORE_RETURNS],
        external_minor=by_kind[AccountKind.EXTERNAL],
        held_minor=balance.held_minor,
        differing_account_ids=balance.differing_account_ids,
    )
