"""Finds the payer of a payment. Each function runs within one transaction."""

from thirdparty_server.errors import PAY_CODE_REQUIRED, Reason
from thirdparty_server.payers import queries as payer_queries
from thirdparty_server.payers.operations import get_identity
from thirdparty_server.payers.pay_codes import ShownCode, redeem
from thirdparty_server.payments import queries
from thirdparty_server.payments.model import GUESSES_MS, REFERENCE_MS, FoundPayer
from tillmesh.auth.callers import Role, acting_payer, acting_role, acting_store, require_payer
from tillmesh.payer import Payer
from tillmesh.runtime.errors import CommonReason
from tillmesh.storage.statements import Transaction


def find_payer(
    transaction: Transaction, *, payer: Payer, order_id: str, shown: ShownCode | None, now_ms: int
) -> FoundPayer:
    """Finds the identity that pays an order under that payer, by the pay code if one was shown."""
    if shown:
        return _find_by_code(transaction, payer, shown, now_ms)
    if payer.identity_id is None:
        return _find_by_earlier_code(transaction, payer.value, order_id, now_ms)
    require_payer(payer.identity_id)
    return FoundPayer(payer_queries.find_identity(transaction, payer.identity_id))


def require_guesses_left(transaction: Transaction, payer: Payer, per_hour: int, now_ms: int) -> None:
    """Refuses that a store terminal names an identity without a code, if its store named too many that cannot pay."""
    if acting_role() is not Role.TERMINAL or payer.identity_id is None:
        return
    store_id = acting_store() or ""
    guessed_at_ms = queries.guess_of_rank(transaction, store_id, per_hour, now_ms - GUESSES_MS)
    if guessed_at_ms is not None:
        free_in_ms = min(guessed_at_ms + GUESSES_MS - now_ms, GUESSES_MS)
        raise Reason.IDENTITY_GUESSES_EXHAUSTED(store_id=store_id, retry_after_ms=free_in_ms)


def _find_by_code(transaction: Transaction, payer: Payer, shown: ShownCode, now_ms: int) -> FoundPayer:
    """Finds the identity of a pay code; under an identity, only its own code is good."""
    phone = redeem(transaction, shown, now_ms, only_for=payer.identity_id)
    if isinstance(phone, str):
        return FoundPayer(None, reason=phone)
    return FoundPayer(get_identity(transaction, phone.identity_id), by_code=True)


def _find_by_earlier_code(transaction: Transaction, reference: str, order_id: str, now_ms: int) -> FoundPayer:
    """The payer of the order's latest payment whose code counted: a code is a yes to one payment, so they must confirm.

    A till finds only who showed a code in its own store, and a phone only its own payer.
    """
    identity_id = queries.latest_payer_by_code(
        transaction,
        order_id=order_id,
        reference=reference,
        store_id=acting_store(),
        since_ms=now_ms - REFERENCE_MS,
    )
    if acting_role() is Role.PHONE and identity_id != acting_payer():
        raise CommonReason.PAYER_DENIED(identity_id=acting_payer())
    if identity_id is None:
        return FoundPayer(None, reason=PAY_CODE_REQUIRED)
    return FoundPayer(get_identity(transaction, identity_id), must_confirm=True)
