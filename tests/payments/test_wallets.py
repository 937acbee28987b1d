"""Identities and their wallets: created once by name, changed field by field at the version that was read."""

from collections.abc import Sequence

import pytest
from google.protobuf import field_mask_pb2

from tests.payments.phones import PLATFORM, acting, payer, scan
from tests.payments.side import INSTANT, Side, gbp, refused, state_and_reason
from thirdparty_server.errors import Reason
from tillmesh.api.payment.v1 import identity_pb2, wallet_pb2
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallets_api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.ids import new_request_id

PAID, WAITS = ("CAPTURED", ""), ("AWAITING_PAYER", "")
THRESHOLD, COUNT = "confirmation_threshold", "unconfirmed_payments_per_day_max"


def registration(identity_id: str = "ada") -> identities_api.CreateIdentityRequest:
    return identities_api.CreateIdentityRequest(
        identity_id=identity_id,
        display_name="Ada",
        currency_code="GBP",
        confirmation_threshold=gbp(500),
        unconfirmed_payments_per_day_max=3,
    )


def mask(paths: Sequence[str]) -> field_mask_pb2.FieldMask:
    return field_mask_pb2.FieldMask(paths=paths)


def renamed(
    name: str, version: int = 1, paths: Sequence[str] = ("display_name",)
) -> identities_api.UpdateIdentityRequest:
    return identities_api.UpdateIdentityRequest(
        request_id=new_request_id(),
        identity=identity_pb2.Identity(identity_id="ada", display_name=name, version=99),
        update_mask=mask(paths),
        version=version,
    )


def limited(
    wallet: wallet_pb2.Wallet, paths: Sequence[str], version: int = 1, currency: str = "GBP"
) -> wallets_api.UpdateWalletRequest:
    wallet.identity_id, wallet.currency_code = wallet.identity_id or "ada", currency
    return wallets_api.UpdateWalletRequest(
        request_id=new_request_id(), wallet=wallet, update_mask=mask(paths), version=version
    )


async def wallet_now(side: Side, identity_id: str = "ada", currency: str = "GBP") -> wallet_pb2.Wallet:
    request = wallets_api.GetWalletRequest(identity_id=identity_id, currency_code=currency)
    return await side.wallets.GetWallet(request)


# Identities


async def test_an_identity_has_its_first_wallet_from_the_start(side: Side) -> None:
    identity = await side.identities.CreateIdentity(registration())
    assert (identity.display_name, identity.version) == ("Ada", 1)
    assert await side.identities.GetIdentity(identities_api.GetIdentityRequest(identity_id="ada")) == identity
    wallet = await wallet_now(side)
    assert (wallet.account_id, wallet.confirmation_threshold, wallet.version) == ("wallet/ada/GBP", gbp(500), 1)
    assert wallet.unconfirmed_payments_per_day_max == 3


async def test_an_identity_is_created_once_by_its_id(side: Side) -> None:
    await side.identities.CreateIdentity(registration())
    changed = await side.identities.UpdateIdentity(renamed("A. L."))
    assert await side.identities.CreateIdentity(registration()) == changed  # as it is now
    other = registration()
    other.display_name = "Bob"
    for _ in range(2):
        with refused(Reason.IDENTITY_EXISTS):
            await side.identities.CreateIdentity(other)
    assert await side.identities.CreateIdentity(registration()) == changed


async def test_an_identity_s_id_takes_nobody_s_request_id(side: Side) -> None:
    await side.identities.CreateIdentity(registration())
    request = renamed("A. L.")
    request.request_id = "ada"
    assert (await side.identities.UpdateIdentity(request)).display_name == "A. L."


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (identities_api.CreateIdentityRequest(identity_id="x" * 65), "identity_id"),
        (identities_api.CreateIdentityRequest(identity_id="a/b"), "identity_id"),
        (identities_api.CreateIdentityRequest(identity_id="d1b0f0a8-7c40-4b8a-9c2d-7f1b2c3d4e5f"), "identity_id"),
        (identities_api.CreateIdentityRequest(identity_id="D1B0F0A8-7C40-4B8A-9C2D-7F1B2C3D4E5F"), "identity_id"),
        (identities_api.CreateIdentityRequest(display_name="x" * 129), "display_name"),
        (identities_api.CreateIdentityRequest(currency_code="XAU"), "currency_code"),
        (identities_api.CreateIdentityRequest(currency_code="JPY"), f"{THRESHOLD}.currency_code"),
        (identities_api.CreateIdentityRequest(confirmation_threshold=gbp(-1)), f"{THRESHOLD}.minor_units"),
        (identities_api.CreateIdentityRequest(unconfirmed_payments_per_day_max=-1), COUNT),
        (identities_api.CreateIdentityRequest(unconfirmed_payments_per_day_max=10_001), COUNT),
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
    with refused(Reason.IDENTITY_NOT_FOUND):
        await side.identities.GetIdentity(identities_api.GetIdentityRequest(identity_id=request.identity_id))


