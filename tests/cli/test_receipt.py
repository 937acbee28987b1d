"""Receipts from the command line: text, bytes for a printer, a page, JSON."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.command_line import TILLMESH, Person, environment, found, tillmesh
from tests.processes import DEADLINE_S, wait_until
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refunds_api
from tillmesh.client.connections import Client
from tillmesh.runtime.ids import new_request_id


@pytest.fixture
def sold(person: Person) -> str:
    """A pending transaction of one bag."""
    person.does("identity", "rita", "--confirm-above", "50")
    person.does("deposit", "rita", "9")
    return found(r"Order (\S+):", person.does("sell", "rita", "BAG@1.20"))


def refund(person: Person, order_id: str) -> str:
    """The id of a refund that the till has made."""

    async def act() -> str:
        async with Client(person.mesh.addresses) as client:
            request = refunds_api.RefundCheckoutRequest(refund_id=new_request_id(), checkout_id=order_id)
            return (await client.call(client.till_refunds.RefundCheckout, request)).refund_id

    return asyncio.run(act())


def test_what_is_due_what_was_paid_and_what_was_given_back_are_printed(person: Person, sold: str) -> None:
    bill = person.does("receipt", sold)
    assert "This is not a receipt\n" in bill
    assert person.does("receipt", sold, "--kind", "bill") == bill
    assert "is not paid" in person.fails("receipt", sold, "--kind", "sale")
    person.does("pay", sold)
    wait_until(lambda: "Paid by rita\n" in person.does("receipt", sold))  # the till looks once a second
    receipt = person.does("receipt", sold, "--columns", "32", "--language", "de", "--reprint")
    assert "KOPIE\n" in receipt
    assert "SUMME GBP                   1,20\n" in receipt
    refund_id = refund(person, sold)
    slip = person.does("receipt", "--refund", refund_id, "--kind", "refund")
    assert "REFUND GBP                           -1.20\n" in slip
    assert f"Refund {refund_id}" in slip.replace("\n", " ")


def test_a_receipt_as_json_has_the_names_of_the_contract(person: Person, sold: str) -> None:
    made = json.loads(person.does("receipt", sold, "--format", "json"))
    assert made["checkout_id"] == sold
    assert made["kind"] == "KIND_BILL"
    assert made["lines"][0]["item"]["sku"] == "BAG"
    assert made["amount"] == {"currency_code": "GBP", "minor_units": "120"}


def test_bytes_and_pages_go_to_a_file(person: Person, sold: str, tmp_path: Path) -> None:
    for_printer, page = tmp_path / "receipt.bin", tmp_path / "receipt.html"
    assert person.does("receipt", sold, "--format", "escpos", "--code-page", "cp437", "--out", for_printer) == ""
    assert for_printer.read_bytes().startswith(b"\x1b@\x1bt\x00")
    assert b"  1 x 1.20" in for_printer.read_bytes()
    person.does("receipt", sold, "--format", "html", "--out", page)
    assert page.read_text().startswith("<!doctype html>")
    assert "cannot be written: Is a directory." in person.fails("receipt", sold, "--out", tmp_path)


@pytest.mark.process
def test_bytes_go_through_a_pipe_as_they_are(person: Person, sold: str) -> None:
    command: list[str | Path] = [TILLMESH, "receipt", sold, "--format", "escpos"]
    done = subprocess.run(
        command, env=environment(person.mesh.addresses), capture_output=True, timeout=DEADLINE_S, check=True
    )
    assert done.stdout.startswith(b"\x1b@\x1bt\x13")
    assert done.stdout.endswith(b"\x1dVB\x00")


@pytest.mark.parametrize("subject", [[], ["7K3M-9Q2X-VB4T", "--refund", "r-1"]])
def test_a_receipt_is_of_one_thing(subject: list[str]) -> None:
    done = tillmesh("receipt", *subject)
    assert done.returncode == 2
    assert "name a checkout, or a refund with --refund" in done.stderr.replace("\n", " ")


def test_a_wrong_language_is_told_the_right_ones(person: Person, sold: str) -> None:
    assert "must be one of de, en, es, fr" in person.fails("receipt", sold, "--language", "tlh")
