"""The arrows between the parts of the project, read from the imports."""

import importlib
import re
from collections.abc import Callable
from graphlib import TopologicalSorter
from inspect import isasyncgenfunction, iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import typer
from google.protobuf import descriptor_pool

from tests.sources import ROOT, SERVICES, files, imported, imported_modules
from tillmesh.cli.app import app

SERVICERS = {
    "tillmesh.api.order.v1.OrderService": ("order_service.servicer", "OrderServicer"),
    "tillmesh.api.payment.v1.PaymentService": ("thirdparty_server.payments.servicer", "PaymentServicer"),
    "tillmesh.api.payment.v1.RefundService": ("thirdparty_server.payments.refunds.servicer", "RefundServicer"),
    "tillmesh.api.payment.v1.IdentityService": ("thirdparty_server.payers.identity_servicer", "IdentityServicer"),
    "tillmesh.api.payment.v1.WalletService": ("thirdparty_server.payers.wallet_servicer", "WalletServicer"),
    "tillmesh.api.payment.v1.PhoneService": ("thirdparty_server.payers.phone_servicer", "PhoneServicer"),
    "tillmesh.api.payment.v1.StoreService": ("thirdparty_server.stores.servicer", "StoreServicer"),
    "tillmesh.api.payment.v1.AccountService": ("thirdparty_server.ledger.servicer", "AccountServicer"),
    "tillmesh.api.payment.v1.PayerService": ("thirdparty_server.payers.payer_servicer", "PayerServicer"),
    "tillmesh.api.payment.v1.ClaimService": ("thirdparty_server.claims.servicer", "ClaimServicer"),
    "tillmesh.api.sandbox.v1.SandboxService": ("tillmesh.sandbox.service", "SandboxServicer"),
    "tillmesh.api.terminal.v1.CheckoutService": ("store_terminal.checkouts.servicer", "CheckoutServicer"),
    "tillmesh.api.terminal.v1.TillRefundService": ("store_terminal.refunds.servicer", "TillRefundServicer"),
    "tillmesh.api.terminal.v1.ReceiptService": ("store_terminal.receipts.servicer", "ReceiptServicer"),
    "tillmesh.api.terminal.v1.ScanService": ("store_terminal.scanning.servicer", "ScanServicer"),
    "tillmesh.api.terminal.v1.PresentationService": ("store_terminal.presenting.servicer", "PresentationServicer"),
    "tillmesh.api.terminal.v1.CatalogueService": ("store_terminal.catalogue.servicer", "CatalogueServicer"),
}
PARTS = (
    "order_service",
    *(f"store_terminal/{part}" for part in ("catalogue", "checkouts", "refunds", "scanning", "receipts", "presenting")),
    *(f"thirdparty_server/{part}" for part in ("ledger", "payers", "stores", "claims", "payments", "payments/refunds")),
)
LINES_MAX = 400
FLOORS = (
    ("tillmesh.runtime",),
    (
        *(f"tillmesh.{part}" for part in ("lines", "line_rows", "origin", "payer", "paycode", "gtin")),
        *(f"tillmesh.{part}" for part in ("receipt_code", "claim_code")),
    ),
    ("tillmesh.auth", *(f"tillmesh.sandbox.{part}" for part in ("clock", "faults", "payers"))),
    ("tillmesh.storage",),
    ("tillmesh.rpc",),
    (
        "order_service",
        *(f"store_terminal.{part}" for part in ("errors", "schema", "access", "catalogue")),
        *(
            f"store_terminal.{part}"
            for part in ("checkouts.lifecycle", "checkouts.model", "outbox.model", "refunds.model")
        ),
        *(f"thirdparty_server.{part}" for part in ("errors", "schema", "updates", "serving", "access")),
    ),
    ("thirdparty_server.ledger", "store_terminal.checkouts"),
    ("thirdparty_server.payers", "store_terminal.outbox"),
    ("thirdparty_server.stores", "thirdparty_server.claims", "store_terminal.refunds"),
    ("thirdparty_server.payments", "store_terminal.outbox.replies", "store_terminal.outbox.exchanges"),
    (
        "thirdparty_server.payments.refunds",
        "store_terminal.outbox.payments",
        "store_terminal.outbox.voids",
        "store_terminal.outbox.worker",
        "store_terminal.outbox.order_watch",
    ),
    (
        *(
            f"store_terminal.checkouts.{part}"
            for part in ("operations", "parking", "housekeeping", "calls", "selling", "voiding", "sales", "servicer")
        ),
        "store_terminal.refunds.servicer",
        "store_terminal.receipts",
        "store_terminal.presenting",
    ),
    ("store_terminal.scanning",),
    ("thirdparty_server", "store_terminal"),
    ("tillmesh.client",),
    ("tillmesh.local",),
    ("tillmesh.sandbox",),
    ("tillmesh.cli", "tillmesh.testing"),
    ("tillmesh.cli.commands",),
    ("tillmesh.cli.app",),
)
"""From the ground up: nobody imports from a floor above."""
SHARED = (
    *("lines.py", "line_rows.py", "payer.py", "origin.py", "paycode.py", "gtin.py"),
    *("receipt_code.py", "claim_code.py"),
)
"""What all servers and the command line know of goods and payers."""
PURE = ("grpc", "sqlalchemy", "google", "asyncio", "tillmesh.api")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def importers(folder: str, forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{relative(path)} imports {name}"
        for path in files(folder)
        for name in imported(path)
        if any(name == part or name.startswith(f"{part}.") for part in forbidden)
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_no_other(service: str) -> None:
    assert importers(service, tuple(other for other in SERVICES if other != service)) == []


def floor_of(module: str) -> int | None:
    """The floor that a module stands on: that of the longest name it begins with; None for generated code."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((number for name in names for number, floor in enumerate(FLOORS) if name in floor), None)


def test_every_arrow_leads_downward() -> None:
    upward = [
        f"{module} imports {other}"
        for module, others in imported_modules().items()
        for other in others
        if (above := floor_of(other)) is not None and above > (floor_of(module) or 0)
    ]
    assert upward == []


def test_every_module_stands_on_a_floor() -> None:
    assert [module for module in imported_modules() if floor_of(module) is None] == []


def test_no_module_needs_itself() -> None:
    graph = TopologicalSorter(imported_modules())
    graph.prepare()  # raises CycleError, which names the modules
    assert graph.is_active()


@pytest.mark.parametrize("service", SERVICES)
def test_rules_and_tables_know_nothing_of_transport_and_storage(service: str) -> None:
    pure = [name for path in files(service) if path.name in ("lifecycle.py", "model.py") for name in imported(path)]
    assert [name for name in pure if name.split(".")[0] in PURE or name.startswith("tillmesh.api")] == []


@pytest.mark.parametrize("file", SHARED)
def test_what_all_share_knows_nothing_of_transport_and_storage(file: str) -> None:
    names = list(imported(ROOT / "tillmesh" / file))
    assert [name for name in names if name.split(".")[0] in PURE or name.startswith("tillmesh.api")] == []


@pytest.mark.parametrize("name", ["LineItem", "TaxTotal", "Payer", "Origin"])
def test_goods_and_payers_are_defined_once(name: str) -> None:
    paths = [path for folder in ("tillmesh", *SERVICES) for path in files(folder)]
    defined = [relative(path) for path in paths if re.search(rf"^class {name}\b", path.read_text(), re.MULTILINE)]
    assert len(defined) == 1
    assert defined[0].removeprefix("tillmesh/") in SHARED


@pytest.mark.parametrize("service", SERVICES)
def test_only_server_and_servicer_know_the_servicer(service: str) -> None:
    inner = [path for path in files(service) if path.stem not in ("server", "__main__", "servicer")]
    names = [f"{relative(path)} imports {name}" for path in inner for name in imported(path)]
    assert [line for line in names if f" {service}.servicer" in line or f" {service}.server" in line] == []


@pytest.mark.parametrize("part", PARTS)
def test_all_parts_have_the_same_files(part: str) -> None:
    names = {path.name.removeprefix("identity_") for path in (ROOT / part).iterdir()}
    assert {"model.py", "tables.py", "servicer.py"} - names == set()


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_its_wiring_its_refusals_and_its_page(service: str) -> None:
    expected = {"README.md", "server.py", "errors.py", "access.py", "migrations"}
    assert expected - {path.name for path in (ROOT / service).iterdir()} == set()
    assert f"<!-- generated: lifecycle of {service} -->" in (ROOT / service / "README.md").read_text()
    assert f"<!-- generated: errors of {service} -->" in (ROOT / "docs/errors.md").read_text()


def test_a_long_file_is_two_files() -> None:
    paths = [path for folder in ("tillmesh", *SERVICES, "tools", "tests", "bench") for path in files(folder)]
    long = {relative(path): len(path.read_text().splitlines()) for path in paths if "api" not in path.parts}
    assert {path: lines for path, lines in long.items() if lines > LINES_MAX} == {}


def test_every_command_has_a_file_of_its_name() -> None:
    named = {path.stem.replace("_", "-") for path in files("tillmesh/cli/commands")} - {"--init--"}
    group = typer.main.get_group(app)
    assert named == set(group.list_commands(typer.Context(group)))


def proto_services() -> list[str]:
    """Full names of the services in protos/."""
    names = []
    for path in sorted((ROOT / "protos").rglob("*_service.proto")):
        module = str(path.relative_to(ROOT / "protos").with_suffix("")).replace("/", ".")
        descriptor = importlib.import_module(f"{module}_pb2").DESCRIPTOR
        names += [service.full_name for service in descriptor.services_by_name.values()]
    return names


def test_every_service_of_the_contracts_is_served() -> None:
    assert sorted(SERVICERS) == sorted(proto_services())


@pytest.mark.parametrize("service", SERVICERS)
def test_every_method_of_a_service_has_a_coroutine_of_its_name(service: str) -> None:
    module, name = SERVICERS[service]
    servicer = getattr(importlib.import_module(module), name)
    methods = descriptor_pool.Default().FindServiceByName(service).methods
    kinds: dict[bool, Callable[[Any], bool]] = {True: isasyncgenfunction, False: iscoroutinefunction}
    missing = [each.name for each in methods if not kinds[each.server_streaming](getattr(servicer, each.name, None))]
    assert missing == []
    public = {name for name in vars(servicer) if not name.startswith("_")}
    assert public == {method.name for method in methods}