async def test_identities_are_listed_by_id_page_by_page(side: Side) -> None:
    names = ["ada", "bob", "cy", "dee", "eve"]
    for name in reversed(names):
        await side.identities.CreateIdentity(registration(name))
    request = identities_api.ListIdentitiesRequest(page_size=3)
    first = await side.identities.ListIdentities(request)
    request.page_token = first.next_page_token
    second = await side.identities.ListIdentities(request)
    assert [identity.identity_id for identity in (*first.identities, *second.identities)] == names


async def test_a_new_name_keeps_the_limits(side: Side) -> None:
    await side.identities.CreateIdentity(registration())
    before = await wallet_now(side)
    changed = await side.identities.UpdateIdentity(request := renamed("A. L."))
    assert (changed.display_name, changed.version) == ("A. L.", 2)
    assert await wallet_now(side) == before
    assert await side.identities.UpdateIdentity(request) == changed
    again = await side.identities.UpdateIdentity(renamed("Ada L.", version=2))
    assert await side.identities.UpdateIdentity(request) == again  # a late copy changes nothing back


async def test_a_change_of_another_version_is_refused_for_good(side: Side) -> None:
    await side.identities.CreateIdentity(registration())
    for version in (0, 2):
        with refused(Reason.VERSION_MISMATCH) as refusals:
            await side.identities.UpdateIdentity(request := renamed("Bob", version=version))
        assert refusals[0].metadata["version"] == "1"
        assert refusals[0].retry_after_ms is None
    await side.identities.UpdateIdentity(renamed("A. L."))
    with refused(Reason.VERSION_MISMATCH):  # although its version is there now
        await side.identities.UpdateIdentity(request)
    request = renamed("Bob")
    request.identity.identity_id = "nobody"
    with refused(Reason.IDENTITY_NOT_FOUND):
        await side.identities.UpdateIdentity(request)


@pytest.mark.parametrize(
    ("paths", "field"),
    [
        ([], "update_mask"),
        (["display_name"] * 21, "update_mask"),
        (["display_name", "version"], "update_mask.paths[1]"),
        (["identity_id"], "update_mask.paths[0]"),
        (["*"], "update_mask.paths[0]"),
    ],
)
async def test_a_mask_names_what_can_be_changed_and_something(side: Side, paths: list[str], field: str) -> None:
    await side.identities.CreateIdentity(registration())
    with pytest.raises(Refusal) as raised:
        await side.identities.UpdateIdentity(renamed("Bob", paths=paths))
    assert [violation.field for violation in raised.value.violations] == [field]
    assert (await side.identities.GetIdentity(identities_api.GetIdentityRequest(identity_id="ada"))).version == 1


# Wallets


async def test_only_what_the_mask_names_of_a_wallet_changes_and_what_is_unset_is_removed(side: Side) -> None:
    await side.identities.CreateIdentity(registration())
    new = wallet_pb2.Wallet(confirmation_threshold=gbp(900), unconfirmed_payments_per_day_max=9)
    changed = await side.wallets.UpdateWallet(limited(new, [THRESHOLD]))
    assert (changed.confirmation_threshold, changed.unconfirmed_payments_per_day_max) == (gbp(900), 3)
    changed = await side.wallets.UpdateWallet(limited(new, [COUNT], version=2))
    assert (changed.confirmation_threshold, changed.unconfirmed_payments_per_day_max) == (gbp(900), 9)
    removed = await side.wallets.UpdateWallet(limited(wallet_pb2.Wallet(), [THRESHOLD, COUNT], version=3))
    assert not removed.HasField("confirmation_threshold")
    assert not removed.HasField("unconfirmed_payments_per_day_max")
    assert removed.version == 4
    assert await wallet_now(side) == removed
    with refused(Reason.VERSION_MISMATCH):
        await side.wallets.UpdateWallet(limited(new, [COUNT], version=3))


@pytest.mark.parametrize(
    ("wallet", "paths", "field"),
    [
        (wallet_pb2.Wallet(), [], "update_mask"),
        (wallet_pb2.Wallet(), ["account_id"], "update_mask.paths[0]"),
        (wallet_pb2.Wallet(confirmation_threshold=gbp(-1)), [THRESHOLD], f"wallet.{THRESHOLD}.minor_units"),
        (wallet_pb2.Wallet(unconfirmed_payments_per_day_max=-1), [COUNT], f"wallet.{COUNT}"),
        (wallet_pb2.Wallet(identity_id="a b"), [COUNT], "wallet.identity_id"),
        (
            wallet_pb2.Wallet(confirmation_threshold=Money(currency_code="JPY", minor_units=1)),
            [THRESHOLD],
            f"wallet.{THRESHOLD}.currency_code",
        ),
    ],
)
async def test_a_limit_that_makes_no_sense_is_refused_by_field(
    side: Side, wallet: wallet_pb2.Wallet, paths: list[str], field: str
) -> None:
    await side.identities.CreateIdentity(registration())
    with pytest.raises(Refusal) as raised:
        await side.wallets.UpdateWallet(limited(wallet, paths))
    assert [violation.field for violation in raised.value.violations] == [field]


