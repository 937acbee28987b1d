"""Ways in which such a protocol goes wrong: each must be caught, or the simulator is blind to it.

A mutant exists only while a test applies it, as a patched function. None is in shipped code.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from tests.simulation import broken_claims, broken_orders, broken_payments, broken_rest, broken_sales, broken_streams

Patch = tuple[Any, str, Any]


@dataclass(frozen=True)
class Mutant:
    """One way to break the protocol."""

    what: str
    patches: Callable[[], list[Patch]]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The protocol is broken within this context."""
        with ExitStack() as stack:
            for target, name, replacement in self.patches():
                stack.enter_context(patch.object(target, name, replacement))
            yield


MUTANTS = {
    "rule-1": Mutant("the order takes any payment that completes while it is locked", broken_orders.no_fencing),
    "rule-2": Mutant("the order forgets the payments that it released or refused", broken_orders.forgets_payment_ids),
    "rule-3": Mutant(
        "the cancellation of an unknown payment is not remembered", broken_orders.cancel_of_unknown_is_not_kept
    ),
    "rule-4": Mutant("consent is to the amount alone", broken_orders.consent_to_the_amount_alone),
    "rule-5": Mutant(
        "a time-out of `CompleteOrderPayment` is taken as a no",
        broken_payments.taken_as_a_no(broken_payments.is_silence),
    ),
    "rule-6": Mutant(
        "completion reads the clock and says no without a release", broken_orders.completion_reads_the_clock
    ),
    "rule-7": Mutant("a hold has a time-out of its own", broken_payments.hold_times_out),
    "rule-8": Mutant(
        "an attempt is final before the order has acknowledged it", broken_payments.gives_up_without_the_order
    ),
    "rule-9-smaller": Mutant(
        "smaller epochs are not voided before the funds are checked", broken_payments.smaller_epochs_live_on
    ),
    "rule-9-none": Mutant("attempts without an epoch are voided as well", broken_payments.voids_attempts_without_epoch),
    "rule-11": Mutant("a time-out at the till is taken as safe to retry", broken_rest.time_out_is_safe_to_retry),
    "post-early": Mutant(
        "the hold is posted before the order's answer", broken_payments.posts_before_the_order_answers
    ),
    "error-is-no": Mutant(
        "an error reply to `CompleteOrderPayment` is taken as a no",
        broken_payments.taken_as_a_no(broken_payments.is_error_reply),
    ),
    "read-wait-write": Mutant("the commit point reads, waits and writes", broken_orders.reads_waits_writes),
    "request-id": Mutant("request ids are not stored with their effect", broken_rest.request_id_is_stored_later),
    "refusal": Mutant(
        "a refusal is forgotten, and a late copy of its request is done", broken_rest.refusals_are_not_kept
    ),
    "refund-limit": Mutant(
        "the refund limit is checked outside the transaction", broken_payments.refund_limit_is_checked_outside
    ),
    "cancel-paid": Mutant("a cancellation beats PAID", broken_orders.cancel_beats_paid),
    "no-history": Mutant("the end of a lease is not written to the history", broken_orders.history_is_not_written),
    "payer-charged": Mutant("the first code's payer is charged for all codes", broken_payments.first_payer_is_charged),
    "payer-refused": Mutant("after one code, no other payer's counts", broken_payments.first_payer_alone_may_pay),
    "free-version": Mutant("a free order is completed at any version", broken_orders.free_at_any_version),
    "rule-9-late": Mutant(
        "a smaller epoch that comes late holds money", broken_payments.smaller_epoch_that_comes_late_holds
    ),
    "refund-lines": Mutant(
        "refunds of lines are computed without the lock", broken_payments.lines_come_back_without_the_lock
    ),
    "void-known": Mutant(
        "an operator ends payments that their order knows", broken_payments.ends_by_hand_what_the_order_knows
    ),
    "void-unheld": Mutant(
        "an operator's question pays the order of a payment without money",
        broken_payments.completes_what_holds_no_money,
    ),
    "claim": Mutant("a refused request is done when its id is claimed again", broken_rest.answers_forget_refusals),
    "sell-early": Mutant("a sale's payment is sent before its order is there", broken_sales.pays_before_the_order),
    "sell-foreign": Mutant("a sale pays somebody else's order of its number", broken_sales.any_order_will_do),
    "sell-twice": Mutant("a sale that is repeated is written down again", broken_sales.repeats_sell_again),
    "undo-early": Mutant(
        "what is undone is canceled at the till, whatever its order says", broken_sales.void_waits_for_nobody
    ),
    "undo-late": Mutant("a sale that comes after it was undone is made", broken_sales.void_forbids_nothing),
    "told-early": Mutant("an event is sent before its transaction is on disk", broken_streams.tells_before_the_commit),
    "told-never": Mutant(
        "a stream that is woken reads on from what is new, not from where it was", broken_streams.jumps_to_the_news
    ),
    "told-again": Mutant("a cursor is that before the last row of its answer", broken_streams.cursor_lags),
    "undo-paid": Mutant("what is undone and was paid is not given back", broken_sales.void_gives_nothing_back),
    "two-claims": Mutant("two phones win one QR code", broken_claims.two_win_one_code),
    "claim-outlives": Mutant("a claim outlives its order", broken_claims.claim_outlives_its_order),
    "any-claim": Mutant("a phone pays whatever is presented, claimed or not", broken_claims.any_claim_will_do),
}
