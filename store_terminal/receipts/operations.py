"""What is read to print a receipt, in one transaction."""

from store_terminal.checkouts import moves
from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Checkout
from store_terminal.errors import Reason
from store_terminal.outbox.model import EntryState
from store_terminal.receipts import queries
from store_terminal.receipts.model import Decline, Kind, Sources
from store_terminal.refunds import queries as refund_queries
from store_terminal.refunds.model import TillRefund
from tillmesh.runtime.errors import FieldViolation, invalid
from tillmesh.storage.statements import Transaction


def read_of_checkout(
    transaction: Transaction, checkout_id: str, kind: Kind | None, store_id: str, now_ms: int
) -> Sources:
    """Reads what to print of a checkout; `kind` None takes what fits."""
    checkout, store = moves.get_checkout(transaction, checkout_id), queries.store_record(transaction, store_id)
    decline = None if kind in (Kind.SALE, Kind.BILL) else _decline(transaction, checkout)
    if kind is None:
        kind = _fitting(checkout, decline)
    _require(checkout, kind, decline)
    if kind is Kind.DECLINE:
        return Sources(kind=kind, store=store, checkout=checkout, now_ms=now_ms, decline=decline)
    exchanged = _exchanged(transaction, checkout)
    if kind is Kind.BILL:
        return Sources(kind=kind, store=store, checkout=checkout, now_ms=now_ms, exchanged=exchanged)
    refunds, earlier = refund_queries.refunds_of(transaction, checkout_id)
    return Sources(
        kind=kind,
        store=store,
        checkout=checkout,
        now_ms=now_ms,
        refunds=refunds,
        has_earlier_refunds=earlier,
        exchanged=exchanged,
    )


def read_of_refund(transaction: Transaction, refund_id: str, kind: Kind | None, store_id: str, now_ms: int) -> Sources:
    """Reads what to print of a refund; `kind` None takes what fits."""
    refund = refund_queries.get_refund(transaction, refund_id)
    fits = Kind.REFUND if refund.checkout_id else Kind.RETURN
    if kind not in (None, fits):
        raise invalid([FieldViolation("kind", f"must be {fits} for refund {refund_id}, was {kind}")])
    if refund.state is not EntryState.DONE:
        raise Reason.REFUND_NOT_DONE(refund_id=refund_id, state=refund.state)
    checkout = moves.get_checkout(transaction, refund.checkout_id) if refund.checkout_id else None
    store = queries.store_record(transaction, store_id)
    return Sources(kind=fits, store=store, checkout=checkout, now_ms=now_ms, refunds=[refund])


def _decline(transaction: Transaction, checkout: Checkout) -> Decline | None:
    """The end of the last payment; None where it has not ended, or the checkout is paid."""
    if checkout.attempt is None or checkout.state in (CheckoutState.PAYING, CheckoutState.PAID):
        return None
    return queries.find_decline(transaction, checkout.checkout_id, checkout.attempt.payment_id)


def _exchanged(transaction: Transaction, checkout: Checkout) -> TillRefund | None:
    """The refund that a checkout is an exchange for, once it is done."""
    if not checkout.exchanged_refund_id:
        return None
    refund = refund_queries.get_refund(transaction, checkout.exchanged_refund_id)
    return refund if refund.state is EntryState.DONE else None


def _fitting(checkout: Checkout, decline: Decline | None) -> Kind:
    if checkout.state is CheckoutState.PAID:
        return Kind.SALE
    return Kind.DECLINE if decline else Kind.BILL


def _require(checkout: Checkout, kind: Kind, decline: Decline | None) -> None:
    """Refuses a kind that a checkout has not."""
    checkout_id, state = checkout.checkout_id, checkout.state
    if kind is Kind.SALE and state is not CheckoutState.PAID:
        raise Reason.CHECKOUT_NOT_PAID(checkout_id=checkout_id)
    if kind is Kind.DECLINE and not decline:
        raise Reason.NOT_DECLINED(checkout_id=checkout_id)
    if kind is Kind.BILL and state is CheckoutState.PAID:
        raise Reason.CHECKOUT_PAID(checkout_id=checkout_id)
    if kind is Kind.BILL and state is CheckoutState.CANCELED:
        raise Reason.CHECKOUT_CANCELED(checkout_id=checkout_id)
