"""Payments brought into any state by the operations alone, without an order service."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Engine, NullPool, create_engine

from tests.clocks import ManualClock
from thirdparty_server.ledger import operations as ledger_operations
from thirdparty_server.ledger.model import Deposit, TrialBalance, wallet
from thirdparty_server.ledger.trial_balances import trial_balances
from thirdparty_server.ledger.upkeep import Upkeep
from thirdparty_server.payers import operations as payer_operations
from thirdparty_server.payers import queries as payer_queries
from thirdparty_server.payers.model import Identity, Wallet
from thirdparty_server.payments import operations as payment_operations
from thirdparty_server.payments import queries as payment_queries
from thirdparty_server.payments.lifecycle import PaymentEvent, PaymentState
from thirdparty_server.payments.model import Consent, FoundPayer, Lock, Payment, PaymentHistoryEntry
from thirdparty_server.payments.refunds import operations as refund_operations
from thirdparty_server.payments.refunds.model import NewRefund
from thirdparty_server.tables import METADATA
from tillmesh.cli.audit.databases import see_one_moment
from tillmesh.cli.audit.ledger import ledger_findings
from tillmesh.origin import NOWHERE
from tillmesh.payer import identity as identity_payer
from tillmesh.runtime.driver import Due
from tillmesh.runtime.money import Money
from tillmesh.storage.database import Database, open_database
from tillmesh.storage.statements import Transaction

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

NOW_MS = 1_800_000_000_000
STORE = "store-1"
CONFIRM_UNTIL_MS = NOW_MS + 50_000

# What a database says that refuses a row: the words that both have.
FOREIGN_KEY = "(?i)foreign key constraint"
CHECK = "(?i)check constraint"


def twice(columns: str) -> str:
    """That there is a row with these already."""
    return f"(?is)unique constraint.*{columns}"


def without(column: str) -> str:
    """That a row needs this."""
    return f"(?i)not null.*{column}|{column}.*not-null"


def ids_of(due: Sequence[Due]) -> list[str]:
    """Ids of what is due."""
    return [key for _, key in due]


@dataclass
class Books:
    """The tables in a real file, and each operation as one transaction of its own."""

    database: Database
    reader: Engine
    """The way of who only reads."""
    placeholder: str
    """Of a parameter, in the SQL of the database that is there."""
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    @staticmethod
    def open(database_url: str) -> "Books":
        placeholder = "?" if database_url.startswith("sqlite") else "%s"
        return Books(
            open_database(database_url, METADATA), create_engine(database_url, poolclass=NullPool), placeholder
        )

    def close(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()

    def run(
        self,
        operation: Callable[Concatenate[Transaction, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        async def running() -> Result:
            return await self.database.run(operation, *args, **kwargs)

        return self.runner.run(running())

    def sql(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Runs SQL, with ? for parameters, on the server's own transaction, past all its code."""
        statement = statement.replace("?", self.placeholder)

        def execute(transaction: Transaction) -> list[tuple[object, ...]]:
            return [tuple(row.values()) for row in transaction.exec_driver_sql(statement, parameters)]

        return self.run(execute)

    def new_id(self, kind: str) -> str:
        return f"{kind}-{next(self.numbers)}"

    def shopper(self, funds: int = 0, currency: str = "GBP", threshold: int | None = 10**9) -> str:
        identity_id = self.new_id("payer")
        first = Wallet(
            identity_id=identity_id,
            account=wallet(identity_id, currency),
            confirmation_threshold=None if threshold is None else Money(currency, threshold),
            unconfirmed_payments_per_day_max=None,
            created_at_ms=NOW_MS,
        )
        self.run(payer_operations.create_identity, Identity(identity_id, "Ada", created_at_ms=NOW_MS), first)
        if funds:
            self.deposit(identity_id, Money(currency, funds))
        return identity_id

    def deposit(self, identity_id: str, amount: Money) -> None:
        deposit = Deposit(self.new_id("deposit"), identity_id, amount, "", NOW_MS)
        self.run(ledger_operations.create_deposit, deposit, payer_operations.wallet_account)

    def create(self, payer_id: str, amount: Money, order_id: str = "") -> Payment:
        asked = Payment(
            payment_id=self.new_id("payment"),
            order_id=order_id or self.new_id("order"),
            order_version=1,
            payer=identity_payer(payer_id),
            amount=amount,
            origin=NOWHERE,
            created_at_ms=NOW_MS,
            updated_at_ms=NOW_MS,
        )
        found = FoundPayer(self.run(payer_queries.IDENTITIES.find, payer_id))
        return self.run(payment_operations.create_payment, asked, found)

    def lock(self, payment_id: str, epoch: int = 1) -> Payment:
        return self.run(payment_operations.record_lock, payment_id, Lock(epoch, STORE, CONFIRM_UNTIL_MS), NOW_MS)

    def confirm(self, payment: Payment) -> Payment:
        consent = Consent(payment.payment_id, STORE, payment.amount, NOW_MS)
        return self.run(payment_operations.confirm_payment, consent)

    def cancel(self, payment_id: str) -> Payment:
        return self.run(payment_operations.give_up, payment_id, PaymentEvent.CANCELED, "PAYMENT_CANCELED", NOW_MS)

    def expire(self, payment_id: str) -> Payment:
        return self.run(payment_operations.give_up, payment_id, PaymentEvent.EXPIRED, "PAYER_TIMEOUT", NOW_MS)

    def reject_pin(self, payment_id: str) -> Payment:
        return self.run(payment_operations.reject_pin, payment_id, 4, NOW_MS)

    def capture(self, payment_id: str) -> Payment:
        return self.run(payment_operations.capture, payment_id, NOW_MS)

    def release(self, payment_id: str) -> Payment:
        return self.run(payment_operations.release, payment_id, "LEASE_EXPIRED", NOW_MS)

    def void(self, payment_id: str, *, disowned: bool = True) -> Payment:
        return self.run(payment_operations.void_by_hand, payment_id, disowned, NOW_MS)

    def new_refund(self) -> NewRefund:
        return NewRefund(refund_id=self.new_id("refund"), note="", origin=NOWHERE, actor="", created_at_ms=NOW_MS)

    def refund(self, payment_id: str, amount: Money) -> None:
        self.run(refund_operations.refund_payment, self.new_refund(), payment_id, amount, None)

    def payment(self, payment_id: str) -> Payment:
        return self.run(payment_operations.get_payment, payment_id)

    def history(self, payment_id: str) -> list[PaymentHistoryEntry]:
        return self.run(payment_queries.HISTORY.list, payment_id, None, 200)

    def balance(self, account_id: str) -> tuple[int, int]:
        """Posted and held of an account."""
        account = self.run(ledger_operations.get_account, account_id)
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

    def upkeep(self, now_ms: int = NOW_MS) -> None:
        """What the server does by itself, once."""
        self.runner.run(Upkeep(self.database, ManualClock(now_ms), "").round())

    def trial_balances(self) -> list[TrialBalance]:
        return self.run(trial_balances, None, 200)

    def check(self) -> None:
        """The books balance, whichever way they are added up."""
        for balance in self.trial_balances():
            assert sum(balance.minor_by_kind.values()) == 0, balance
            assert balance.differing_account_ids == [], balance
        assert self.findings() == []

    def findings(self) -> list[str]:
        """What the audit says of the ledger: it adds all transfers up."""
        with self.reader.connect() as connection:
            see_one_moment(connection)
            return list(ledger_findings(connection, lambda _number: None))
