"""`tillmesh catalogue`: a file of articles, all of it or none; each wrong row is named with its line and why."""

import json
from pathlib import Path

import pytest

from tests.cli.command_line import Person, tillmesh
from tillmesh.api.terminal.v1 import catalogue_item_pb2
from tillmesh.cli.catalogue_file import CatalogueFile
from tillmesh.client.catalogue import PART_BYTES_MAX, PART_ITEMS_MAX, parts

FULL = """\
sku,title,price,gtins,unit,price_quantity,kind,tax_code,tax_rate,minimum_age,deposit_sku,offer_price,offer_from,offer_until
BEER,"Pils, 0.5 l",1.19,4006381333931|96385074,,,,A,19,16,CRATE-1,0.99,2026-12-01T08:00+01:00,2026-12-24T20:00+01:00
CRATE-1,Deposit,0.08,,,,deposit,A,19,,,,,
GOUDA,Gouda,12.90,810354020810 2000000000008,gram,1000,goods,B,7.5,,,11.90,,2026-12-24T20:00+01:00
FUEL,Super,17.99,,Milliliter,10000,,,,,,,,
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "articles.csv"
    path.write_text(text)
    return path


def test_every_column_of_a_file_reaches_the_catalogue(person: Person, tmp_path: Path) -> None:
    assert "Imported 4 articles." in person.does("catalogue", "import", write(tmp_path, FULL))
    beer = json.loads(person.does("catalogue", "show", "96385074", "--json"))
    assert beer == {
        "sku": "BEER",
        "gtins": ["04006381333931", "00000096385074"],
        "title": "Pils, 0.5 l",
        "kind": "KIND_GOODS",
        "unit": "UNIT_PIECE",
        "unit_price": {"currency_code": "GBP", "minor_units": "119"},
        "price_quantity": "1",
        "tax_code": "A",
        "tax_rate_ppm": 190_000,
        "price_periods": [
            {
                "start_time": "2026-12-01T07:00:00Z",
                "end_time": "2026-12-24T19:00:00Z",
                "unit_price": {"currency_code": "GBP", "minor_units": "99"},
            }
        ],
        "minimum_age_years": 16,
        "deposit_sku": "CRATE-1",
    }
    gouda = json.loads(person.does("catalogue", "show", "GOUDA", "--json"))
    assert (gouda["unit"], gouda["tax_rate_ppm"]) == ("UNIT_GRAM", 75_000)
    assert gouda["price_periods"][0]["end_time"] == "2026-12-24T19:00:00Z"
    assert json.loads(person.does("catalogue", "show", "CRATE-1", "--json"))["kind"] == "KIND_DEPOSIT"
    table = person.does("catalogue", "show", "GOUDA")
    assert "12.90 GBP per 1,000 gram" in table
    assert "B 7.5 %" in table


WRONG = """\
8005121213867,Fantasie,1.00,8005121213867
15274530,Wrong digit,1.00,15274530
8005121213867,Twice,1.00,8005121213867
7268033,Too short,1.00,7268033
GOOD,Good,1.00,96385074
2000000114906,In-store,1.00,2000000114906
"""


def test_each_wrong_row_of_a_file_is_named_with_its_line_and_why(person: Person, tmp_path: Path) -> None:
    """Rows as they are in Open Food Facts (ODbL 1.0)."""
    file = write(tmp_path, f"sku,title,price,gtins\n{WRONG}")
    done = tillmesh("catalogue", "import", file, mesh=person.mesh.addresses)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"tillmesh catalogue: {file}: line 3: gtins '15274530' must have a right check digit, which is 3",
        f"tillmesh catalogue: {file}: line 4: sku '8005121213867' is in line 2 already",
        f"tillmesh catalogue: {file}: line 5: gtins '7268033' must have 8, 12, 13 or 14 digits, has 7",
        f"tillmesh catalogue: {file}: line 7: gtins '2000000114906' must have a right check digit, which is 3",
        f"tillmesh catalogue: {file}: 4 rows are wrong; nothing was imported",
    ]
    assert "no article GOOD" in person.fails("catalogue", "show", "GOOD")


@pytest.mark.parametrize(
    ("header", "row", "says"),
    [
        ("gtin", "96385074", "line 1: column 'gtin' is unknown, sku, title, price, gtins,"),
        ("unit", "kilo", "line 2: unit 'kilo' must be one of piece, gram, milliliter, millimeter"),
        ("kind", "toy", "line 2: kind 'toy' must be one of goods, deposit, tip, service"),
        ("tax_rate", "19.00001", "line 2: tax_rate '19.00001' must be a percentage"),
        ("tax_rate", "101", "line 2: tax_rate '101' must be a percentage"),
        ("tax_rate", "1E-9", "line 2: tax_rate '1E-9' must be a percentage"),
        ("minimum_age", "adult", "line 2: minimum_age 'adult' must be a whole number"),
        ("offer_price,offer_from", "1,2026-12-01", "line 2: offer_from '2026-12-01' must be a time with its offset"),
        ("offer_from", "2026-12-01T00:00Z", "line 2: offer_price '' must be set"),
        ("minimum_age", "100", "line 2: minimum_age must be 0 to 99, was 100"),
        ("deposit_sku", "NO-SUCH", "line 2: deposit_sku must be an article of kind DEPOSIT"),
        ("tax_code", "not a code", "line 2: tax_code must be at most 16 characters"),
    ],
)
def test_what_is_wrong_with_a_column_is_told_with_its_value(
    person: Person, tmp_path: Path, header: str, row: str, says: str
) -> None:
    file = write(tmp_path, f"sku,title,price,{header}\nODD,Odd,1,{row}\n")
    done = tillmesh("catalogue", "import", file, mesh=person.mesh.addresses)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tillmesh catalogue: {file}: {says}")


def test_a_row_of_a_later_part_that_the_terminal_refuses_is_named_with_its_line(person: Person, tmp_path: Path) -> None:
    rows = [f"P{number},Pin,1," for number in range(2 * PART_ITEMS_MAX + 20)]
    rows[3] += "4388844146686"
    rows[2 * PART_ITEMS_MAX + 7] += "04388844146686"
    file = write(tmp_path, "\n".join(("sku,title,price,gtins", *rows, "")))
    done = tillmesh("catalogue", "import", file, mesh=person.mesh.addresses)
    said = f"line {2 * PART_ITEMS_MAX + 9}: gtins must be of one article, 04388844146686 is of 'P3'"
    assert said in done.stderr
    assert "no article P0" in person.fails("catalogue", "show", "P0")


def test_a_file_may_take_the_place_of_the_whole_catalogue(person: Person, tmp_path: Path) -> None:
    person.does("catalogue", "import", write(tmp_path, "sku,title,price\nA,A,1\nB,B,1\n"))
    new = write(tmp_path, "sku,title,price\nC,C,1\nB,Bee,2\n")
    assert "Replaced the catalogue by 2 articles." in person.does("catalogue", "import", new, "--replace-all")
    listed = [json.loads(line) for line in person.does("catalogue", "list", "--json").splitlines()]
    assert [(each["sku"], each["title"]) for each in listed] == [("B", "Bee"), ("C", "C")]
    assert "Bee" in person.does("catalogue", "list", "--limit", "1")
    assert "no article D" in person.fails("catalogue", "delete", "C", "D")
    assert "Deleted 1 article; the catalogue has 1." in person.does("catalogue", "delete", "C")
    assert "no article with the GTIN 00000096385074" in person.fails("catalogue", "show", "96385074")


def test_a_file_that_changes_between_two_readings_is_not_imported_in_part(tmp_path: Path) -> None:
    file = write(tmp_path, "sku,title,price\nA,A,1\n")
    source = CatalogueFile(file, "GBP")
    assert source.check() == []
    file.write_text("sku,title,price\nA,A,one\n")
    with pytest.raises(Exception, match="line 2: price 'one' is not a decimal number"):
        list(source.articles())


def test_parts_fit_a_message() -> None:
    wide = [catalogue_item_pb2.CatalogueItem(sku=f"{number}", title="\u00e9" * 256) for number in range(1000)]
    split = list(parts(wide))
    assert [item for part in split for item in part] == wide
    assert max(sum(item.ByteSize() for item in part) for part in split) <= PART_BYTES_MAX
    assert [len(part) for part in parts([catalogue_item_pb2.CatalogueItem(sku="A")] * 600)] == [250, 250, 100]
    assert list(parts([])) == []
