"""What a call of the ledger reads does not grow with the transfers and accounts that there are."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.sql import ClauseElement

from tests.payments.books import NOW_MS, Books
from thirdparty_server.ledger import accounts, comparison, entries, sums
from thirdparty_server.ledger.trial_balances import trial_balances
from tillmesh.runtime.money import Money
from tillmesh.storage.sqlite import SqliteDatabase
from tillmesh.storage.statements import NO_VALUES, Result, Transaction, Values

SERIES = {
    "?": "(WITH RECURSIVE s(n) AS (SELECT ? UNION ALL SELECT n + 1 FROM s WHERE n < ?) SELECT n FROM s) AS s",
    "%s": "generate_series(?::bigint, ?) AS s(n)",
}
WALLETS = "INSERT INTO accounts SELECT 'wallet/w-' || n || '/GBP', 'WALLET', 'GBP', 0, {each}, 0 FROM {series}"
DEPOSITS = (
    "INSERT INTO transfers (phase, debit_account_id, credit_account_id, currency, amount_minor, purpose, reference,"
    " actor, at_ms) SELECT 'SINGLE', 'external/GBP', 'wallet/w-' || (n / {each}) || '/GBP', 'GBP', 1, 'DEPOSIT',"
    " 'raw-' || n, '', 0 FROM {series}"
)
EACH = 10
"""Transfers of a wallet."""
CALLS: dict[str, Callable[[Transaction], Any]] = {
    "ListTrialBalances": partial(trial_balances, after=None, at_most=4),
    "ListAccountEntries": partial(entries.list_entries, account_id="external/GBP", after=(700, 700), at_most=4),
    "ListAccounts": partial(accounts.list_accounts, after=("wallet/w-5/GBP",), at_most=4),
    "GetAccount": partial(accounts.find_account, account_id="external/GBP"),
    "a deposit": partial(accounts._may_issue, account_id="external/GBP", minor=1),
    "a comparison": partial(comparison.compare, now_ms=NOW_MS + comparison.REST_MS, at_most=4),
    "adding up": partial(sums.add_up, at_most=10),
}


class Measuring(Transaction):
    """Adds up the blocks that PostgreSQL reads for each statement."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction._cursor, transaction._statements)
        self._connection = transaction
        self.read = 0

    def execute(self, statement: ClauseElement, values: Values = NO_VALUES) -> Result:
        compiled = self._statements.compiled(statement, values)
        if not compiled.writes:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {compiled.text}"
            ((plan,),) = (row.values() for row in self.exec_driver_sql(explain, compiled.parameters(values)))
            top = (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]
            self.read += top["Shared Hit Blocks"] + top["Shared Read Blocks"]
        return self._connection.execute(statement, values)


def fill(books: Books, first: int, last: int) -> None:
    """Adds transfers with those numbers, added up, and the wallets that they go to."""
    series = SERIES[books.placeholder]
    books.sql(WALLETS.format(each=EACH, series=series), first // EACH, last // EACH)
    books.sql(DEPOSITS.format(each=EACH, series=series), first, last)
    while books.run(sums.add_up, 10_000):
        pass
    books.sql("ANALYZE")


def cost(books: Books, call: Callable[[Transaction], Any]) -> int:
    """Steps of SQLite's machine, or blocks that PostgreSQL reads."""
    if isinstance(books.database, SqliteDatabase):
        steps = 0

        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        books.run(call)  # compiled, and in memory
        books.database._driver.set_progress_handler(step, 1)
        books.run(call)
        books.database._driver.set_progress_handler(None, 1)
        return steps

    def measured(transaction: Transaction) -> int:
        transaction.command("SET LOCAL enable_seqscan = off")  # cheaper only where there is little
        measuring = Measuring(transaction)
        call(measuring)
        return measuring.read

    return books.run(measured)


def test_no_call_costs_more_where_there_are_many_times_as_many_transfers(books: Books) -> None:
    on_sqlite = isinstance(books.database, SqliteDatabase)
    small, large = (1_000, 100_000) if on_sqlite else (2_000, 20_000)  # which takes PostgreSQL as long
    books.deposit(books.shopper(), Money("GBP", 1))
    costs = []
    for first, last in ((EACH, small + EACH - 1), (small + EACH, large + EACH - 1)):
        fill(books, first, last)
        costs.append({name: cost(books, call) for name, call in CALLS.items()})
    few, many = costs
    # An index of ten times as many rows is a level deeper: of each one more block is read.
    allowed = {name: 1.1 * few[name] if on_sqlite else 2 * few[name] + 12 for name in CALLS}
    assert not [name for name in CALLS if many[name] > allowed[name]], f"{few}, {many}"
