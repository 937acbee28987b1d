"""Identities, deposits, statements and the trial balance."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update

from tests.payments.side import STORE, Side, gbp, refused
from thirdparty_server.errors import Reason
from thirdparty_server.tables import accounts
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.statements import Connection


def registration(identity_id: str = "ada") -> identities_api.CreateIdentityRequest:
    return identities_api.CreateIdentityRequest(
        request_id=new_request_id(),
        identity_id=identity_id,
        display_name="Ada",
        currency_code="GBP",
        instant_limit=gbp(500),
    )


def deposit(identity_id: str, minor: int, currency: str = "GBP") -> accounts_api.CreateDepositRequest:
    return accounts_api.CreateDepositRequest(
        request_id=new_request_id(),
        identity_id=identity_id,
        amount=Money(currency_code=currency, minor_units=minor),
    )


async def entries(side: Side, account_id: str, page_size: int = 200) -> AsyncIterator[accounts_api.AccountEntry]:
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


async def test_an_identity_has_one_bound_account_from_the_start(side: Side) -> None:
    identity = await side.identities.CreateIdentity(request := registration())
    assert (identity.display_name, identity.instant_limit, identity.account_id) == ("Ada", gbp(500), "wallet/ada")
    assert await side.identities.GetIdentity(identities_api.GetIdentityRequest(identity_id="ada")) == identity
    account = await side.accounts.GetAccount(accounts_api.GetAccountRequest(account_id=identity.account_id))
    assert (account.kind, account.credit_limit) == (accounts_api.Account.KIND_WALLET, gbp(0))
    assert (account.posted, account.held) == (gbp(0), gbp(0))
    assert await side.identities.CreateIdentity(request) == identity
    with refused(Reason.IDENTITY_EXISTS):
        await side.identities.CreateIdentity(registration())


async def test_display_name_and_instant_limit_change_and_the_limit_goes_when_unset(side: Side) -> None:
    await side.identities.CreateIdentity(registration())
    update = identities_api.UpdateIdentityRequest(request_id=new_request_id(), identity_id="ada", display_name="A. L.")
    changed = await side.identities.UpdateIdentity(update)
    assert (changed.display_name, changed.HasField("instant_limit")) == ("A. L.", False)
    update = identities_api.UpdateIdentityRequest(
        request_id=new_request_id(), identity_id="ada", instant_limit=Money(currency_code="JPY", minor_units=1)
    )
    with refused(Reason.CURRENCY_MISMATCH):
        await side.identities.UpdateIdentity(update)
    update.request_id, update.identity_id = new_request_id(), "nobody"
    with refused(Reason.IDENTITY_NOT_FOUND):
        await side.identities.UpdateIdentity(update)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (identities_api.CreateIdentityRequest(identity_id="x" * 65), "identity_id"),
        (identities_api.CreateIdentityRequest(identity_id="a/b"), "identity_id"),
        (identities_api.CreateIdentityRequest(display_name="x" * 129), "display_name"),
        (identities_api.CreateIdentityRequest(currency_code="XAU"), "currency_code"),
        (identities_api.CreateIdentityRequest(currency_code="JPY"), "instant_limit.currency_code"),
        (identities_api.CreateIdentityRequest(instant_limit=gbp(-1)), "instant_limit.minor_units"),
    ],
)
async def test_a_registration_that_makes_no_sense_is_refused_by_field(
    side: Side, change: identities_api.CreateIdentityRequest, field: str
) -> None:
    request = registration()
    request.MergeFrom(change)
    with pytest.raises(Refusal) as raised:
        await side.identities.CreateIdentity(request)
    assert field in [violation.field for violation in raised.value.violations]


async def test_identities_and_accounts_are_listed_by_id_page_by_page(side: Side) -> None:
    names = ["ada", "bob", "cy", "dee", "eve"]
    for name in reversed(names):
        await side.identities.CreateIdentity(registration(name))
    request = identities_api.ListIdentitiesRequest(page_size=3)
    first = await side.identities.ListIdentities(request)
    request.page_token = first.next_page_token
    second = await side.identities.ListIdentities(request)
    assert [identity.identity_id for identity in (*first.identities, *second.identities)] == names
    accounts = await side.accounts.ListAccounts(accounts_api.ListAccountsRequest(page_size=5))
    assert [account.account_id for account in accounts.accounts] == [f"wallet/{name}" for name in names]
    assert not accounts.next_page_token


async def test_a_deposit_sent_twice_is_booked_once_and_answered_as_it_was_then(side: Side) -> None:
    payer_id = await side.shopper()
    first = await side.accounts.CreateDeposit(request := deposit(payer_id, 700))
    assert first.posted == gbp(700)
    await side.accounts.CreateDeposit(deposit(payer_id, 50))
    assert await side.accounts.CreateDeposit(request) == first
    assert await side.wallet(payer_id) == (750, 0)
    assert await side.balance("external/GBP") == (-750, 0)
    request.amount.minor_units = 701
    with refused(CommonReason.REQUEST_ID_REUSED):
        await side.accounts.CreateDeposit(request)
    assert await side.wallet(payer_id) == (750, 0)


async def test_a_deposit_is_not_converted_and_needs_an_identity(side: Side) -> None:
    payer_id = await side.shopper()
    with refused(Reason.CURRENCY_MISMATCH):
        await side.accounts.CreateDeposit(deposit(payer_id, 700, "JPY"))
    with refused(Reason.IDENTITY_NOT_FOUND):
        await side.accounts.CreateDeposit(deposit("nobody", 700))
    with refused(CommonReason.INVALID_FIELD):
        await side.accounts.CreateDeposit(deposit(payer_id, 0))
    with refused(CommonReason.INVALID_FIELD):
        await side.accounts.CreateDeposit(deposit(payer_id, -1))
    assert await side.wallet(payer_id) == (0, 0)


async def test_a_statement_tells_every_movement_with_its_other_side(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    payment = await side.captured(payer_id, 600)
    refund = await side.refund(payment.payment_id, 100)
    order = await side.order(payer_id, 200)
    payment_id = await side.record(order)
    await side.step(payment_id)
    phases = accounts_api.AccountEntry.Phase
    lines = [
        (phases.Name(entry.phase), entry.purpose, entry.amount.minor_units, entry.counterparty_account_id)
        async for entry in entries(side, f"wallet/{payer_id}")
    ]
    sales = f"sales/{STORE}/GBP"
    assert lines == [
        ("PHASE_SINGLE", "DEPOSIT", 1000, "external/GBP"),
        ("PHASE_HOLD", "PAYMENT", -600, sales),
        ("PHASE_POST", "PAYMENT", -600, sales),
        ("PHASE_SINGLE", "REFUND", 100, sales),
        ("PHASE_HOLD", "PAYMENT", -200, sales),
    ]
    references = [entry.reference async for entry in entries(side, f"wallet/{payer_id}")]
    assert references[1:] == [payment.payment_id, payment.payment_id, refund.refund_id, payment_id]
    assert await side.wallet(payer_id) == (500, 200)


async def test_a_statement_of_many_pages_misses_and_repeats_nothing(side: Side) -> None:
    payer_id = await side.shopper()
    for amount in range(1, 8):
        await side.deposit(payer_id, amount)
    amounts = [entry.amount.minor_units async for entry in entries(side, f"wallet/{payer_id}", page_size=3)]
    assert amounts == [1, 2, 3, 4, 5, 6, 7]
    outside = [entry.amount.minor_units async for entry in entries(side, "external/GBP", page_size=7)]
    assert outside == [-1, -2, -3, -4, -5, -6, -7]


async def test_a_page_token_of_another_account_is_refused(side: Side) -> None:
    one_id, other_id = await side.shopper(), await side.shopper()
    for _ in range(2):
        await side.deposit(one_id, 1)
    page = await side.accounts.ListAccountEntries(
        accounts_api.ListAccountEntriesRequest(account_id=f"wallet/{one_id}", page_size=1)
    )
    for account_id, token in ((f"wallet/{other_id}", page.next_page_token), (f"wallet/{one_id}", "nonsense")):
        request = accounts_api.ListAccountEntriesRequest(account_id=account_id, page_token=token)
        with refused(CommonReason.INVALID_FIELD):
            await side.accounts.ListAccountEntries(request)


async def test_an_unknown_account_is_not_found(side: Side) -> None:
    with refused(Reason.ACCOUNT_NOT_FOUND):
        await side.balance("wallet/nobody")
    with refused(Reason.ACCOUNT_NOT_FOUND):
        await side.accounts.ListAccountEntries(accounts_api.ListAccountEntriesRequest(account_id="wallet/nobody"))


async def test_currencies_of_none_two_and_three_digits_live_side_by_side(side: Side) -> None:
    for currency, funds, price in (("JPY", 12_000, 1_500), ("GBP", 12_00, 2_99), ("BHD", 12_000, 1_255)):
        payer_id = await side.shopper(funds=funds, currency=currency)
        payment = await side.captured(payer_id, price, currency)
        assert payment.amount == Money(currency_code=currency, minor_units=price)
        assert await side.wallet(payer_id) == (funds - price, 0)
    books = await side.books()
    assert {code: (row.wallets_minor, row.stores_minor, row.external_minor) for code, row in books.items()} == {
        "BHD": (10_745, 1_255, -12_000),
        "GBP": (901, 299, -1_200),
        "JPY": (10_500, 1_500, -12_000),
    }


async def test_the_trial_balance_counts_what_is_held(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    await side.step(await side.record(await side.order(payer_id, 400)))
    assert (await side.books())["GBP"].held_minor == 400


async def test_the_trial_balance_names_an_account_that_was_tampered_with(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)

    def steal(connection: Connection) -> None:
        stolen = update(accounts).where(accounts.c.account_id == f"wallet/{payer_id}")
        connection.execute(stolen, {"posted_minor": 999_999})

    await side.database.run(steal)
    listed = await side.accounts.ListTrialBalances(accounts_api.ListTrialBalancesRequest())
    (pounds,) = listed.trial_balances
    assert list(pounds.differing_account_ids) == [f"wallet/{payer_id}"]
    assert pounds.sum_minor == 998_999
