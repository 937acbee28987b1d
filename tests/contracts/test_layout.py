"""How the contracts are laid out: what generators need to know, and where a reader finds what."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor

from tests.processes import DEADLINE_S
from tests.sources import ROOT
from tillmesh.api.terminal.v1 import checkout_pb2

PROTOS = sorted((ROOT / "protos").rglob("*.proto"))
PACKAGES = {"order", "payment", "sandbox", "terminal", "type"}
PARTS = {"NewLine", "ReturnedLine", "Session", "OrderUpdate", "PaymentUpdate", "CheckoutUpdate"}
"""What stands beside its service: lines of a request, parts of a stream's answers, and a session, which nobody can
read or list."""


def descriptor(path: Path) -> FileDescriptor:
    module = str(path.relative_to(ROOT / "protos").with_suffix("")).replace("/", ".")
    found: FileDescriptor = importlib.import_module(f"{module}_pb2").DESCRIPTOR
    return found


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT / "protos/tillmesh/api"))


def camel(stem: str) -> str:
    return "".join(part.capitalize() for part in stem.split("_"))


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


@pytest.mark.parametrize("path", PROTOS, ids=ids)
def test_every_file_says_its_package_in_every_language(path: Path) -> None:
    file = descriptor(path)
    folder = str(path.parent.relative_to(ROOT / "protos"))
    *_, area, version = folder.split("/")
    assert area in PACKAGES
    assert file.package == folder.replace("/", ".")
    options = file.GetOptions()
    assert options.go_package == f"{folder};{area}{version}"
    assert options.java_package == file.package
    assert options.java_multiple_files
    assert options.csharp_namespace == ".".join(camel(part) for part in folder.split("/"))


@pytest.mark.parametrize("path", [path for path in PROTOS if path.stem.endswith("_service")], ids=ids)
def test_a_service_stands_with_its_requests_and_answers_alone(path: Path) -> None:
    file = descriptor(path)
    (service,) = file.services_by_name.values()
    assert service.name == camel(path.stem)
    assert list(file.enum_types_by_name) == []
    requests = {f"{method.name}Request" for method in service.methods}
    answers = {method.output_type.name for method in service.methods if method.output_type.file is file}
    assert {method.input_type.name for method in service.methods} == requests
    assert set(file.message_types_by_name) - PARTS == (requests | answers) - PARTS


@pytest.mark.parametrize("path", [path for path in PROTOS if not path.stem.endswith("_service")], ids=ids)
def test_a_resource_has_a_file_of_its_own(path: Path) -> None:
    file = descriptor(path)
    assert dict(file.services_by_name) == {}
    assert camel(path.stem) in file.message_types_by_name or path.stem == "annotations"


def test_what_a_call_reads_stands_in_the_file_of_its_name() -> None:
    services = [service for path in PROTOS for service in descriptor(path).services_by_name.values()]
    read = [method.output_type for service in services for method in service.methods if method.name.startswith("Get")]
    elsewhere = [
        resource.full_name
        for resource in read
        if not f"{snake(resource.name)}_".startswith(f"{Path(resource.file.name).stem}_")
    ]
    assert elsewhere == []
    assert len(read) >= 10


def test_every_list_has_pages() -> None:
    methods = [
        method
        for path in PROTOS
        for service in descriptor(path).services_by_name.values()
        for method in service.methods
        if method.name.startswith("List")
    ]
    without = [
        method.full_name
        for method in methods
        if not {"page_size", "page_token"} <= set(method.input_type.fields_by_name)
        or "next_page_token" not in method.output_type.fields_by_name
    ]
    assert without == []
    assert len(methods) >= 10


@pytest.mark.process
def test_a_call_a_message_a_field_or_a_value_without_a_comment_is_found(tmp_path: Path) -> None:
    lint = ROOT / "buf.yaml"
    (tmp_path / "buf.yaml").write_text(lint.read_text())
    folder = tmp_path / "protos/tillmesh/api/type/v1"
    folder.mkdir(parents=True)
    (folder / "bare.proto").write_text(
        'syntax = "proto3";\n\npackage tillmesh.api.type.v1;\n\n'
        "message Bare {\n  enum State {\n    STATE_UNSPECIFIED = 0;\n  }\n\n  State state = 1;\n}\n\n"
        "service BareService {\n  rpc Check(CheckRequest) returns (Bare);\n}\n\n// Request of Check.\n"
        "message CheckRequest {}\n"
    )
    buf = Path(sys.executable).parent / "buf"
    done = subprocess.run([buf, "lint"], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    for what in ('Message "Bare"', 'Enum "State"', 'value "STATE_UNSPECIFIED"', 'Field "state"', 'RPC "Check"'):
        assert re.search(rf"{what}.*comment", done.stdout), f"{what}: {done.stdout}"


def test_the_page_of_the_contracts_names_every_service_and_verdict() -> None:
    page = (ROOT / "protos/README.md").read_text()
    services = {name for path in PROTOS for name in descriptor(path).services_by_name}
    named = set(checkout_pb2.Verdict.DESCRIPTOR.values_by_name) - {"VERDICT_UNSPECIFIED"}
    verdicts = {name.removeprefix("VERDICT_") for name in named}
    assert {name for name in services if f"`{name}`" not in page} == set()
    assert {name for name in verdicts if f"\n| `{name}` |" not in page} == set()
