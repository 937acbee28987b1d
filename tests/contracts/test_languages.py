"""The contracts generate in the languages that clients are written in, with what is installed here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import google.rpc
import pytest

from tests.processes import DEADLINE_S
from tests.sources import ROOT

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
