"""Whatever a person does wrong, a command says one plain line: what was wrong, with which value, and what to do."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command_line import TILLMESH, Done, environment, tillmesh, tillmesh_process
from tests.processes import DEADLINE_S, running
from tests.trust.certified import forge
from tillmesh.auth.callers import Role
from tillmesh.cli import telling
from tillmesh.local.authority import Authority
from tillmesh.local.mesh import Mesh

FREE_PORTS = ("--orders-port", "0", "--payments-port", "0", "--terminal-port", "0")


def complaint(done: Done, status: int) -> str:
    """The one line that a command says."""
    assert (done.returncode, done.stdout) == (status, ""), done
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a file in it."""
    (tmp_path / "file").write_text("hello")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["up", "--data-dir", "file"], "tillmesh up: {place}/file: File exists. It is in the way"),
        (["up", "--sandbox", "--data-dir", "file"], "tillmesh up: {place}/file: File exists. It is in the way"),
        (["up", "--data-dir", "file/mesh"], "tillmesh up: {place}/file/mesh: Not a directory. A folder is needed"),
        (["up", "--data-dir", "/proc/mesh"], "tillmesh up: /proc/mesh: No such file or directory. Check the name."),
        (["cert", "init", "--dir", "file"], "tillmesh cert: {place}/file: File exists. It is in the way"),
        (["--tls-dir", "file", "orders"], "tillmesh orders: There is no platform certificate in {place}/file."),
        (["replay", "nowhere.csv"], "tillmesh replay: {place}/nowhere.csv: No such file or directory"),
    ],
)
def test_a_place_of_no_use_is_named_with_what_to_do(place: Path, command: list[str], says: str) -> None:
    there = [str(place / part) if part.startswith(("file", "nowhere")) else part for part in command]
    free = FREE_PORTS if "up" in command else ()
    done = tillmesh(*there, *free)
    assert complaint(done, 2 if "replay" in command else 1).startswith(says.format(place=place))


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "Make room"), (errno.EACCES, "Change its rights"), (errno.EROFS, "Name a place")],
)
def test_an_error_of_the_disk_is_told_with_its_place(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def fails(self: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", fails)
    line = complaint(tillmesh("up", "--data-dir", place / "mesh", *FREE_PORTS), 1)
    assert line.startswith(f"tillmesh up: {place}/mesh: {os.strerror(number)}. {advice}")


@pytest.mark.process
@pytest.mark.parametrize("command", [["orders", "--payer"], ["sell"], ["replay"], ["--tls-dir"]])
def test_an_argument_that_is_no_text_is_told_as_such(command: list[str]) -> None:
    done = subprocess.run(
        [TILLMESH, *command, b"caf\xe9"], env=environment(), capture_output=True, timeout=DEADLINE_S, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert (
        done.stderr.decode()
        .splitlines()[0]
        .endswith(r"The argument 'caf\udce9' is not UTF-8. Type it anew, or rename the file.")
    )


@pytest.mark.parametrize("content", [[], {}, 5, {"token": []}, {"token": "", "key": 7}, "no JSON"])
def test_a_phone_file_of_other_content_is_no_phone(tmp_path: Path, content: object) -> None:
    (tmp_path / "phones").mkdir()
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "phones" / "ada.json").write_text(text)
    line = complaint(tillmesh("--tls-dir", tmp_path / "tls", "phone", "code"), 1)
    assert line.startswith(f"tillmesh phone: The phone in {tmp_path}/phones/ada.json cannot be used")


@pytest.mark.process
@pytest.mark.parametrize("arguments", [["orders"], ["up", "--data-dir", "{folder}/mesh", *FREE_PORTS]])
def test_ctrl_c_before_a_command_has_begun_says_nothing(tmp_path: Path, arguments: list[str]) -> None:
    script = (
        "import os, signal, sys\n"
        "class AtImport:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'tillmesh.cli.app':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, AtImport())\n"
        "from tillmesh.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", script, *(part.format(folder=tmp_path) for part in arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_a_fault_of_ours_is_one_line_and_kept_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tillmesh.cli.commands.orders.run_async", lambda act: act.close() or 1 / 0)
    line = complaint(tillmesh("--insecure", "orders"), telling.FAULT)
    assert line.startswith("tillmesh orders: This is a fault of tillmesh: ZeroDivisionError('division by zero').")
    kept = Path(line.removesuffix(".").split()[-1])
    assert "1 / 0" in kept.read_text()
    kept.unlink()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


def orders(mesh: Mesh, certificates: Path | None, address: str = "") -> str:
    """What `tillmesh orders` says of an order service that does not let it in."""
    options = ["--tls-dir", certificates] if certificates else ["--insecure"]
    done = tillmesh_process(*options, "orders", "--orders", address or mesh.addresses.orders)
    prefix = "tillmesh orders: The order service at "
    line = complaint(done, 1)
    assert line.startswith(prefix), line
    return line.partition(" cannot be reached. ")[2]


def issued(authority: Authority) -> Path:
    """A folder with the certificates that a command needs."""
    authority.create()
    authority.issue(Role.PLATFORM, "cli")
    authority.issue(Role.DEVICE, "store-1", "cli")
    return authority.folder


@pytest.mark.process
def test_trouble_with_certificates_is_not_taken_for_a_mesh_that_is_not_running(mesh: Mesh, tmp_path: Path) -> None:
    stranger = issued(Authority(tmp_path / "stranger"))
    assert "another mesh runs there" in orders(mesh, stranger)
    (stranger / "platform-cli" / "ca.pem").write_bytes((mesh.authority.folder / "ca.pem").read_bytes())
    assert "it does not accept the certificate in" in orders(mesh, stranger)
    assert "it probably wants TLS" in orders(mesh, None)
    own = tmp_path / "own"
    for role in ("platform-cli", "device-store-1+cli"):
        forge(mesh.authority, own / role, f"spiffe://tillmesh/{role.replace('-', '/', 1)}", expired=True)
    assert " ended at " in orders(mesh, own)
    assert "That name is not known." in orders(mesh, mesh.authority.folder, "nowhere.invalid:7001")
    with running("order_service", tmp_path) as plain:
        assert "It speaks without TLS." in orders(mesh, mesh.authority.folder, plain.address)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["up", "--store-id", "a b"], "--store-id: must be 1 to 64 characters"),
        (["up", "--sandbox-port", "5"], "--sandbox-port: needs --sandbox"),
        (["sell", "27123456789465650089", "MUG@1", "--pay-code"], "PAYER: is a pay code; say - as the payer"),
        (["sandbox", "clock", "inf"], "'seconds': Input should be less"),
        (["sandbox", "restart", "store_terminal", "--away", "1e30"], "'--away': Input should be less"),
    ],
)
def test_a_value_of_no_use_is_refused_by_its_name(command: list[str], says: str) -> None:
    done = tillmesh(*command)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.replace("│", "").split()).replace("Invalid value for ", "")
