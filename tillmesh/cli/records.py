"""Prints records, for people."""

from collections.abc import Sequence

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import account_pb2, payment_pb2
from tillmesh.api.terminal.v1 import checkout_pb2, till_refund_pb2
from tillmesh.cli.display import (
    VERDICT_WORDS,
    amount,
    date_time,
    payer_name,
    say,
    seconds,
    show_json,
    show_table,
    verdict_name,
)
from tillmesh.client.books import Statement, is_balanced
from tillmesh.runtime.foreign_text import named, quoted
from tillmesh.runtime.money import Money


def show_payments(payments: Sequence[payment_pb2.Payment]) -> None:
    """Prints payment attempts."""
    if show_json(payments):
        return
    rows = [
        (
            payment.payment_id,
            date_time(payment.create_time),
            f"{payment.order_id} v{payment.order_version}",
            payment.identity_id or payer_name(payment.payer),
            amount(payment.amount),
            amount(payment.refunded) if payment.refunded.minor_units else "",
            " ".join((payment_pb2.Payment.State.Name(payment.state).removeprefix("STATE_"), payment.reason)),
        )
        for payment in payments
    ]
    columns = ["payment", "started", "order", "payer", "amount", "refunded", "state"]
    show_table("Payments", columns, rows, right=["amount", "refunded"])


def show_statement(statement: Statement) -> None:
    """Prints the entries with the balance after each, and the account's own."""
    found, entries = statement
    if show_json(entries):
        return
    rows = []
    balance_minor = 0
    for entry in entries:
        moves = entry.phase in (account_pb2.AccountEntry.PHASE_SINGLE, account_pb2.AccountEntry.PHASE_POST)
        balance_minor += entry.amount.minor_units if moves else 0
        phase = account_pb2.AccountEntry.Phase.Name(entry.phase).removeprefix("PHASE_").lower()
        balance = Money(entry.amount.currency_code, balance_minor)
        rows.append(
            (
                date_time(entry.entry_time),
                _purpose(entry) + ("" if phase == "single" else f", {phase}"),
                entry.counterparty_account_id,
                entry.reference,
                amount(entry.amount),
                str(balance) if moves else "",
            )
        )
    columns = ["time", "what", "other account", "reference", "amount", "balance"]
    show_table(f"Statement of {found.account_id}", columns, rows, right=["amount", "balance"])
    say(f"Posted {amount(found.posted)}, on hold {amount(found.held)}.")


def show_balances(balances: list[account_pb2.TrialBalance]) -> None:
    """Prints trial balances."""
    if show_json(balances):
        return
    rows = []
    for balance in balances:
        parts = (balance.wallets, balance.stores, balance.external, balance.sum, balance.held)
        verdict = "balanced" if is_balanced(balance) else " ".join(("BROKEN", *balance.differing_account_ids))
        verified = balance.HasField("balances_verified_time")
        since = date_time(balance.balances_verified_time) if verified else "not yet"
        rows.append((balance.currency_code, *map(amount, parts), verdict, since))
    columns = ["currency", "wallets", "stores", "outside", "sum", "on hold", "books", "compared"]
    show_table("Trial balance", columns, rows, right=["wallets", "stores", "outside", "sum", "on hold"])


def _purpose(entry: account_pb2.AccountEntry) -> str:
    name = account_pb2.AccountEntry.Purpose.Name(entry.purpose)
    return name.removeprefix("PURPOSE_").lower().replace("_", " ")


def order_state(order: order_pb2.Order) -> str:
    """Its state in a word, and how long it stays locked."""
    state = order_pb2.Order.State.Name(order.state).removeprefix("STATE_")
    if order.state != order_pb2.Order.STATE_LOCKED:
        return state
    return f"{state}, {seconds(order.lease_remaining)} s left"


def show_checkout(checkout: checkout_pb2.Checkout) -> None:
    """Prints how a checkout stands, and what the till says."""
    if show_json([checkout]):
        return
    because = f" ({named(checkout.verdict_reason)})" if checkout.verdict_reason else ""
    name = f", {quoted(checkout.payer_display_name)}" if checkout.payer_display_name else ""
    what = f"order {named(checkout.checkout_id)}, {amount(checkout.amount)}{name}"
    say(f"{verdict_name(checkout)}{because}: {what}.")
    say(VERDICT_WORDS[checkout.verdict])
    if checkout.verdict == checkout_pb2.VERDICT_ASK_PAYER:
        say(f"To key in the PIN: tillmesh enter-pin {checkout.checkout_id}")
        say(f"How it ends:       tillmesh explain {checkout.checkout_id}")


def show_refund(refund: till_refund_pb2.TillRefund) -> None:
    """Prints how money that is given back stands."""
    if show_json([refund]):
        return
    state = till_refund_pb2.TillRefund.State.Name(refund.state).removeprefix("STATE_")
    much = f" of {amount(refund.amount)}" if refund.HasField("amount") else ""
    what = f" for {refund.checkout_id}" if refund.checkout_id else ""
    say(f"Refund {refund.refund_id}{much}{what}: {state}.")


def show_payment(payment: payment_pb2.Payment) -> None:
    """Prints what became of a payment."""
    if show_json([payment]):
        return
    state = payment_pb2.Payment.State.Name(payment.state).removeprefix("STATE_")
    because = f" ({named(payment.reason)})" if payment.reason else ""
    say(f"Payment {payment.payment_id} of {amount(payment.amount)} for {payment.order_id}: {state}{because}.")
    if payment.state == payment_pb2.Payment.STATE_AWAITING_PAYER:
        who = named(payment.identity_id or payer_name(payment.payer))
        say(f"It waits for {who}: tillmesh confirm {payment.payment_id}")
