"""The lines of a checkout from the command line, and checkouts that are put aside."""

import json
import re

import pytest

from tests.cli.command_line import Person, found, tillmesh


@pytest.fixture
def order_id(person: Person) -> str:
    """An order of two soups and a cup, which nobody has paid."""
    return found(r"Order (\S+):", person.does("sell", "-", "SOUP=2@5.00", "CUP@3.00"))


def line_of(shown: str, number: int) -> str:
    """The row of a line, with single blanks."""
    return " ".join(found(rf"(?m)^ +{number} +(.+)$", shown).split())


def test_lines_are_added_changed_discounted_tipped_and_removed(person: Person, order_id: str) -> None:
    added = person.does("line", "add", order_id, "HAM=432g@12.90", "--note", "cut thin")
    assert line_of(added, 3) == "HAM 432 g 12.90 / 1000 g “cut thin” 5.57"
    assert "It comes to 18.57 GBP, order version 2." in added
    assert line_of(person.does("line", "set", order_id, "1", "--quantity", "1"), 1) == "SOUP 1 5.00 5.00"
    assert line_of(person.does("line", "set", order_id, "1", "--note", "no onions"), 1).endswith("“no onions” 5.00")
    assert line_of(person.does("line", "set", order_id, "1", "--note", ""), 1) == "SOUP 1 5.00 5.00"
    off_one = person.does("line", "discount", order_id, "0.50", "--line", "2", "--code", "DENTED", "--text", "lid")
    assert line_of(off_one, 2) == "CUP 1 3.00 DENTED “lid” -0.50 2.50"
    tipped = person.does("line", "tip", order_id, "2.00")
    assert line_of(tipped, 4) == "Tip 1 2.00 tip 2.00"
    off_all = person.does("line", "discount", order_id, "1.00", "--code", "STAFF")
    assert line_of(off_all, 4) == "Tip 1 2.00 tip 2.00"
    assert "It comes to 14.07 GBP" in off_all  # 5.00 + 2.50 + 5.57 + 2.00 - 1.00
    removed = person.does("line", "remove", order_id, "3")
    assert not re.search("HAM", removed)
    assert person.does("line", "show", order_id) == removed


def test_another_price_is_shown_with_its_reason_and_who_set_it(person: Person, order_id: str) -> None:
    changed = person.does("line", "set", order_id, "2", "--price", "2.50", "--reason", "no box")
    assert re.search(r"CUP 1 2\.50 price by device/\S+: “no box” 2\.50", line_of(changed, 2))
    assert "Lines changed: now 12.50 GBP." in person.does("explain", order_id)


def test_what_was_typed_wrong_is_told(person: Person, order_id: str) -> None:
    assert "has no line 9" in person.fails("line", "remove", order_id, "9")
    wrong = tillmesh("line", "set", order_id, "1", "--price", "cheap", mesh=person.mesh.addresses)
    assert (wrong.returncode, "'cheap'" in wrong.stderr) == (2, True)
    assert "nothing changes" in person.fails("line", "set", order_id, "1")


def test_a_checkout_is_put_aside_listed_and_taken_up_again(person: Person, order_id: str) -> None:
    parked = person.does("park", order_id, "--label", "table 4", "--owner", "Zoë")
    assert re.search(r"Parked: “table 4” by “Zoë” until \d{4}-\d\d-\d\d", parked)
    assert re.search(rf"{order_id} .* SUBMITTED .* “table 4” by ", person.does("checkouts", "--parked"))
    assert person.fails("line", "add", order_id, "TEA@1").endswith("is put aside; recall it first.")
    assert "Parked" not in person.does("recall", order_id)
    assert order_id not in person.does("checkouts", "--parked")
    assert order_id in person.does("checkouts", "--state", "submitted")
    assert "is not put aside" in person.fails("recall", order_id)
    told = person.does("explain", order_id)
    assert told.index("Put aside.") < told.index("Taken up again.")


def test_each_record_is_printed_as_json(person: Person, order_id: str) -> None:
    for command in (
        ["park", order_id],
        ["recall", order_id],
        ["line", "tip", order_id, "1"],
        ["line", "show", order_id],
    ):
        (line,) = person.does(*command, "--json").splitlines()
        assert json.loads(line)["checkout_id"] == order_id
    assert order_id in {json.loads(line)["checkout_id"] for line in person.does("checkouts", "--json").splitlines()}
