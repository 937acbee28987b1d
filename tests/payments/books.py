"""Payments brought into any state by the operations alone, without an order service."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from thirdparty_server.ledger import operations as ledger_operations
from thirdparty_server.ledger.model import TrialBalance
from thirdparty_server.ledger.trial_balances import trial_balances
from thirdparty_server.payers import operations as payer_operations
from thirdparty_server.payers import queries as payer_queries
from thirdparty_server.payers.model import Identity, Wallet
from thirdparty_server.payments import operations as payment_operations
from thirdparty_server.payments import queries as payment_queries
from thirdparty_server.payments.lifecycle import PaymentEvent, PaymentState
from thirdparty_server.payments.model import FoundPayer, HistoryEntry, Lock, Payment, Timing
from thirdparty_server.payments.refunds import operations as refund_operations
from thirdparty_server.payments.refunds.operations import NewRefund
from thirdparty_server.tables import METADATA
from tillmesh.origin import NOWHERE
from tillmesh.payer import identity as identity_payer
from tillmesh.runtime.money import Money
from tillmesh.storage.database import Database, open_database
from tillmesh.storage.statements import Transaction

Result = TypeVar("Result")

NOW_MS = 1_800_000_000_000
STORE = "store-1"
TIMING = Timing(payer_window_ms=90_000, lease_margin_ms=10_000, instant_lease_ms=30_000, lock_patience_ms=30_000)

# What a database says that refuses a row: the words that both have.
FOREIGN_KEY = "(?i)foreign key constraint"
CHECK = "(?i)check constraint"


def twice(columns: str) -> str:
    """That there is a row with these already."""
    return f"(?is)unique constraint.*{columns}"


def without(column: str) -> str:
    """That a row needs this."""
    return f"(?i)not null.*{column}|{column}.*not-null"


@dataclass
class Books:
    """The tables in a real file, and each operation as one transaction of its own."""

    database: Database
    placeholder: str
    """Of a parameter, in the SQL of the database that is there."""
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    @staticmethod
    def open(database_url: str) -> "Books":
        return Books(open_database(database_url, METADATA), "?" if database_url.startswith("sqlite") else "%s")

    def close(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()

    def run(self, operation: Callable[[Transaction], Result]) -> Result:
        return self.runner.run(self.database.run(operation))

    def sql(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Runs SQL, with ? for parameters, on the server's own transaction, past all its code."""
        statement = statement.replace("?", self.placeholder)

        def execute(transaction: Transaction) -> list[tuple[object, ...]]:
            return [tuple(row.values()) for row in transaction.exec_driver_sql(statement, parameters)]

        return self.run(execute)

    def new_id(self, kind: str) -> str:
        return f"{kind}-{next(self.numbers)}"

    def shopper(self, funds: int = 0, currency: str = "GBP", threshold: int | None = 10**9) -> str:
        identity = Identity(self.new_id("payer"), "Ada", 1, NOW_MS)
        first = Wallet(identity.identity_id, currency, threshold, None, 1, NOW_MS)
        self.run(lambda transaction: payer_operations.create_identity(transaction, identity=identity, first=first))
        if funds:
            self.deposit(identity.identity_id, Money(currency, funds))
        return identity.identity_id

    def deposit(self, identity_id: str, amount: Money) -> None:
        deposit_id = self.new_id("deposit")

        def pay_in(transaction: Transaction) -> None:
            credit = payer_operations.wallet_account(transaction, identity_id, amount.currency)
            ledger_operations.create_deposit(
                transaction, deposit_id=deposit_id, credit=credit, amount=amount, now_ms=NOW_MS
            )

        self.run(pay_in)

    def create(self, payer_id: str, amount: Money, order_id: str = "") -> Payment:
        payment_id, order_id = self.new_id("payment"), order_id or self.new_id("order")
        return self.run(
            lambda transaction: payment_operations.create_payment(
                transaction,
                payment_id=payment_id,
                order_id=order_id,
                order_version=1,
                payer=identity_payer(payer_id),
                found=FoundPayer(payer_queries.find_identity(transaction, payer_id)),
                amount=amount,
                origin=NOWHERE,
                now_ms=NOW_MS,
            )
        )

    def lock(self, payment_id: str, epoch: int = 1) -> Payment:
        lock = Lock(epoch, STORE, remaining_ms=60_000)
        return self.run(
            lambda transaction: payment_operations.record_lock(
                transaction, payment_id=payment_id, lock=lock, asked_at_ms=NOW_MS, timing=TIMING, now_ms=NOW_MS
            )
        )

    def confirm(self, payment: Payment) -> Payment:
        return self.run(
            lambda transaction: payment_operations.confirm_payment(
                transaction, payment_id=payment.payment_id, store_id=STORE, amount=payment.amount, now_ms=NOW_MS
            )
        )

    def cancel(self, payment_id: str) -> Payment:
        return self.run(
            lambda transaction: payment_operations.cancel_payment(transaction, payment_id=payment_id, now_ms=NOW_MS)
        )

    def expire(self, payment_id: str) -> Payment:
        return self.run(
            lambda transaction: payment_operations.give_up(
                transaction, payment_id=payment_id, event=PaymentEvent.EXPIRED, reason="PAYER_TIMEOUT", now_ms=NOW_MS
            )
        )

    def capture(self, payment_id: str) -> Payment:
        return self.run(
            lambda transaction: payment_operations.capture(transaction, payment_id=payment_id, now_ms=NOW_MS)
        )

    def release(self, payment_id: str) -> Payment:
        return self.run(
            lambda transaction: payment_operations.release(
                transaction, payment_id=payment_id, reason="LEASE_EXPIRED", now_ms=NOW_MS
            )
        )

    def refund(self, payment_id: str, amount: Money) -> None:
        new = NewRefund(self.new_id("refund"), "", NOWHERE, NOW_MS)
        self.run(
            lambda transaction: refund_operations.refund_payment(
                transaction, new=new, payment_id=payment_id, wanted=amount, paid=None
            )
        )

    def payment(self, payment_id: str) -> Payment:
        return self.run(lambda transaction: payment_operations.get_payment(transaction, payment_id))

    def history(self, payment_id: str) -> list[HistoryEntry]:
        return self.run(lambda transaction: payment_queries.list_history(transaction, payment_id, 0, 200))

    def balance(self, account_id: str) -> tuple[int, int]:
        """Posted and held of an account."""
        account = self.run(lambda transaction: ledger_operations.get_account(transaction, account_id))
        return account.posted_minor, account.held_minor

    def in_state(self, state: PaymentState, *, confirm: bool = False) -> Payment:
        """A payment of 10.00 in that state; once it holds its money, its wallet has nothing left."""
        payer_id = self.shopper(1000, threshold=0 if confirm else 10**9)
        payment = self.create(payer_id, Money("GBP", 1000))
        match state:
            case PaymentState.PENDING:
                return payment
            case PaymentState.VOIDING:
                return self.cancel(payment.payment_id)
            case PaymentState.VOIDED:
                return self.release(payment.payment_id)
        payment = self.lock(payment.payment_id)
        if payment.state is not state and confirm:
            payment = self.confirm(payment)
        return self.capture(payment.payment_id) if state is PaymentState.CAPTURED else payment

    def trial_balances(self) -> list[TrialBalance]:
        return self.run(lambda transaction: trial_balances(transaction, "", 200))

    def check(self) -> None:
        """The books balance, whichever way they are added up."""
        for balance in self.trial_balances():
            assert sum(balance.minor_by_kind.values()) == 0, balance
            assert balance.differing_account_ids == [], balance
