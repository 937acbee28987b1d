"""Verdicts for a till's operator: a pure function of the checkout, when its order was last read, and the time."""

from dataclasses import dataclass
from enum import StrEnum

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Attempt, Checkout

ORDER_LOCKED = "ORDER_LOCKED"
PAID_BY_ANOTHER_PAYMENT = "PAID_BY_ANOTHER_PAYMENT"
VOID_ASKED = "VOID_ASKED"
REFUNDED = "REFUNDED"


class Verdict(StrEnum):
    """The words that checkout.proto explains; only HAND_OVER_GOODS and CLOSED are final."""

    NOT_TRIED = "NOT_TRIED"
    WAIT = "WAIT"
    ASK_PAYER = "ASK_PAYER"
    HAND_OVER_GOODS = "HAND_OVER_GOODS"
    SAFE_TO_RETRY = "SAFE_TO_RETRY"
    DO_NOT_RETRY = "DO_NOT_RETRY"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True)
class Told:
    """A verdict with what belongs to it."""

    verdict: Verdict
    reason: str
    remaining_ms: int | None
    """Within what time another verdict is expected; None where nobody knows."""
    age_ms: int
    """The time since the order service last confirmed it."""


def verdict(checkout: Checkout, read_at_ms: int, now_ms: int) -> Told:
    """The verdict is the order's (rule 11): it follows from the state, which only the order's word changes.

    `read_at_ms` is when the order was last read and said nothing new, 0 if that is not known.
    """
    attempt = checkout.attempt
    match checkout.state:
        case CheckoutState.PAID:
            return Told(Verdict.HAND_OVER_GOODS, _why_paid(checkout), None, 0)
        case CheckoutState.CANCELED:
            return Told(Verdict.CLOSED, "", None, 0)
        case CheckoutState.BASKET:
            return Told(Verdict.WAIT if checkout.busy_with else Verdict.NOT_TRIED, "", None, 0)
    age_ms = max(0, now_ms - max(checkout.confirmed_at_ms, read_at_ms))
    if checkout.state is CheckoutState.PAYING and attempt:
        return _while_paying(attempt, bool(checkout.locked_by), now_ms, age_ms)
    if checkout.busy_with:  # it may be canceled, changed or completed already
        return Told(Verdict.WAIT, "", None, age_ms)
    if checkout.locked_by:
        return Told(Verdict.WAIT, ORDER_LOCKED, max(0, checkout.locked_until_ms - now_ms), age_ms)
    if attempt:
        return Told(Verdict.SAFE_TO_RETRY, attempt.reason, None, age_ms)
    return Told(Verdict.NOT_TRIED, "", None, age_ms)


def _why_paid(checkout: Checkout) -> str:
    """What an operator has to know of a paid checkout before anything is handed over."""
    if checkout.void_id:
        return VOID_ASKED
    if 0 < checkout.amount.minor == checkout.refunded_minor:
        return REFUNDED
    own = checkout.attempt.payment_id if checkout.attempt else ""
    return PAID_BY_ANOTHER_PAYMENT if checkout.paid_by not in ("", own) else ""


def _while_paying(attempt: Attempt, locked_by_another: bool, now_ms: int, age_ms: int) -> Told:
    if attempt.cancel_unanswered and now_ms >= attempt.deadline_at_ms:
        return Told(Verdict.DO_NOT_RETRY, "", None, age_ms)
    if attempt.payer_until_ms and not attempt.canceling:
        return Told(Verdict.ASK_PAYER, "", max(0, attempt.payer_until_ms - now_ms), age_ms)
    reason = ORDER_LOCKED if locked_by_another else ""
    return Told(Verdict.WAIT, reason, max(0, attempt.deadline_at_ms - now_ms), age_ms)