async def test_a_payment_is_deducted_from_the_wallet_of_its_currency(side: Side) -> None:
    phone = await payer(side, funds=5000)
    opened = wallets_api.OpenWalletRequest(
        request_id=new_request_id(),
        identity_id=phone.identity_id,
        currency_code="JPY",
        confirmation_threshold=Money(currency_code="JPY", minor_units=INSTANT),
    )
    wallet = await side.wallets.OpenWallet(opened)
    assert (wallet.account_id, wallet.version) == (f"wallet/{phone.identity_id}/JPY", 1)
    assert await side.wallets.OpenWallet(opened) == wallet
    opened.request_id = new_request_id()
    with refused(Reason.WALLET_EXISTS):
        await side.wallets.OpenWallet(opened)
    await side.deposit(phone.identity_id, 700, "JPY")
    yen = await side.order(new_request_id(), 600, "JPY")
    assert state_and_reason(await scan(side, yen, phone.code())) == PAID
    assert await side.wallet(phone.identity_id, "JPY") == (100, 0)
    assert await side.wallet(phone.identity_id) == (5000, 0)
    pounds = await side.order(new_request_id(), 600)
    assert state_and_reason(await scan(side, pounds, phone.code(1))) == PAID
    assert await side.wallet(phone.identity_id) == (4400, 0)
    await side.books()


async def test_a_wallet_without_a_threshold_asks_for_each_payment(side: Side) -> None:
    phone = await payer(side, threshold=None)
    order = await side.order(new_request_id(), 1)
    assert state_and_reason(await scan(side, order, phone.code())) == WAITS
    with acting(PLATFORM):
        assert state_and_reason(await side.pay(await side.order(phone.identity_id, 1))) == WAITS


async def test_each_wallet_has_its_own_limits_and_counts_by_itself(side: Side) -> None:
    phone = await payer(side, unconfirmed_max=1)
    await side.wallets.OpenWallet(
        wallets_api.OpenWalletRequest(
            request_id=new_request_id(),
            identity_id=phone.identity_id,
            currency_code="JPY",
            confirmation_threshold=Money(currency_code="JPY", minor_units=100),
            unconfirmed_payments_per_day_max=1,
        )
    )
    await side.deposit(phone.identity_id, 1000, "JPY")
    outcomes = []
    for currency, minor in (("JPY", 101), ("JPY", 100), ("GBP", 101), ("JPY", 100), ("GBP", 101)):
        outcomes.append(state_and_reason(await side.pay(await side.order(phone.identity_id, minor, currency))))
    assert outcomes == [WAITS, PAID, PAID, WAITS, WAITS]


async def test_wallets_are_listed_by_currency(side: Side) -> None:
    identity_id = await side.shopper()
    for currency in ("USD", "EUR"):
        await side.wallets.OpenWallet(
            wallets_api.OpenWalletRequest(request_id=new_request_id(), identity_id=identity_id, currency_code=currency)
        )
    await side.shopper(currency="CHF")
    request = wallets_api.ListWalletsRequest(identity_id=identity_id, page_size=2)
    first = await side.wallets.ListWallets(request)
    request.page_token = first.next_page_token
    second = await side.wallets.ListWallets(request)
    assert [wallet.currency_code for wallet in (*first.wallets, *second.wallets)] == ["EUR", "GBP", "USD"]
    assert not second.next_page_token


async def test_what_nobody_opened_is_not_found(side: Side) -> None:
    with refused(Reason.IDENTITY_NOT_FOUND):
        await side.wallets.OpenWallet(
            wallets_api.OpenWalletRequest(request_id=new_request_id(), identity_id="nobody", currency_code="GBP")
        )
    with refused(Reason.WALLET_NOT_FOUND):
        await wallet_now(side, await side.shopper(), "JPY")
    with refused(Reason.WALLET_NOT_FOUND):
        await side.wallets.UpdateWallet(limited(wallet_pb2.Wallet(identity_id="nobody"), [COUNT]))
    with refused(CommonReason.INVALID_FIELD):
        await side.wallets.OpenWallet(
            wallets_api.OpenWalletRequest(request_id=new_request_id(), identity_id="ada", currency_code="XAU")
        )
