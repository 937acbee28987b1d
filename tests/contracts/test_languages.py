"""The contracts generate in the languages that clients are written in, with what is installed here."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import google.rpc
import grpc
import pytest
from grpc_status import rpc_status

from tests.processes import DEADLINE_S
from tests.sources import ROOT
from tillmesh.api.terminal.v1 import checkout_pb2, checkout_service_pb2, checkout_service_pb2_grpc
from tillmesh.api.type.v1 import money_pb2
from tillmesh.auth.callers import MESH, Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.local.authority import Authority
from tillmesh.runtime.errors import CommonReason, FieldViolation, Refusal, invalid

pytestmark = pytest.mark.process

EXAMPLE = ROOT / "examples/protoc"
GOOGLEAPIS = Path(next(iter(google.rpc.__path__))).parent.parent
PROTOS = sorted(path.relative_to(ROOT / "protos") for path in (ROOT / "protos").rglob("*.proto"))
SERVICES = [path for path in PROTOS if path.stem.endswith("_service")]
JARS = Path("/usr/share/java")
JARS_OF_GRPC = [f"grpc-{part}" for part in ("api", "context", "core", "netty", "protobuf", "protobuf-lite", "stub")]
JARS_NEEDED = [*JARS_OF_GRPC, "protobuf", "guava", "geronimo-annotation-1.3-spec", "netty-common", "netty-handler"]


def run(*command: str | Path, cwd: Path = ROOT, timeout: float = DEADLINE_S) -> str:
    """Standard output of a command that succeeds."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def need(*programs: str) -> None:
    """Skips a test that a program is missing for."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def need_protoc() -> None:
    need("protoc")
    found = re.search(r"(\d+)\.(\d+)", run("protoc", "--version"))
    if found is None or (int(found[1]), int(found[2])) < (3, 21):
        pytest.skip("protoc is older than 3.21")


def need_libraries(*packages: str) -> None:
    need("pkg-config")
    if subprocess.run(["pkg-config", "--exists", *packages], check=False).returncode:
        pytest.skip(f"the libraries {' and '.join(packages)} are not installed")


def generate(language: str, folder: Path, *more: Path) -> set[str]:
    """The files that the example generates for a language."""
    run(EXAMPLE / "generate.sh", language, folder, *more)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_python_generates_with_its_own_protoc(tmp_path: Path) -> None:
    protoc = sys.executable, "-m", "grpc_tools.protoc", "-I", "protos"
    run(*protoc, f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}", *map(str, PROTOS))
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2.py")} == {
        path.with_name(f"{path.stem}_pb2.py") for path in PROTOS
    }
    calls = "from tillmesh.api.payment.v1 import payment_service_pb2_grpc as s; print(s.PaymentServiceStub.__name__)"
    assert run(sys.executable, "-c", calls, cwd=tmp_path) == "PaymentServiceStub\n"


def test_cpp_generates(tmp_path: Path) -> None:
    need_protoc()
    made = generate("cpp", tmp_path)
    assert {str(path.with_suffix(".pb.cc")) for path in PROTOS} <= made
    if shutil.which("grpc_cpp_plugin"):
        assert {str(path.with_suffix(".grpc.pb.h")) for path in SERVICES} <= made


def test_java_generates_a_file_for_each_message(tmp_path: Path) -> None:
    need_protoc()
    made = generate("java", tmp_path)
    assert {f"tillmesh/api/{name}.java" for name in ("order/v1/Order", "type/v1/Money", "terminal/v1/Verdict")} <= made
    if shutil.which("protoc-gen-grpc-java") or shutil.which("grpc_java_plugin"):
        assert "tillmesh/api/order/v1/OrderServiceGrpc.java" in made


def test_go_generates(tmp_path: Path) -> None:
    need_protoc()
    need("protoc-gen-go")
    version = subprocess.run(["protoc-gen-go", "--version"], input="", capture_output=True, text=True, check=False)
    if version.returncode:
        pytest.skip("protoc-gen-go is older than 1.20 and knows no optional fields")
    made = generate("go", tmp_path)
    assert {str(path.with_suffix(".pb.go")) for path in PROTOS} <= made
    assert "\npackage orderv1\n" in (tmp_path / "tillmesh/api/order/v1/order.pb.go").read_text()


def test_java_compiles_the_example(tmp_path: Path) -> None:
    need_protoc()
    need("javac")
    if not (shutil.which("protoc-gen-grpc-java") or shutil.which("grpc_java_plugin")):
        pytest.skip("protoc's plugin grpc-java is not installed")
    if missing := [jar for jar in JARS_NEEDED if not (JARS / f"{jar}.jar").exists()]:
        pytest.skip(f"Java libraries are not installed in {JARS}: {', '.join(missing)}")
    generate("java", tmp_path / "java", GOOGLEAPIS)
    (tmp_path / "classes").mkdir()
    jars = ":".join(str(JARS / f"{jar}.jar") for jar in JARS_NEEDED)
    run("javac", "-nowarn", "-d", tmp_path / "classes", "-cp", jars, "-sourcepath", tmp_path / "java",
        EXAMPLE / "GetCheckout.java")  # fmt: skip
    assert (tmp_path / "classes/tillmesh/api/terminal/v1/CheckoutServiceGrpc.class").exists()


class Terminal(checkout_service_pb2_grpc.CheckoutServiceServicer):
    """Answers with a verdict, and refuses with each kind of detail."""

    REFUSALS: dict[str, Refusal] = {  # noqa: RUF012 - nobody changes it
        "": invalid([FieldViolation("checkout_id", "must not be empty")]),
        "crowded": CommonReason.OVERLOADED(of_all=512, of_holder=128, retry_after_ms=2_000),
    }

    def GetCheckout(
        self, request: checkout_service_pb2.GetCheckoutRequest, context: grpc.ServicerContext
    ) -> checkout_pb2.Checkout:
        assert 0 < context.time_remaining() <= 10
        if refusal := self.REFUSALS.get(request.checkout_id):
            context.abort_with_status(rpc_status.to_status(refusal.to_status("terminal.tillmesh")))
        amount = money_pb2.Money(currency_code="GBP", minor_units=2**40)
        return checkout_pb2.Checkout(verdict=checkout_pb2.VERDICT_SAFE_TO_RETRY, amount=amount)


@contextmanager
def terminal(authority: Authority) -> Iterator[str]:
    """The address of a terminal that lets nobody in without a certificate."""
    server = grpc.server(ThreadPoolExecutor(1))
    checkout_service_pb2_grpc.add_CheckoutServiceServicer_to_server(Terminal(), server)  # type: ignore[abstract]
    own = TlsFiles(authority.issue(Role.TERMINAL, "store-1", "till-1"), MESH)
    port = server.add_secure_port("127.0.0.1:0", own.server_credentials())
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


def compile_cpp(folder: Path, program: Path) -> None:
    """Builds the example of C++ with the generated files that it needs.

    All of them are one translation unit: by far most of the time goes into the headers, which they share. Their names
    of the same static tables are told apart by a number.
    """
    area = folder / "tillmesh/api"
    sources = [
        *(area / f"terminal/v1/{name}.pb.cc" for name in ("checkout", "checkout_service", "receipt")),
        area / "terminal/v1/checkout_service.grpc.pb.cc",
        area / "order/v1/order.pb.cc",
        *sorted((area / "type/v1").glob("*.pb.cc")),
        *sorted((folder / "google/rpc").glob("*.pb.cc")),
        EXAMPLE / "get_checkout.cc",
    ]
    whole = folder / "whole.cc"
    with whole.open("w") as file:
        for number, source in enumerate(sources):
            for name in ("schemas", "file_default_instances"):
                file.write(f"#undef {name}\n#define {name} {name}_{number}\n")
            file.write(f'#include "{source}"\n')
    flags = run("pkg-config", "--cflags", "--libs", "grpc++", "protobuf").split()
    run("g++", "-std=c++17", "-O0", "-I", folder, whole, "-o", program, *flags)


def test_cpp_reads_a_verdict_and_why_it_was_refused(tmp_path: Path) -> None:
    need_protoc()
    need("g++", "grpc_cpp_plugin")
    need_libraries("grpc++", "protobuf")
    generate("cpp", tmp_path, GOOGLEAPIS)
    program = tmp_path / "get_checkout"
    compile_cpp(tmp_path, program)
    authority = Authority(tmp_path / "tls")
    authority.create()
    own = authority.issue(Role.DEVICE, "store-1", "lane-1")
    with terminal(authority) as address:

        def ask(checkout_id: str) -> tuple[int, list[str]]:
            command = map(str, [program, address, own, checkout_id])
            done = subprocess.run(list(command), capture_output=True, text=True, timeout=DEADLINE_S, check=False)
            return done.returncode, done.stdout.splitlines()

        assert ask("c-1") == (0, ["VERDICT_SAFE_TO_RETRY, 1099511627776 GBP in minor units"])
        refused = ["refused: INVALID_FIELD by terminal.tillmesh", "field checkout_id must not be empty"]
        assert ask("") == (1, refused)
        status, lines = ask("crowded")
        assert (status, lines[0], lines[-1]) == (1, "refused: OVERLOADED by terminal.tillmesh", "repeat after 2 s")
        assert sorted(lines[1:-1]) == ["of_all: 512", "of_holder: 128"]
