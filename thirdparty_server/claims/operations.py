"""Presentations and claims: each function is one transaction, or a part of one.

What the order service says of an order is read before, in no transaction. It may have changed since: a claim gives
sight and the right to pay, and it is the order's lock that decides.
"""

from thirdparty_server.claims import queries
from thirdparty_server.claims.model import CLAIMS_MAX, OrderFacts, OrderPresentation
from thirdparty_server.errors import Reason
from tillmesh.auth.callers import acting_store
from tillmesh.claim_code import ClaimCode
from tillmesh.runtime.errors import found
from tillmesh.storage.requests import IdempotencyKey, find_resource
from tillmesh.storage.statements import Transaction


def find_presented(transaction: Transaction, key: IdempotencyKey) -> tuple[bool, OrderPresentation | None]:
    """True if the request was answered before, and what is presented of its order now."""
    order_id = find_resource(transaction, key)
    return order_id is not None, None if order_id is None else get_presentation(transaction, order_id)


def get_presentation(transaction: Transaction, order_id: str) -> OrderPresentation | None:
    """What is presented of an order; None if it is over and forgotten."""
    return queries.PRESENTATIONS.find(transaction, order_id)


def present_order(
    transaction: Transaction, new: OrderPresentation, order: OrderFacts | None, now_ms: int
) -> OrderPresentation:
    """Presents an order of the acting store. What the same codes showed there before ends, claims as well."""
    if order is None or acting_store() not in (None, order.store_id):
        raise Reason.ORDER_NOT_FOUND(order_id=new.order_id)
    _require_pending(order)
    if not order.reference:
        raise Reason.PAYER_NAMED(order_id=new.order_id)
    queries.replace_shown(transaction, new)
    queries.delete_over(transaction, now_ms)
    return new


def find_claimable(
    transaction: Transaction, key: IdempotencyKey, code: ClaimCode, identity_id: str, now_ms: int
) -> OrderPresentation:
    """What a phone claims: what its code shows now, or, if the request was answered before, what it has claimed."""
    order_id = find_resource(transaction, key)
    if order_id is not None:
        return get_claim(transaction, order_id, identity_id, now_ms)
    shown = queries.find_shown(transaction, code, now_ms)
    return _lasting(transaction, found(shown, Reason.CLAIM_CODE_NOT_FOUND), now_ms)


def claim_order(
    transaction: Transaction, seen: OrderPresentation, order: OrderFacts | None, identity_id: str, now_ms: int
) -> OrderPresentation:
    """Claims what was seen, if it is still presented and nobody else has it; a payer's second claim begins anew."""
    if order is None or not seen.is_of(order):
        raise Reason.CLAIM_CODE_NOT_FOUND()
    _require_pending(order)
    shown = queries.PRESENTATIONS.find(transaction, seen.order_id)
    if shown is None or shown.code_hash != seen.code_hash or not shown.is_presented(now_ms):
        raise Reason.CLAIM_CODE_NOT_FOUND()
    if shown.is_claimed(now_ms) and shown.claimed_by != identity_id:
        raise Reason.ORDER_CLAIMED()
    place = shown.claim_place if shown.is_claimed(now_ms) else None
    claimed = shown.claimed(identity_id, place or _free_place(transaction, identity_id, now_ms), now_ms)
    queries.PRESENTATIONS.change(transaction, shown, claimed)
    return claimed


def get_claim(transaction: Transaction, order_id: str, identity_id: str, now_ms: int) -> OrderPresentation:
    """The identity's claim of an order."""
    known = queries.PRESENTATIONS.find(transaction, order_id)
    own = known if known and known.is_claimed_by(identity_id, now_ms) else None
    return _lasting(transaction, found(own, Reason.CLAIM_NOT_FOUND, order_id=order_id), now_ms)


def release_claim(transaction: Transaction, order_id: str, identity_id: str, now_ms: int) -> None:
    """Gives a claim up; the order stays presented."""
    claim = get_claim(transaction, order_id, identity_id, now_ms)
    queries.PRESENTATIONS.change(transaction, claim, claim.unclaimed())


def claimed_reference(transaction: Transaction, order_id: str, identity_id: str, now_ms: int) -> str | None:
    """The payer that an order names, if the identity has claimed it."""
    known = queries.PRESENTATIONS.find(transaction, order_id)
    return known.reference if known and known.is_claimed_by(identity_id, now_ms) else None


def _require_pending(order: OrderFacts) -> None:
    if not order.is_pending:
        raise Reason.ORDER_NOT_PENDING(order_id=order.order_id, state=order.state)


def _lasting(transaction: Transaction, known: OrderPresentation, now_ms: int) -> OrderPresentation:
    lasting = known.lasting(now_ms)
    if lasting != known:
        queries.PRESENTATIONS.change(transaction, known, lasting)
    return lasting


def _free_place(transaction: Transaction, identity_id: str, now_ms: int) -> int:
    """A place that no claim of the identity takes. Two claims at once may find the same, and then one tries again."""
    free = set(range(1, CLAIMS_MAX + 1)) - queries.taken_places(transaction, identity_id, now_ms)
    if not free:
        raise Reason.CLAIMS_EXHAUSTED(most=CLAIMS_MAX)
    return min(free)
