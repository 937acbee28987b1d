"""`tillmesh replay`, through three real servers."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_line import Done, row, tillmesh, tillmesh_process, write_invoices
from tillmesh.api.order.v1 import order_pb2
from tillmesh.cli.replay.invoices import read_invoices
from tillmesh.cli.replay.reconcile import Books, reconcile, settled
from tillmesh.cli.replay.runner import Outcome, Runner
from tillmesh.client.connections import Client
from tillmesh.local.mesh import Mesh


def some_invoices(prefix: str) -> list[str]:
    """Sales and returns of three customers and two walk-in shoppers, and what is none of these."""
    ada, bob = f"{prefix}-ada", f"{prefix}-bob"
    return [
        row("1", "MUG", 6, "2.55", ada),
        row("1", "TEA", 2, "1.00", ada),
        row("2", "MUG", 1, "3.00", ""),
        row("3", "VASE", 1, "40.00", bob),
        row("3", "D", -1, "5.00", bob),
        row("A4", "B", 1, "-11062.06", ""),
        row("5", "MUG", -3, "0.0", ""),
        row("C6", "MUG", -2, "2.55", ada),  # covered by invoice 1
        row("C6", "HAT", -1, "7.00", ada),  # not covered
        row("C7", "MUG", -1, "3.00", ""),  # walk-in: no sale is known to be theirs
        row("8", "MUG", 1, "0.001", bob),
        row("9", "MUG", 4, "2.50", ada),
        row("C10", "MUG", -8, "2.50", ada),  # split over invoices 1 and 9
    ]


SOME_TOTALS = {
    "sales": 4,
    "sales_total": "65.30",  # 17.30 + 3.00 + 35.00 + 10.00
    "returns": 3,
    "returns_total": "35.10",  # 12.10 + 3.00 + 20.00
    "net": "30.20",
    "refunded_by_sale": "25.10",
    "returned_without_sale": "10.00",
    "currency": "GBP",
    "skipped": {"other_document": 1, "zero_total": 1},
    "reconciled": True,
}


def result(stdout: str) -> dict[str, Any]:
    """The JSON object in the last line."""
    figures: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return figures


@pytest.mark.process
def test_a_replay_on_its_own_mesh_reconciles_and_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    file = write_invoices(tmp_path, *some_invoices("own"))
    os.environ["TMPDIR"] = str(temporary)
    try:
        done = tillmesh_process("replay", file)
    finally:
        del os.environ["TMPDIR"]
    assert done.returncode == 0, done.stderr
    figures = result(done.stdout)
    assert {key: figures[key] for key in SOME_TOTALS} == SOME_TOTALS
    (rejection,) = figures["rejected"]
    assert (rejection["invoice"], rejection["line"]) == ("8", 12)
    (line,) = (line for line in done.stderr.splitlines() if "rejected" in line)
    assert all(part in line for part in (str(file), "line 12", "invoice 8", "'0.001'"))
    assert "✓ the ledger sums to zero" in done.stdout
    assert list(temporary.iterdir()) == []


def trusted(mesh: Mesh) -> tuple[str, Path]:
    """Where to find the certificates of a mesh that is not the one of this folder."""
    return "--tls-dir", mesh.authority.folder


def test_a_running_mesh_is_used_again_and_again(tmp_path: Path, mesh: Mesh) -> None:
    file = write_invoices(tmp_path, *some_invoices("again"))
    where = mesh.addresses
    options = ("--orders", where.orders, "--payments", where.payments, "--terminal", where.terminal)
    for concurrency in ("1", "4"):
        done = tillmesh(*trusted(mesh), "replay", file, "--concurrency", concurrency, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        figures = result(done.stdout)
        assert {key: figures[key] for key in SOME_TOTALS} == SOME_TOTALS


def replays(mesh: Mesh, file: Path) -> Done:
    """A replay on a mesh that runs."""
    where = mesh.addresses
    servers = ("--orders", where.orders, "--payments", where.payments, "--terminal", where.terminal)
    return tillmesh(*trusted(mesh), "replay", file, *servers)


def test_what_a_server_refuses_is_rejected_and_the_others_go_on(tmp_path: Path, mesh: Mesh) -> None:
    assert tillmesh("identity", "euro-wallet", "--currency", "EUR", mesh=mesh.addresses).returncode == 0
    file = write_invoices(
        tmp_path,
        row("1", title="a bell\x07", customer="refused"),
        row("2", customer="euro-wallet"),
        row("3", customer="refused-other"),
    )
    done = replays(mesh, file)
    figures = result(done.stdout)
    assert (done.returncode, figures["sales"], figures["reconciled"]) == (0, 2, True)
    (rejection,) = figures["rejected"]
    assert rejection["invoice"] == "1"
    assert rejection["reason"] == r"Description 'a bell\x07' must have no control characters"


@pytest.mark.process
def test_an_invoice_that_is_too_large_is_named_and_the_others_go_on(tmp_path: Path, mesh: Mesh) -> None:
    large = [row("900001", sku=f"A{number}", title="X" * 200, customer="8001") for number in range(1_500)]
    file = write_invoices(tmp_path, *large, row("900002", customer="8002"))
    done = replays(mesh, file)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tillmesh replay: {file}: line 2: invoice 900001 is rejected: MESSAGE_TOO_LARGE: ")
    figures = result(done.stdout)
    assert (figures["sales"], [one["invoice"] for one in figures["rejected"]]) == (1, ["900001"])


@pytest.mark.process
def test_what_a_server_does_not_take_is_named_by_line_column_and_value(tmp_path: Path, mesh: Mesh) -> None:
    rows = (row("900003", price="-1.00"), row("900003"), row("900003", title="HE\x07ART"))
    file = write_invoices(tmp_path, *rows)
    done = replays(mesh, file)
    assert done.returncode == 1
    rejected, nothing = done.stderr.splitlines()
    assert rejected == (
        f"tillmesh replay: {file}: line 4: invoice 900003 is rejected: "
        r"Description 'HE\x07ART' must have no control characters"
    )
    assert nothing == f"tillmesh replay: Nothing was replayed: every invoice of {file} is rejected."


def test_a_bad_file_is_told_in_one_line_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "no-price.csv"
    file.write_text("InvoiceNo,StockCode\n1,MUG\n")
    data_dir = tmp_path / "data"
    done = tillmesh("replay", file, "--data-dir", data_dir)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tillmesh replay: {file}: line 1: column Description is missing")
    assert not data_dir.exists()


async def replayed(mesh: Mesh, tmp_path: Path) -> tuple[Outcome, Books]:
    """A replay that is over, with the books of it as they have to be."""
    file = read_invoices(write_invoices(tmp_path, *some_invoices("books")), "GBP")
    async with Client(mesh.addresses) as client:
        outcome = await Runner(client, "GBP", on_done=lambda _invoice: None).run(file.invoices, 2)
        books, checks = await settled(client, outcome)
    assert [check.problems for check in checks] == [[]] * 5
    return outcome, books


async def test_rows_below_zero_are_a_discount_of_the_order(mesh: Mesh, tmp_path: Path) -> None:
    outcome, books = await replayed(mesh, tmp_path)
    (sale,) = (sale for sale in outcome.sales if sale.invoice.number == "3")
    (line,) = books.orders[sale.checkout_id].lines
    (discount,) = line.adjustments
    assert (line.sku, line.unit_price_minor, line.amount_minor) == ("VASE", 4000, 3500)
    assert (discount.reason_code, discount.text, discount.amount_minor) == ("DISCOUNT", "HEART", -500)


def lose_an_order(books: Books, _outcome: Outcome) -> None:
    books.orders.pop(next(iter(books.orders)))


def reopen_an_order(books: Books, _outcome: Outcome) -> None:
    next(iter(books.orders.values())).state = order_pb2.Order.STATE_OPEN


def capture_twice(books: Books, _outcome: Outcome) -> None:
    payments = next(iter(books.captured.values()))
    payments += payments


def capture_another_version(books: Books, _outcome: Outcome) -> None:
    next(iter(books.all_captured())).order_version += 1


def refund_less(books: Books, _outcome: Outcome) -> None:
    next(iter(books.refunds.values())).amount.minor_units -= 1


def lose_a_refund(books: Books, _outcome: Outcome) -> None:
    books.refunds.popitem()


def hold_money(books: Books, outcome: Outcome) -> None:
    wallet = next(iter(outcome.wallets.values()))
    books.accounts[wallet.account_id].held.minor_units = 1


def take_from_a_wallet(books: Books, outcome: Outcome) -> None:
    wallet = next(iter(outcome.wallets.values()))
    books.accounts[wallet.account_id].posted.minor_units -= 1


def lose_a_penny(books: Books, _outcome: Outcome) -> None:
    books.trial_balances[0].sum.minor_units = -1


def keep_another_balance(books: Books, _outcome: Outcome) -> None:
    books.trial_balances[0].differing_account_ids.append("wallet/ada")


@pytest.mark.parametrize(
    "damage",
    [
        lose_an_order,
        reopen_an_order,
        capture_twice,
        capture_another_version,
        refund_less,
        lose_a_refund,
        hold_money,
        take_from_a_wallet,
        lose_a_penny,
        keep_another_balance,
    ],
)
async def test_reconciliation_finds_whatever_is_wrong_in_the_books(
    mesh: Mesh, tmp_path: Path, damage: Callable[[Books, Outcome], None]
) -> None:
    outcome, books = await replayed(mesh, tmp_path)
    damage(books, outcome)
    assert any(check.problems for check in reconcile(outcome, books))


def test_an_unknown_currency_is_told(tmp_path: Path) -> None:
    done = tillmesh("replay", write_invoices(tmp_path, row("1")), "--currency", "XAU")
    assert done.returncode == 2
    said = " ".join(done.stderr.replace("│", " ").split())
    assert "Invalid value for '--currency'" in said
    assert "must be an ISO 4217 currency with a minor unit, such as GBP, was 'XAU'" in said
