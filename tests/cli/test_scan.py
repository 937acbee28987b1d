"""`tillmesh scan` and `tillmesh scan-rules`: codes by hand, and the rules of a file, all of them or none."""

import json
from pathlib import Path

import pytest

from tests.cli.command_line import Person, found, tillmesh
from tests.trust.secrets import keep
from tillmesh import paycode, receipt_code
from tillmesh.runtime.secret import Secret

ARTICLES = """\
sku,title,price,gtins,unit,minimum_age,deposit_sku,kind
00001,Gouda,3.99,,gram,,,
CAVA,Cava,6.50,8410013022814,,18,GLASS,
GLASS,Deposit,0.15,,,,,deposit
NUTS,Nuts,2.10,8480000808837,,,,
"""
RULES = """\
prefix,value,article_start,article_digits,value_start,value_digits
21,quantity,3,5,8,5
02,amount,3,5,8,5
"""
PAY_CODE = keep(paycode.make("77120944", Secret(b"c" * 32), 59_000_000).value.decode())


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture
def order_id(person: Person, tmp_path: Path) -> str:
    person.does("catalogue", "import", write(tmp_path, "articles.csv", ARTICLES))
    person.does("scan-rules", "import", write(tmp_path, "rules.csv", RULES), "--new-line")
    return found(r"Order (\S+):", person.does("sell", "-", "MUG@1"))


def test_codes_are_scanned_by_hand(person: Person, order_id: str) -> None:
    assert person.does("scan", order_id, "2100001027506", "8480000808837", "--json").count("OUTCOME_ADDED") == 2
    assert person.does("scan", order_id, "2100001027506").splitlines() == [
        "4. “Gouda”: 2,750 gram, 10.97 GBP",
        f"{order_id} comes to 25.04 GBP.",
    ]
    assert person.fails("scan", order_id, "8410013022814") == (
        "tillmesh scan: the shopper must be 18 or older: repeat it with --yes-age"
    )
    assert person.does("scan", order_id, "8410013022814", "--yes-age", "--quantity", "2").splitlines() == [
        "5. “Cava”: 2 piece, 13.00 GBP",
        "6. “Deposit”: 2 piece, 0.30 GBP",
        f"{order_id} comes to 38.34 GBP.",
    ]
    assert "Lines changed: now 38.34 GBP (AGE)." in person.does("explain", order_id)


def test_codes_come_from_a_scanner_that_types(person: Person, order_id: str) -> None:
    receipt = receipt_code.make(order_id, "till-1", 1, bytes(32))
    typed = f"]d2010848000080883710LOT\x1d21A\r\n\n{PAY_CODE}\n]Q1{receipt}"
    assert person.does("scan", order_id, "-", types=typed).splitlines() == [
        "2. “Nuts”: 1 piece, 2.10 GBP",
        f"{order_id} comes to 3.10 GBP.",
        f"A pay code. To pay with it: tillmesh pay {order_id} --pay-code",
        f"A receipt. Of its order: tillmesh explain {order_id}",
    ]


def test_a_date_that_is_over_is_asked_for(person: Person, order_id: str) -> None:
    code = "]d2010848000080883715200229\x1d17200301"
    said = person.fails("scan", order_id, code)
    assert "it was best before 2020-03-01 " in said
    assert "it was to be used before 2020-03-02 " in said
    assert "2. “Nuts”" in person.does("scan", order_id, code, "--yes-date")


def test_a_bad_code_says_why_and_those_before_it_are_added(person: Person, order_id: str) -> None:
    done = tillmesh("scan", order_id, "8480000808837", "8480000808838", mesh=person.mesh.addresses)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "2. “Nuts”: 1 piece, 2.10 GBP"
    assert done.stderr == (
        "tillmesh scan: The check digit of the code is wrong; scan it again, or key in its digits.\n"
    )
    assert "begin with 27" in person.fails("scan", order_id, "2700000000007")


def test_rules_are_shown_as_they_were_imported(person: Person, tmp_path: Path) -> None:
    text = (
        "prefix,code_length,value,article_start,article_digits,value_start,value_digits,value_exponent,"
        "price_check_position\n2801,13,Amount,5,2,8,5,-1,7\n2,8,whole_code,,,,,,\n"
    )
    said = person.does("scan-rules", "import", write(tmp_path, "rules.csv", text), "--add-to-line")
    version = int(found(r"The terminal has 2 rules, version (\d+)\.", said))
    shown = json.loads(person.does("scan-rules", "show", "--json"))
    assert shown["rules"] == [
        {
            "prefix": "2801",
            "code_length": 13,
            "value": "VALUE_AMOUNT",
            "article_start": 5,
            "article_digits": 2,
            "value_start": 8,
            "value_digits": 5,
            "value_exponent": -1,
            "price_check_position": 7,
        },
        {"prefix": "2", "code_length": 8, "value": "VALUE_WHOLE_CODE"},
    ]
    assert (shown["add_to_line"], shown["version"]) == (True, str(version))
    table = person.does("scan-rules", "show")
    assert "5 to 6" in table
    assert "8 to 12 x 10^-1" in table
    assert f"Version {version}, set " in table
    assert "adds to its line" in table
    one = write(tmp_path, "rules.csv", "prefix,value\n20,whole_code\n")
    assert f"has 1 rule, version {version + 1}." in person.does("scan-rules", "import", one)
    assert json.loads(person.does("scan-rules", "show", "--json"))["add_to_line"] is True


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prefix\n21\n", "line 1: column value is missing"),
        ("prefix,value,colour\n21,amount,red\n", "line 1: column 'colour' is unknown, prefix, value, code_length,"),
        ("prefix,value\n", "line 1: there is no rule"),
        ("prefix,value\n21\n", "line 2: the row has 1 fields, the header has 2"),
        ("prefix,value\n21,price\n", "line 2: value 'price' must be one of whole_code, quantity, amount"),
        ("prefix,value,value_start\n21,amount,x\n", "line 2: value_start 'x' must be a whole number"),
        ("prefix,value,value_start\n21,amount,9999999999\n", "line 2: value_start 9999999999 must have at most 9"),
        (
            "prefix,value\n20,whole_code\n30,whole_code\n",
            "line 3: prefix must be 1 to 7 digits that begin with 02 or 2",
        ),
        ("prefix,value\n20,whole_code\n20,whole_code\n", "line 3: prefix must be there once"),
        (RULES.replace("8,5\n02", "7,5\n02"), "line 2: value_start must not overlap with article_start, was 7"),
    ],
)
def test_what_is_wrong_with_a_rule_is_told_with_its_line(person: Person, tmp_path: Path, text: str, says: str) -> None:
    before = person.does("scan-rules", "show", "--json")
    file = write(tmp_path, "rules.csv", text)
    done = tillmesh("scan-rules", "import", file, mesh=person.mesh.addresses)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tillmesh scan-rules: {file}: {says}")
    assert person.does("scan-rules", "show", "--json") == before
