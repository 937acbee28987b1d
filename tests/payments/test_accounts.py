"""Deposits, statements and the trial balance."""

from collections.abc import AsyncIterator

from sqlalchemy import update

from tests.payments.phones import PLATFORM, acting
from tests.payments.side import STORE, Side, gbp, refused
from thirdparty_server.errors import Reason
from thirdparty_server.ledger.tables import accounts
from thirdparty_server.ledger.upkeep import Upkeep
from tillmesh.api.payment.v1 import account_pb2
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.ids import new_request_id
from tillmesh.storage.statements import Transaction

PURPOSE, PHASE = account_pb2.AccountEntry.Purpose, account_pb2.AccountEntry.Phase


def deposit(identity_id: str, minor: int, currency: str = "GBP") -> accounts_api.CreateDepositRequest:
    return accounts_api.CreateDepositRequest(
        deposit_id=new_request_id(),
        identity_id=identity_id,
        amount=Money(currency_code=currency, minor_units=minor),
    )


async def entries(side: Side, account_id: str, page_size: int = 200) -> AsyncIterator[account_pb2.AccountEntry]:
    """A statement, however many pages it has."""
    request = accounts_api.ListAccountEntriesRequest(account_id=account_id, page_size=page_size)
    while True:
        page = await side.accounts.ListAccountEntries(request)
        assert len(page.entries) <= page_size
        for entry in page.entries:
            yield entry
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def test_a_wallet_s_account_is_there_from_the_start(side: Side) -> None:
    payer_id = await side.shopper()
    account = await side.accounts.GetAccount(accounts_api.GetAccountRequest(account_id=f"wallet/{payer_id}/GBP"))
    assert (account.kind, account.credit_limit) == (account_pb2.Account.KIND_WALLET, gbp(0))
    assert (account.posted, account.held) == (gbp(0), gbp(0))


async def test_a_deposit_sent_twice_is_booked_once(side: Side) -> None:
    payer_id = await side.shopper()
    with acting(PLATFORM):
        first = await side.accounts.CreateDeposit(request := deposit(payer_id, 700))
    assert (first.deposit_id, first.identity_id, first.amount) == (request.deposit_id, payer_id, gbp(700))
    assert (first.actor, first.create_time.ToMilliseconds()) == (PLATFORM.uri, side.clock.now_ms())
    await side.accounts.CreateDeposit(deposit(payer_id, 50))
    side.clock.advance(1000)
    with acting(PLATFORM):
        assert await side.accounts.CreateDeposit(request) == first
        request.amount.minor_units = 701
        with refused(CommonReason.REQUEST_ID_REUSED):
            await side.accounts.CreateDeposit(request)
    assert await side.wallet(payer_id) == (750, 0)
    assert await side.balance("external/GBP") == (-750, 0)


async def test_a_deposit_is_not_converted_and_needs_an_identity(side: Side) -> None:
    payer_id = await side.shopper()
    with refused(Reason.WALLET_NOT_FOUND):
        await side.accounts.CreateDeposit(deposit(payer_id, 700, "JPY"))
    with refused(Reason.IDENTITY_NOT_FOUND):
        await side.accounts.CreateDeposit(deposit("nobody", 700))
    for minor in (0, -1):
        with refused(CommonReason.INVALID_FIELD):
            await side.accounts.CreateDeposit(deposit(payer_id, minor))
    assert await side.wallet(payer_id) == (0, 0)


