"""`--json`: every command that shows records prints them as JSON, one object a line."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from google.protobuf.descriptor import Descriptor

from tests.cli.command_line import Person, found
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import account_pb2, deposit_pb2, payment_pb2, store_pb2, wallet_pb2
from tillmesh.api.terminal.v1 import catalogue_item_pb2, checkout_pb2, receipt_pb2, scan_rules_pb2
from tillmesh.cli.app import app
from tillmesh.local.mesh import Mesh

WITHOUT_RECORDS = {
    *("demo", "up", "replay", "baskets", "audit verify", "catalogue import", "catalogue delete", "scan-rules import"),
    *("db status", "db upgrade", "db check", "db prune", "db restamp"),
    *("sandbox code", "sandbox clock", "sandbox restart", "sandbox reset"),
    *("cert init", "cert issue", "cert deny"),
    *("phone enroll", "phone sign-in", "phone sign-out", "phone code", "phone new-key", "phone release"),
}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    """Every command below a group, with its options."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), {option for each in command.params for option in each.opts}


def test_every_command_that_shows_records_can_print_json() -> None:
    every = dict(commands(typer.main.get_group(app)))
    with_json = {name for name, options in every.items() if "--json" in options}
    assert with_json == set(every) - WITHOUT_RECORDS


@pytest.fixture(scope="module")
def order_id(sold: Person) -> str:
    return found(r"Order (\S+):", sold.does("sell", "jane", "MUG=2@6.50"))


@pytest.fixture(scope="module")
def sold(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Person:
    person = Person(mesh)
    person.does("identity", "jane", "--confirm-above", "100")
    person.does("deposit", "jane", "50")
    articles = tmp_path_factory.mktemp("json") / "articles.csv"
    articles.write_text("sku,title,price,gtins\nJSON,Json,1,4388844146686\n")
    person.does("catalogue", "import", articles)
    return person


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("identity jane-2", wallet_pb2.Wallet),
        ("deposit jane 1", deposit_pb2.Deposit),
        ("wallet show jane", wallet_pb2.Wallet),
        ("wallet limits jane", wallet_pb2.Wallet),
        ("sell jane PEN@1", checkout_pb2.Checkout),
        ("orders --payer jane", order_pb2.Order),
        ("pay ORDER", payment_pb2.Payment),
        ("payments --payer jane", payment_pb2.Payment),
        ("statement jane", account_pb2.AccountEntry),
        ("balances", account_pb2.TrialBalance),
        ("store create json-1 --name Json", store_pb2.Store),
        ("store list", store_pb2.Store),
        ("catalogue list", catalogue_item_pb2.CatalogueItem),
        ("scan-rules show", scan_rules_pb2.ScanRules),
        ("receipt ORDER", receipt_pb2.Receipt),
    ],
)
def test_each_line_is_an_object_with_the_names_of_the_contract(
    sold: Person, order_id: str, command: str, message: type
) -> None:
    printed = sold.does(*command.replace("ORDER", order_id).split(), "--json").splitlines()
    descriptor: Descriptor = message.DESCRIPTOR  # type: ignore[attr-defined]
    assert printed
    for line in printed:
        assert set(json.loads(line)) <= set(descriptor.fields_by_name)


def test_explain_prints_every_event(sold: Person, order_id: str) -> None:
    events = [json.loads(line) for line in sold.does("explain", order_id, "--json").splitlines()]
    assert {"order_id", "checkout_id"} <= {name for event in events for name in event}
    assert all(event["type"].startswith("TYPE_") for event in events)


def test_nothing_found_prints_nothing(sold: Person) -> None:
    assert sold.does("orders", "--payer", "nobody-at-all", "--json") == ""
