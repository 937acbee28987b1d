"""The totals of each currency, from what is added up and compared already: at the same cost however much there is."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import select

from thirdparty_server.ledger import sums
from thirdparty_server.ledger.model import AccountKind, LedgerProgress, TrialBalance, currency_and_kind
from thirdparty_server.ledger.tables import differing_accounts
from tillmesh.storage.lists import After
from tillmesh.storage.statements import Row, Transaction

DIFFERING_MAX = 100
"""The largest number of differing accounts that are named."""
_DIFFERING = select(differing_accounts).order_by(differing_accounts.c.account_id)


def trial_balances(transaction: Transaction, after: After, at_most: int) -> list[TrialBalance]:
    """The next currencies: their sums, the next transfers if there are any, and what kept balances differ by."""
    progress = sums.PROGRESS.find(transaction, 1) or LedgerProgress()
    posted, held = sums.currency_totals(transaction)
    following = sums.transfers_after(transaction, progress, sums.TRANSFERS_A_STEP)
    posted_since, held_since = sums.effects(following)
    posted.update(sums.of_currencies(posted_since))
    held.update(sums.of_currencies(held_since))
    differing = transaction.execute(_DIFFERING).all()
    posted.update(sums.of_currencies(Counter({row["account_id"]: row["posted_minor"] for row in differing})))
    held.update(sums.of_currencies(Counter({row["account_id"]: row["held_minor"] for row in differing})))
    through_at_ms = following[-1]["at_ms"] if following else progress.through_at_ms
    currencies = sorted({currency for currency, _ in {*posted, *held} if not after or currency > after[0]})[:at_most]
    return [
        TrialBalance(
            currency,
            minor_by_kind={kind: posted[currency, kind] for kind in AccountKind},
            held_minor=sum(held[currency, kind] for kind in AccountKind),
            differing_account_ids=_of_currency(currency, differing)[:DIFFERING_MAX],
            through_at_ms=through_at_ms,
            verified_at_ms=progress.verified_at_ms,
        )
        for currency in currencies
    ]


def _of_currency(currency: str, accounts: Sequence[Row]) -> list[str]:
    """Ids of the accounts of a currency."""
    return [row["account_id"] for row in accounts if currency_and_kind(row["account_id"])[0] == currency]
