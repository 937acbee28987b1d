"""Whatever is booked in whatever order, the money is conserved."""

import tempfile
from dataclasses import dataclass

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.payments.books import NOW_MS, Books
from thirdparty_server.errors import Reason
from thirdparty_server.ledger.model import AccountKind
from thirdparty_server.payments.lifecycle import PaymentState
from thirdparty_server.payments.refunds import operations as refund_operations
from thirdparty_server.stores import operations as store_operations
from thirdparty_server.stores.model import Store, StoreState
from thirdparty_server.updates import Update
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.money import Money

CURRENCIES = ("JPY", "GBP", "BHD")
FIRST_LIMIT = 150
amounts = st.integers(min_value=1, max_value=120)


@dataclass
class Expected:
    """What the books should say of one currency, kept by the simplest means."""

    deposited: int = 0
    captured: int = 0
    refunded: int = 0
    returned: int = 0
    return_limit: int = FIRST_LIMIT
    version: int = 1


@dataclass
class Wallet:
    currency: str
    posted: int = 0
    held: int = 0


@dataclass
class Paid:
    payer_id: str
    amount: int
    state: PaymentState
    refunded: int = 0


def shop(currency: str) -> str:
    """A store has one currency."""
    return f"shop-{currency}"


class MoneyIsConserved(RuleBasedStateMachine):
    """Deposits, holds, posts, voids, refunds and returns in three currencies, in any order."""

    wallets = Bundle("wallets")
    payments = Bundle("payments")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.books = Books.open(f"sqlite:///{self._folder.name}/payments.db")
        self.expected = {currency: Expected() for currency in CURRENCIES}
        self.model: dict[str, Wallet] = {}
        self.paid: dict[str, Paid] = {}

    def teardown(self) -> None:
        self.books.close()
        self._folder.cleanup()

    @initialize(target=wallets)
    def two_shoppers_a_currency(self) -> object:
        for currency in CURRENCIES:
            limit = Money(currency, FIRST_LIMIT)
            store = Store(
                shop(currency), currency, "Shop", (), "", "UTC", limit, StoreState.ACTIVE, created_at_ms=NOW_MS
            )
            self.books.run(store_operations.create_store, store)
        for currency in CURRENCIES * 2:
            self.model[self.books.shopper(0, currency)] = Wallet(currency)
        return multiple(*self.model)

    @rule(payer_id=wallets, amount=amounts)
    def deposit(self, payer_id: str, amount: int) -> None:
        wallet = self.model[payer_id]
        self.books.deposit(payer_id, Money(wallet.currency, amount))
        wallet.posted += amount
        self.expected[wallet.currency].deposited += amount

    @rule(payer_id=wallets, currency=st.sampled_from(CURRENCIES), amount=amounts)
    def deposit_in_some_currency(self, payer_id: str, currency: str, amount: int) -> None:
        if currency != self.model[payer_id].currency:
            with pytest.raises(Refusal, match=Reason.WALLET_NOT_FOUND.name):
                self.books.deposit(payer_id, Money(currency, amount))

    @rule(target=payments, payer_id=wallets, amount=amounts)
    def hold(self, payer_id: str, amount: int) -> str:
        wallet = self.model[payer_id]
        payment = self.books.create(payer_id, Money(wallet.currency, amount))
        payment = self.books.lock(payment.payment_id)
        enough = wallet.posted - wallet.held >= amount
        assert payment.state is (PaymentState.AUTHORIZED if enough else PaymentState.VOIDING)
        wallet.held += amount if enough else 0
        self.paid[payment.payment_id] = Paid(payer_id, amount, payment.state)
        return payment.payment_id

    @rule(payment_id=payments)
    def post(self, payment_id: str) -> None:
        paid = self.paid[payment_id]
        self.books.capture(payment_id)
        if paid.state is PaymentState.AUTHORIZED:
            wallet = self.model[paid.payer_id]
            wallet.posted -= paid.amount
            wallet.held -= paid.amount
            self.expected[wallet.currency].captured += paid.amount
            paid.state = PaymentState.CAPTURED

    @rule(payment_id=payments)
    def void(self, payment_id: str) -> None:
        paid = self.paid[payment_id]
        self.books.release(payment_id)
        if paid.state is PaymentState.AUTHORIZED:
            self.model[paid.payer_id].held -= paid.amount
        if paid.state is not PaymentState.CAPTURED:
            paid.state = PaymentState.VOIDED

    @rule(payment_id=payments, amount=amounts)
    def refund(self, payment_id: str, amount: int) -> None:
        paid = self.paid[payment_id]
        wallet = self.model[paid.payer_id]
        money = Money(wallet.currency, amount)
        if paid.state is PaymentState.CAPTURED and paid.refunded + amount <= paid.amount:
            self.books.refund(payment_id, money)
            paid.refunded += amount
            wallet.posted += amount
            self.expected[wallet.currency].refunded += amount
        else:
            with pytest.raises(Refusal):
                self.books.refund(payment_id, money)

    @rule(payer_id=wallets, amount=amounts)
    def take_goods_back(self, payer_id: str, amount: int) -> None:
        wallet = self.model[payer_id]
        expected = self.expected[wallet.currency]
        new, store_id, money = self.books.new_refund(), shop(wallet.currency), Money(wallet.currency, amount)

        def give_back() -> None:
            self.books.run(refund_operations.create_unreferenced_refund, new, store_id, payer_id, money)

        if expected.returned + amount <= expected.return_limit:
            give_back()
            expected.returned += amount
            wallet.posted += amount
        else:
            with pytest.raises(Refusal, match=Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED.name):
                give_back()

    @rule(currency=st.sampled_from(CURRENCIES), limit=st.integers(min_value=0, max_value=300))
    def set_return_limit(self, currency: str, limit: int) -> None:
        expected = self.expected[currency]

        def set_limit() -> None:
            update = Update(expected.version, {"unreferenced_refund_limit": Money(currency, limit)})
            self.books.run(store_operations.update_store, shop(currency), update)
            expected.version += 1

        if limit >= expected.returned:
            set_limit()
            expected.return_limit = limit
        else:
            with pytest.raises(Refusal, match=Reason.LIMIT_IN_USE.name):
                set_limit()

    @rule()
    def keep_up(self) -> None:
        self.books.upkeep()
        assert self.books.findings() == []

    @invariant()
    def every_currency_adds_up_to_zero_and_to_what_was_booked(self) -> None:
        for balance in self.books.trial_balances():
            expected = self.expected[balance.currency]
            assert sum(balance.minor_by_kind.values()) == 0
            assert balance.differing_account_ids == []
            assert balance.minor_by_kind == {
                AccountKind.WALLET: self._sum(balance.currency, "posted"),
                AccountKind.STORE_SALES: expected.captured - expected.refunded,
                AccountKind.STORE_RETURNS: -expected.returned,
                AccountKind.EXTERNAL: -expected.deposited,
            }
            assert balance.held_minor == self._sum(balance.currency, "held")

    @invariant()
    def every_wallet_has_what_is_kept_and_never_less_than_nothing(self) -> None:
        for payer_id, wallet in self.model.items():
            posted, held = self.books.balance(f"wallet/{payer_id}/{wallet.currency}")
            assert (posted, held) == (wallet.posted, wallet.held)
            assert posted - held >= 0

    @invariant()
    def no_payment_is_refunded_beyond_its_amount(self) -> None:
        for payment_id, paid in self.paid.items():
            payment = self.books.payment(payment_id)
            assert (payment.state, payment.refunded_minor) == (paid.state, paid.refunded)
            assert payment.refunded_minor <= payment.amount.minor

    def _sum(self, currency: str, balance: str) -> int:
        return sum(getattr(wallet, balance) for wallet in self.model.values() if wallet.currency == currency)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("examples", [6, pytest.param(60, marks=pytest.mark.chaos)])
def test_money_is_conserved_whatever_happens(examples: int) -> None:
    # Without shrinking: on a real file that takes longer than reading thirty steps does.
    rules = settings(max_examples=examples, stateful_step_count=30, phases=[Phase.generate])
    run_state_machine_as_test(MoneyIsConserved, settings=rules)