async def test_a_statement_tells_every_movement_with_its_other_side(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    payment = await side.captured(payer_id, 600)
    refund = await side.refund(payment.payment_id, 100)
    order = await side.order(payer_id, 200)
    payment_id = await side.record(order)
    await side.step(payment_id)
    lines = [
        (
            PHASE.Name(entry.phase),
            PURPOSE.Name(entry.purpose),
            entry.amount.minor_units,
            entry.counterparty_account_id,
        )
        async for entry in entries(side, f"wallet/{payer_id}/GBP")
    ]
    sales = f"sales/{STORE}/GBP"
    assert lines == [
        ("PHASE_SINGLE", "PURPOSE_DEPOSIT", 1000, "external/GBP"),
        ("PHASE_HOLD", "PURPOSE_PAYMENT", -600, sales),
        ("PHASE_POST", "PURPOSE_PAYMENT", -600, sales),
        ("PHASE_SINGLE", "PURPOSE_REFUND", 100, sales),
        ("PHASE_HOLD", "PURPOSE_PAYMENT", -200, sales),
    ]
    references = [entry.reference async for entry in entries(side, f"wallet/{payer_id}/GBP")]
    assert references[1:] == [payment.payment_id, payment.payment_id, refund.refund_id, payment_id]
    assert await side.wallet(payer_id) == (500, 200)


async def test_a_statement_of_many_pages_misses_and_repeats_nothing(side: Side) -> None:
    payer_id = await side.shopper()
    for amount in range(1, 8):
        await side.deposit(payer_id, amount)
    amounts = [entry.amount.minor_units async for entry in entries(side, f"wallet/{payer_id}/GBP", page_size=3)]
    assert amounts == [1, 2, 3, 4, 5, 6, 7]
    outside = [entry.amount.minor_units async for entry in entries(side, "external/GBP", page_size=7)]
    assert outside == [-1, -2, -3, -4, -5, -6, -7]


async def test_nobody_reads_from_a_statement_how_many_transfers_there_are(side: Side) -> None:
    payer_id = await side.shopper(funds=1)
    for number in range(3):
        await side.deposit(payer_id, number + 1)
    own, outside = f"wallet/{payer_id}/GBP", "external/GBP"
    ids = [entry.entry_id async for entry in entries(side, own)]
    assert ids == [entry.entry_id async for entry in entries(side, own)]
    # The same transfers have other names in the statement of their other side.
    others = [entry.entry_id async for entry in entries(side, outside)]
    assert len({*ids, *others}) == 8
    assert not any(entry_id.isdecimal() for entry_id in ids)
    assert {len(entry_id) for entry_id in ids} == {len(ids[0])}


async def test_a_page_token_of_another_account_or_list_is_refused(side: Side) -> None:
    one_id, other_id = await side.shopper(), await side.shopper()
    for _ in range(2):
        await side.deposit(one_id, 1)
    page = await side.accounts.ListAccountEntries(
        accounts_api.ListAccountEntriesRequest(account_id=f"wallet/{one_id}/GBP", page_size=1)
    )
    for account_id, token in ((f"wallet/{other_id}/GBP", page.next_page_token), (f"wallet/{one_id}/GBP", "nonsense")):
        request = accounts_api.ListAccountEntriesRequest(account_id=account_id, page_token=token)
        with refused(CommonReason.INVALID_FIELD):
            await side.accounts.ListAccountEntries(request)
    with refused(CommonReason.INVALID_FIELD):
        await side.accounts.ListAccounts(accounts_api.ListAccountsRequest(page_token=page.next_page_token))


async def test_accounts_are_listed_by_id(side: Side) -> None:
    made = sorted([f"wallet/{await side.shopper()}/GBP" for _ in range(5)])
    request = accounts_api.ListAccountsRequest(page_size=3)
    first = await side.accounts.ListAccounts(request)
    request.page_token = first.next_page_token
    second = await side.accounts.ListAccounts(request)
    assert [account.account_id for account in (*first.accounts, *second.accounts)] == made
    assert not second.next_page_token


async def test_an_unknown_account_is_not_found(side: Side) -> None:
    with refused(Reason.ACCOUNT_NOT_FOUND):
        await side.balance("wallet/nobody/GBP")
    with refused(Reason.ACCOUNT_NOT_FOUND):
        await side.accounts.ListAccountEntries(accounts_api.ListAccountEntriesRequest(account_id="wallet/nobody/GBP"))


async def test_currencies_of_none_two_and_three_digits_live_side_by_side(side: Side) -> None:
    for currency, funds, price in (("JPY", 12_000, 1_500), ("GBP", 12_00, 2_99), ("BHD", 12_000, 1_255)):
        payer_id = await side.shopper(funds=funds, currency=currency)
        payment = await side.captured(payer_id, price, currency)
        assert payment.amount == Money(currency_code=currency, minor_units=price)
        assert await side.wallet(payer_id, currency) == (funds - price, 0)
    books = await side.books()
    sums = {
        code: (row.wallets.minor_units, row.stores.minor_units, row.external.minor_units) for code, row in books.items()
    }
    assert sums == {
        "BHD": (10_745, 1_255, -12_000),
        "GBP": (901, 299, -1_200),
        "JPY": (10_500, 1_500, -12_000),
    }
    assert {row.wallets.currency_code for row in books.values()} == {"BHD", "GBP", "JPY"}


async def test_trial_balances_are_listed_by_currency_page_by_page(side: Side) -> None:
    for currency in ("USD", "JPY", "GBP"):
        await side.shopper(funds=7, currency=currency)
    request = accounts_api.ListTrialBalancesRequest(page_size=2)
    first = await side.accounts.ListTrialBalances(request)
    request.page_token = first.next_page_token
    second = await side.accounts.ListTrialBalances(request)
    listed = [*first.trial_balances, *second.trial_balances]
    assert [(row.currency_code, row.wallets.minor_units, row.external.minor_units) for row in listed] == [
        ("GBP", 7, -7),
        ("JPY", 7, -7),
        ("USD", 7, -7),
    ]
    assert not second.next_page_token


async def test_the_trial_balance_counts_what_is_held(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    await side.step(await side.record(await side.order(payer_id, 400)))
    assert (await side.books())["GBP"].held == gbp(400)


async def test_the_trial_balance_names_an_account_that_was_tampered_with(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)

    def steal(transaction: Transaction) -> None:
        stolen = update(accounts).where(accounts.c.account_id == f"wallet/{payer_id}/GBP")
        transaction.execute(stolen, {"posted_minor": 999_999})

    await side.database.run(steal)
    await Upkeep(side.database, side.clock, "").round()
    listed = await side.accounts.ListTrialBalances(accounts_api.ListTrialBalancesRequest())
    (pounds,) = listed.trial_balances
    assert list(pounds.differing_account_ids) == [f"wallet/{payer_id}/GBP"]
    assert pounds.sum == gbp(998_999)


async def test_of_many_accounts_that_differ_the_first_hundred_are_named(side: Side) -> None:
    payer_ids = sorted([await side.shopper() for _ in range(101)])

    def steal(transaction: Transaction) -> None:
        transaction.execute(update(accounts), {"posted_minor": 1})

    await side.database.run(steal)
    await Upkeep(side.database, side.clock, "").round()
    listed = await side.accounts.ListTrialBalances(accounts_api.ListTrialBalancesRequest())
    (pounds,) = listed.trial_balances
    assert list(pounds.differing_account_ids) == [f"wallet/{payer_id}/GBP" for payer_id in payer_ids[:100]]
