"""What clients that are not Python see: the verdicts in JavaScript, and buf curl from reflection."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import DEADLINE_S
from tests.sources import ROOT
from tillmesh.api.terminal.v1.checkout_pb2 import Verdict
from tillmesh.local.mesh import Mesh

BUF = Path(sys.executable).parent / "buf"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


def test_the_till_in_javascript_shows_something_for_every_verdict_and_ends_at_the_final_ones() -> None:
    script = (ROOT / "examples/node/till.js").read_text()
    shown = re.search(r"^const SHOWN = \{\n(.*?)^\};", script, re.MULTILINE | re.DOTALL)
    final = re.search(r"^const FINAL = \[(.*?)\];", script, re.MULTILINE)
    assert shown
    assert final
    assert re.findall(r"^  (\w+):", shown[1], re.MULTILINE) == Verdict.keys()[1:]
    assert re.findall(r"\w+", final[1]) == ["VERDICT_HAND_OVER_GOODS", "VERDICT_CLOSED"]


def buf_curl(mesh: Mesh, package: str, *arguments: str) -> str:
    """buf curl with the certificate of who may call a server, which it knows by its role."""
    own, server = {
        "order": ("platform-cli", "orders.tillmesh"),
        "payment": ("platform-cli", "payments.tillmesh"),
        "terminal": ("device-store-1+cli", "terminal.tillmesh"),
    }[package]
    folder = mesh.authority.folder / own
    command = [str(BUF), "curl", "--protocol", "grpc", "--timeout", "30s", "--servername", server]
    command += ["--cacert", str(folder / "ca.pem")]
    command += ["--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem")]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def address(mesh: Mesh, package: str) -> str:
    where = mesh.addresses
    return {"order": where.orders, "payment": where.payments, "terminal": where.terminal}[package]


def methods_in_contracts(package: str) -> set[str]:
    found = set()
    for path in (ROOT / f"protos/tillmesh/api/{package}/v1").glob("*_service.proto"):
        text = path.read_text()
        service = re.search(r"^service (\w+)", text, re.MULTILINE)
        assert service
        found |= {
            f"tillmesh.api.{package}.v1.{service[1]}/{method}"
            for method in re.findall(r"^  rpc (\w+)\(", text, re.MULTILINE)
        }
    return found


@pytest.mark.parametrize("package", ["order", "payment", "terminal"])
def test_buf_curl_lists_every_method_of_a_server(mesh: Mesh, package: str) -> None:
    listed = set(buf_curl(mesh, package, "--list-methods", f"https://{address(mesh, package)}").split())
    assert {method for method in listed if method.startswith("tillmesh.")} == methods_in_contracts(package)


@pytest.mark.parametrize(
    ("package", "method", "request_", "field"),
    [
        ("order", "OrderService/ListOrders", {"payer": {"identity_id": "nobody"}}, "cursor"),
        (
            "payment",
            "IdentityService/CreateIdentity",
            {"identity_id": "buf", "currency_code": "JPY"},
            "identityId",
        ),
        ("terminal", "CheckoutService/CreateCheckout", {"request_id": "r-1", "identity_id": "buf"}, "checkoutId"),
    ],
)
def test_buf_curl_calls_a_server(mesh: Mesh, package: str, method: str, request_: dict[str, Any], field: str) -> None:
    url = f"https://{address(mesh, package)}/tillmesh.api.{package}.v1.{method}"
    answer = json.loads(buf_curl(mesh, package, "--data", json.dumps(request_), url))
    assert field in answer
