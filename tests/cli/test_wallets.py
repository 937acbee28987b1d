"""`tillmesh wallet` and `tillmesh phone list`: what belongs to an identity."""

import re

import pytest

from tests.cli.command_line import Person, found, tillmesh
from tillmesh.api.payment.v1 import account_pb2
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.records import show_statement

ANY_NUMBER = r"any number"


def test_a_wallet_without_a_threshold_asks_for_every_payment(person: Person) -> None:
    said = person.does("identity", "rosa")
    assert said == "rosa pays from wallet/rosa/GBP. rosa confirms every payment in GBP.\n"
    person.does("deposit", "rosa", "5")
    order_id = found(r"Order (\S+):", person.does("sell", "rosa", "PEN@0.01"))
    assert "AWAITING_PAYER" in person.does("pay", order_id)


def test_a_wallet_has_its_own_limits_and_pays_in_its_own_currency(person: Person) -> None:
    person.does("identity", "kurt", "--confirm-above", "10", "--per-day-max", "2")
    opened = person.does("wallet", "open", "kurt", "--currency", "EUR", "--confirm-above", "20")
    assert opened == (
        "Opened wallet/kurt/EUR. kurt confirms every payment above 20.00 EUR. Others need no confirmation.\n"
    )
    assert "wallet/kurt/EUR has 30.00 EUR." in person.does("deposit", "kurt", "30", "--currency", "EUR")
    shown = person.does("wallet", "show", "kurt")
    assert re.search(rf"wallet/kurt/EUR +30\.00 EUR +0\.00 EUR +20\.00 EUR +{ANY_NUMBER}", shown)
    assert re.search(r"wallet/kurt/GBP +0\.00 GBP +0\.00 GBP +10\.00 GBP +2 ", shown)

    order_id = found(r"Order (\S+): kurt owes 7\.00 EUR", person.does("sell", "kurt", "TEA@7", "--currency", "EUR"))
    assert "CAPTURED" in person.does("pay", order_id)
    statement = person.does("statement", "kurt", "--currency", "EUR")
    assert "Posted 23.00 EUR, on hold 0.00 EUR." in statement
    assert person.fails("statement", "kurt").endswith("Which wallet? Say --currency with one of: EUR, GBP")


def test_limits_are_changed_one_by_one(person: Person) -> None:
    person.does("identity", "lise", "--confirm-above", "10", "--per-day-max", "2")
    for flags, says in (
        ((), "lise confirms every payment above 10.00 GBP. Of the others, 2 a day need no confirmation."),
        (("--confirm-above", "15"), "lise confirms every payment above 15.00 GBP. Of the others, 2 a day need no"),
        (("--per-day-max", "none"), "lise confirms every payment above 15.00 GBP. Others need no confirmation."),
        (("--confirm-above", "none"), "lise confirms every payment in GBP."),
    ):
        assert person.does("wallet", "limits", "lise", *flags).startswith(says)


def test_what_is_wrong_with_a_wallet_is_one_plain_line(person: Person) -> None:
    person.does("identity", "otto")
    assert "otto" in person.fails("wallet", "open", "otto", "--currency", "GBP")
    assert "nobody" in person.fails("wallet", "open", "nobody", "--currency", "GBP")
    assert "nobody" in person.fails("wallet", "limits", "nobody")
    assert "EUR" in person.fails("deposit", "otto", "5", "--currency", "EUR")
    done = tillmesh("wallet", "limits", "otto", "--per-day-max", "many", mesh=person.mesh.addresses)
    assert done.returncode == 2
    assert "'many' is neither a whole number nor none" in done.stderr


def test_the_phones_of_an_identity_are_listed(person: Person) -> None:
    person.does("identity", "mina")
    assert person.does("phone", "list", "mina") == "Phones of mina: none.\n"
    for name in ("mina-tablet", "mina-phone"):
        person.does("phone", "enroll", "mina", "--phone", name)
    listed = person.does("phone", "list", "mina")
    assert re.search(
        r"mina-phone +spiffe://tillmesh/phone/mina-phone .*\n.*mina-tablet +spiffe://tillmesh/phone/mina-tablet ",
        listed,
    )


def test_a_statement_shows_the_balance_at_any_size(capsys: pytest.CaptureFixture[str]) -> None:
    """What came in, before what went out, may be more than 64 bits hold."""
    large = money_pb2.Money(currency_code="GBP", minor_units=9 * 10**18)
    entry = account_pb2.AccountEntry(phase=account_pb2.AccountEntry.PHASE_SINGLE, amount=large)
    show_statement((account_pb2.Account(account_id="sales/store-1/GBP", posted=large), [entry, entry]))
    assert " 180000000000000000.00 GBP" in capsys.readouterr().out
