"""The commands that people look around with, and try a mesh by hand."""

import re
from pathlib import Path

import pytest

from tests.cli.command_line import Person, found, tillmesh, tillmesh_process

NOWHERE = "127.0.0.1:1"


def test_an_order_is_paid_by_hand_and_explained(person: Person, tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text('sku,title,price\nMUG,"Mug, blue",4.50\nTEA,Tea,1.20\n')
    assert "Imported 2 articles" in person.does("catalogue", "import", catalogue)
    registered = person.does("identity", "grace", "--confirm-above", "5.00")
    assert registered == (
        "grace pays from wallet/grace/GBP. grace confirms every payment above 5.00 GBP. Others need no confirmation.\n"
    )
    made, has = person.does("deposit", "grace", "50").splitlines()
    assert re.fullmatch(r"Deposit \S+ of 50\.00 GBP for grace\.", made)
    assert has == "wallet/grace/GBP has 50.00 GBP."
    order_id = found(r"Order (\S+): grace owes 11\.40 GBP", person.does("sell", "grace", "MUG=2", "TEA", "BAG@1.20"))
    listed = person.does("orders", "--payer", "grace", "--state", "open")
    assert order_id in listed
    assert "11.40 GBP" in listed

    payment_id = found(r"Payment (\S+) of 11\.40 GBP for \S+: AWAITING_PAYER", person.does("pay", order_id))
    assert re.search(rf"{order_id}.*LOCKED, \d+ s left", person.does("orders", "--payer", "grace"))
    assert "VOIDED (PAYMENT_CANCELED)" in person.does("cancel", payment_id)
    assert "waits for nobody's confirmation" in person.fails("confirm", payment_id)

    second_id = found(r"Payment (\S+) of", person.does("pay", order_id))
    assert "CAPTURED" in person.does("confirm", second_id)
    attempts = person.does("payments", "--order", order_id)
    assert re.search(rf"{payment_id}.*VOIDED PAYMENT_CANCELED", attempts)
    assert re.search(rf"{second_id}.*CAPTURED", attempts)
    statement = person.does("statement", "grace")
    assert re.search(r"deposit .* 50\.00 GBP +50\.00 GBP", statement)
    assert re.search(rf"payment, post .*{second_id} +-11\.40 GBP +38\.60 GBP", statement)
    assert "Posted 38.60 GBP, on hold 0.00 GBP." in statement
    assert "balanced" in person.does("balances")

    story = person.does("explain", order_id)
    told = [
        "Raised as a pending transaction of 11.40 GBP.",
        f"Locked by payment {payment_id[:8]}",
        f"Unlocked: payment {payment_id[:8]} was given up.",
        f"Locked by payment {second_id[:8]}",
        "11.40 GBP held in the wallet of grace",
        f"Paid by payment {second_id[:8]}, for good.",
        "11.40 GBP moved from grace to the store",
        "The order is PAID at version 1, 11.40 GBP. grace paid 11.40 GBP to store-1, who has it.",
    ]
    places = [story.find(sentence) for sentence in told]
    assert -1 not in places, story
    assert places == sorted(places)

    partly = person.does("explain", order_id, "--payments", NOWHERE)
    assert "Part of the story is missing. The payment server at 127.0.0.1:1 cannot be reached." in partly
    assert "Where the money is, only the payment server can say." in partly
    assert f"Paid by payment {second_id[:8]}" in partly


def test_a_pending_order_has_moved_no_money(person: Person) -> None:
    person.does("identity", "linus", "--confirm-above", "5")
    order_id = found(r"Order (\S+):", person.does("sell", "linus", "BAG@1.20"))
    assert "The order is OPEN at version 1, 1.20 GBP. No money has moved" in person.does("explain", order_id)
    declined = person.does("pay", order_id)
    assert "VOIDED (INSUFFICIENT_FUNDS)" in declined


def test_goods_are_sold_by_weight_and_what_costs_nothing_needs_no_payment(person: Person) -> None:
    sold = person.does("sell", "-", "CHEESE=432g@12.90", "JUICE=250ml@4", "BAG=2@0.10")
    assert "whoever shows a pay code owes 6.77 GBP" in sold  # 5.57 + 1.00 + 0.20
    order_id = found(r"Order (\S+): nadia owes 0\.00 GBP", person.does("sell", "nadia", "GIFT@0"))
    assert person.does("pay", order_id) == f"Order {order_id} is PAID: there was nothing to pay.\n"
    story = person.does("explain", order_id)
    assert "Completed at 0.00 GBP: there was nothing to pay." in story
    assert "The order is PAID at version 1, 0.00 GBP. No money has moved and none is held." in story


def test_failures_are_one_plain_line(person: Person) -> None:
    assert person.fails("orders", "--orders", NOWHERE) == (
        "tillmesh orders: The order service at 127.0.0.1:1 cannot be reached. "
        "Is the mesh running? Start it with: tillmesh up."
    )
    assert person.fails("statement", "nobody") == "tillmesh statement: There is no wallet of nobody."
    assert person.fails("pay", "NO-SUCH-ORDER") == "tillmesh pay: There is no order NO-SUCH-ORDER."
    assert person.fails("explain", "NO-SUCH-ORDER").endswith("knows an order NO-SUCH-ORDER.")
    assert "The catalogue has no article UNHEARD-OF" in person.fails("sell", "grace", "UNHEARD-OF")
    # The payment server shows its own certificate, so it is not taken for the order service.
    payments = person.mesh.addresses.payments
    assert person.fails("orders", "--orders", payments).endswith(
        "cannot be reached. Another server of mesh tillmesh answers there, or one of another mesh. Check the address."
    )


@pytest.mark.process
@pytest.mark.parametrize(("command", "status"), [(["--help"], 0), (["orders", "--orders", NOWHERE, "--json"], 1)])
def test_what_is_installed_is_the_command_that_is_tested(command: list[str], status: int) -> None:
    with_insecure = ["--insecure", *command]
    installed = tillmesh_process(*with_insecure)
    assert installed == tillmesh(*with_insecure)
    assert installed.returncode == status


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("MUG,Mug\n", "line 2: the row has 2 fields, the header has 3"),
        ("TEA,Tea,1\nMUG,Mug,4.505\n", "line 3: price '4.505' is not a whole number of minor units"),
        ("MUG,Mug,cheap\n", "line 2: price 'cheap' is not a decimal number"),
        ("MUG,Mug,1\nMUG,Mug,2\n", "line 3: sku 'MUG' is in line 2 already"),
        ("", "line 1: there is no article"),
    ],
)
def test_a_bad_catalogue_is_refused_with_the_line(tmp_path: Path, rows: str, says: str) -> None:
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text(f"sku,title,price\n{rows}")
    done = tillmesh("catalogue", "import", catalogue)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tillmesh catalogue: {catalogue}: {says}")


def help_of(*command: str) -> str:
    """What a command says of itself, on one line."""
    return " ".join(tillmesh(*command, "--help").stdout.split())


def test_every_command_explains_itself_with_an_example() -> None:
    commands = re.findall(r"^│ ([a-z]+) ", tillmesh("--help").stdout, re.MULTILINE)
    assert {"demo", "up", "replay", "orders", "explain", "catalogue", "wallet", "store", "phone"} <= set(commands)
    for command in (
        "replay",
        "explain",
        "sell",
        "identity",
        "wallet limits",
        "store create",
        "phone list",
        "phone claim",
        "present",
        "watch orders",
        "catalogue import",
    ):
        assert f"tillmesh {command} " in help_of(*command.split()).partition(" Example")[2]
    assert "Without --confirm-above the payer confirms every payment." in help_of("identity")
