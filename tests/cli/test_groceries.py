"""Baskets of names alone: the rule that makes articles of them, and both ways of selling them."""

import json
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_line import tillmesh
from tillmesh.api.order.v1 import order_pb2
from tillmesh.cli.groceries.basket_file import read_baskets
from tillmesh.cli.groceries.goods import article
from tillmesh.cli.groceries.report import same_either_way
from tillmesh.cli.groceries.shopping import Played, Way
from tillmesh.cli.replay.invoices import Invoice
from tillmesh.cli.replay.reconcile import Books
from tillmesh.cli.replay.runner import Outcome, Sale
from tillmesh.gtin import as_gtin
from tillmesh.local.mesh import Mesh

BASKETS, NAMES = 200, 169
SAME_ARTICLE = ("item 34660", "item 41703")
"""Two names whose hashes end in the same nine digits: one in some ten thousand baskets of names has two."""


def names_of(number: int) -> list[str]:
    """The items of a made-up basket: 1 to 11 of them, no one twice."""
    return [f"item {(number * 37 + step * 13) % NAMES}" for step in range(number % 11 + 1)]


def by_hand(name: str) -> tuple[Decimal, str]:
    """Price and tax code by the rule, in decimals and not in minor units."""
    number = str(int.from_bytes(sha256(name.encode()).digest()[:8], "big")).zfill(20)
    price = Decimal("0.29") + Decimal(number[-11:-9]) / 10
    return price, "RS"[int(number[:-11]) % 2]


def write(folder: Path, *baskets: list[str]) -> Path:
    path = folder / "baskets.csv"
    path.write_text("".join(f"{','.join(names)}\n" for names in baskets))
    return path


def play(mesh: Mesh, *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON object in the last line, and what stands before it."""
    where = mesh.addresses
    running = ("--orders", where.orders, "--payments", where.payments, "--terminal", where.terminal)
    done = tillmesh("baskets", *arguments, *running, mesh=where)
    *shown, last = done.stdout.splitlines() or [done.stderr]
    return done.returncode, json.loads(last) if last.startswith("{") else {}, "\n".join(shown)


def test_the_rule_is_fixed() -> None:
    """By hand, from the SHA-256 of each name: figures of it can be compared for years."""
    milk = article("whole milk")
    assert (milk.sku, milk.ean, milk.price_minor) == ("GROCERY-255028708", "9522550287089", 169)
    assert (milk.tax_code, milk.tax_rate_ppm) == ("R", 50_000)
    for number in range(NAMES):
        one = article(f"item {number}")
        assert (Decimal(one.price_minor) / 100, one.tax_code) == by_hand(one.name)
        assert as_gtin(one.ean) == f"0{one.ean}"
        assert one.ean.startswith("952")
        assert one.sku.removeprefix("GROCERY-") == one.ean[3:12]


def test_the_rule_knows_both_taxes_and_many_prices() -> None:
    made = [article(f"item {number}") for number in range(NAMES)]
    assert {one.tax_code for one in made} == {"R", "S"}
    assert len({one.ean for one in made}) == NAMES
    assert len({one.price_minor for one in made}) > 50


def test_a_file_is_read_basket_by_basket(tmp_path: Path) -> None:
    path = tmp_path / "baskets.csv"
    path.write_text('tea,cream cheese ,tea\n\n"bread, white",tea\nham\n')
    file = read_baskets(path, 2)
    assert [(basket.line_number, [one.name for one in basket.articles]) for basket in file.baskets] == [
        (1, ["tea", "cream cheese", "tea"]),
        (3, ["bread, white", "tea"]),
    ]
    assert [one.name for one in file.articles] == ["bread, white", "cream cheese", "tea"]
    assert len(read_baskets(path, None).baskets) == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1: there is no basket"),
        (b"tea\ntea,,ham\n", "line 2: item 2, '', must be 1 to 256 characters"),
        (b"tea,a\x07b\n", r"line 1: item 2, 'a\x07b', must have printable characters only"),
        (b"tea,\xff\n", r"line 1: item 2, '\udcff', must have printable characters only, in UTF-8"),
        (b"x" * 257, "line 1: item 1, "),
        (b",".join([b"tea"] * 2001), "line 1: the basket has 2001 items, 2000 may be"),
        (",".join(SAME_ARTICLE).encode(), "'item 34660' and 'item 41703' would both be the article 9520755507124"),
    ],
)
def test_a_bad_file_is_told_in_one_line_before_anything_starts(tmp_path: Path, content: bytes, says: str) -> None:
    file, data_dir = tmp_path / "baskets.csv", tmp_path / "data"
    file.write_bytes(content)
    done = tillmesh("baskets", file, "--data-dir", data_dir)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("tillmesh baskets: ")
    assert says in line
    assert not data_dir.exists()


def test_two_hundred_baskets_come_to_the_same_scanned_and_sold(tmp_path: Path, mesh: Mesh) -> None:
    baskets = [names_of(number) for number in range(BASKETS)]
    total = sum((by_hand(name)[0] for names in baskets for name in names), Decimal())
    assert total == Decimal("6603.29")
    status, figures, shown = play(mesh, write(tmp_path, *baskets), "--concurrency", "4")
    assert (status, figures["reconciled"], figures["rejected"]) == (0, True, [])
    items = sum(map(len, baskets))
    assert (figures["baskets"], figures["items"], figures["articles"]) == (BASKETS, items, NAMES)
    assert figures["total"] == str(total)
    for way in ("scan", "sell"):
        told = figures["by"][way]
        assert (told["baskets"], told["items"], told["total"]) == (BASKETS, items, str(total))
    assert "✓ every basket is paid each way, and comes to the same amount and taxes" in shown
    assert "✓ the ledger sums to zero" in shown


@pytest.mark.parametrize("way", ["scan", "sell"])
def test_one_way_alone_is_played_and_again_on_the_same_mesh(tmp_path: Path, mesh: Mesh, way: str) -> None:
    file = write(tmp_path, ["tea", "ham"], ["tea"], ["milk"])
    total = sum((by_hand(name)[0] for name in ("tea", "ham", "tea")), Decimal())
    for _ in range(2):
        status, figures, _shown = play(mesh, file, "--by", way, "--limit", "2", "--concurrency", "3")
        assert (status, list(figures["by"]), figures["by"][way]["total"]) == (0, [way], str(total))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda books, _played: books.orders["sell"].amount.__setattr__("minor_units", 1), "another total"),
        (lambda books, _played: books.orders["scan"].taxes.add(tax_code="S"), "another total"),
        (lambda books, _played: books.orders.pop("scan"), "another total"),
        (lambda _books, played: played.sales[Way.SELL].clear(), "line 1 was not paid by sell"),
    ],
)
def test_a_basket_that_differs_is_found(tmp_path: Path, damage: Callable[[Books, Played], object], says: str) -> None:
    file = read_baskets(write(tmp_path, ["tea"]), None)
    order = order_pb2.Order()
    order.amount.minor_units = file.baskets[0].total_minor
    books, played = Books({}, {}, {}, {}, []), Played(Outcome())
    for way in Way:
        books.orders[way.value] = order_pb2.Order.FromString(order.SerializeToString())
        played.sales[way] = {1: Sale(Invoice("1", 1, "ada", ()), way.value, 0.0)}
    assert same_either_way(file, played, books).problems == []
    damage(books, played)
    (problem,) = same_either_way(file, played, books).problems
    assert says in problem
