"""Finds the payer of a payment. Each function runs within one transaction."""

from thirdparty_server.claims.operations import claimed_reference
from thirdparty_server.errors import Reason
from thirdparty_server.payers import queries as payer_queries
from thirdparty_server.payers.operations import get_identity
from thirdparty_server.payers.pay_codes import ShownCode, redeem
from thirdparty_server.payments import queries
from thirdparty_server.payments.model import GUESSES_MS, REFERENCE_MS, FoundPayer, Payment
from tillmesh.auth.callers import Role, acting_payer, acting_role, acting_store, require_payer
from tillmesh.payer import Payer
from tillmesh.runtime.errors import CommonReason
from tillmesh.storage.statements import Transaction


def find_payer(transaction: Transaction, asked: Payment, shown: ShownCode | None) -> FoundPayer:
    """Finds the identity that pays an order under its payer, by the pay code if one was shown."""
    payer = asked.payer
    if shown:
        return _find_by_code(transaction, payer, shown, asked.created_at_ms)
    if payer.identity_id is None:
        return _find_by_earlier_code(transaction, asked)
    require_payer(payer.identity_id)
    return FoundPayer(
        payer_queries.IDENTITIES.find(transaction, payer.identity_id),
        claimed_reference=_find_claim(transaction, asked, payer.identity_id),
    )


def require_guesses_left(transaction: Transaction, asked: Payment, per_hour: int) -> None:
    """Refuses that a store terminal names an identity without a code, if its store named too many that cannot pay."""
    if acting_role() is not Role.TERMINAL or asked.payer.identity_id is None:
        return
    store_id, now_ms = acting_store() or "", asked.created_at_ms
    guessed_at_ms = queries.guess_of_rank(transaction, store_id, per_hour, now_ms - GUESSES_MS)
    if guessed_at_ms is not None:
        free_in_ms = min(guessed_at_ms + GUESSES_MS - now_ms, GUESSES_MS)
        raise Reason.IDENTITY_GUESSES_EXHAUSTED(store_id=store_id, retry_after_ms=free_in_ms)


def _find_claim(transaction: Transaction, asked: Payment, identity_id: str) -> str | None:
    """The reference of the order that a payer on the phone has claimed."""
    if acting_role() is not Role.PHONE:
        return None
    return claimed_reference(transaction, asked.order_id, identity_id, asked.created_at_ms)


def _find_by_code(transaction: Transaction, payer: Payer, shown: ShownCode, now_ms: int) -> FoundPayer:
    """Finds the identity of a pay code; under an identity, only its own code is good."""
    phone = redeem(transaction, shown, now_ms, only_for=payer.identity_id)
    if isinstance(phone, str):
        return FoundPayer(None, reason=phone)
    return FoundPayer(get_identity(transaction, phone.identity_id), by_code=True)


def _find_by_earlier_code(transaction: Transaction, asked: Payment) -> FoundPayer:
    """The payer of the order's latest payment whose code counted: a code is a yes to one payment, so they must confirm.

    A till finds only who showed a code in its own store, and a phone only its own payer.
    """
    since_ms = asked.created_at_ms - REFERENCE_MS
    identity_id = queries.latest_payer_by_code(transaction, asked.order_id, asked.payer.value, acting_store(), since_ms)
    if acting_role() is Role.PHONE and identity_id != acting_payer():
        raise CommonReason.PAYER_DENIED(identity_id=acting_payer())
    if identity_id is None:
        return FoundPayer(None, reason=Reason.PAY_CODE_REQUIRED.name)
    return FoundPayer(get_identity(transaction, identity_id), must_confirm=True)
