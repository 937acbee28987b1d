"""`tillmesh up`: three processes that come and go together, and come back."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cli.command_line import TILLMESH, environment, tillmesh
from tests.processes import DEADLINE_S, wait_until
from tillmesh.auth.callers import Role
from tillmesh.client.connections import Addresses
from tillmesh.local.keeper import Keeper
from tillmesh.local.mesh import LOCAL, Mesh
from tillmesh.local.processes import ServerName

pytestmark = pytest.mark.process

ANY_PORTS = ("--orders-port", "0", "--payments-port", "0", "--terminal-port", "0")


class Up:
    """A running `tillmesh up`."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path) -> None:
        self.process = process
        self.said = self._read_until("Ctrl-C stops")
        shown = {role: re.search(rf"{role.value} +(\S+) +(\d+)", self.said) for role in ServerName}
        found = {role: match for role, match in shown.items() if match}
        orders, payments, terminal = (found[role][1] for role in ServerName)
        self.addresses = Addresses(orders, payments, terminal, data_dir / "tls")
        self.pids = {role: int(found[role][2]) for role in ServerName}

    def ended(self) -> tuple[int, str]:
        """Its exit status and what it said on standard error, once it has ended."""
        _, errors = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, errors

    def hears(self) -> str:
        """The next line on standard error."""
        assert self.process.stderr
        line: str = self.process.stderr.readline()
        if again := re.search(r"runs again, as process (\d+)", line):
            self.pids[ServerName.PAYMENTS] = int(again[1])
        return line

    def payments_pid(self) -> int:
        return self.pids[ServerName.PAYMENTS]

    def _read_until(self, last: str) -> str:
        assert self.process.stdout
        said = ""
        while last not in said:
            line = self.process.stdout.readline()
            assert line, f"it ended after saying {said!r}"
            said += line
        return said


@contextmanager
def up(data_dir: Path, *flags: str) -> Iterator[Up]:
    command = [str(TILLMESH), "up", "--data-dir", str(data_dir), *ANY_PORTS, *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    try:
        yield Up(process, data_dir)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=DEADLINE_S)


@contextmanager
def ignoring_interrupts() -> Iterator[None]:
    """As a shell starts `tillmesh up &`: what is started inherits that SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def no_room_for(name: str, *, in_folder: Path) -> Iterator[None]:
    """A folder stands where the new file is to be written, which fails as on a full disk, and as late."""
    obstacle = in_folder / f".{name}.new"
    obstacle.mkdir()
    try:
        yield
    finally:
        obstacle.rmdir()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_ctrl_c_stops_all_three_and_the_data_stays(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        assert "store-1" in running.said
        assert tillmesh("identity", "ada", mesh=running.addresses).returncode == 0
        taken = tillmesh("up", "--data-dir", tmp_path, *ANY_PORTS)
        assert taken.returncode == 1
        assert f"A mesh is running in {tmp_path} already" in taken.stderr
        running.process.send_signal(signal.SIGINT)
        assert running.ended() == (0, "")
        assert all(is_gone(pid) for pid in running.pids.values())
    assert {path.name for path in tmp_path.glob("*.db")} == {f"{role}.db" for role in ServerName}
    with up(tmp_path) as running:
        assert "wallet/ada" in tillmesh("statement", "ada", mesh=running.addresses).stdout


def test_what_it_suggests_on_other_ports_works(tmp_path: Path) -> None:
    with up(tmp_path, "--currency", "EUR") as running:
        exported = dict(re.findall(r"^  export (\w+)=(\S+)$", running.said, re.MULTILINE))
        suggested = re.findall(r"^  tillmesh ((?:orders|balances)\b.*?)  ", running.said, re.MULTILINE)
        assert len(suggested) == 2
        for command in ("identity ada", "deposit ada 5.00", *suggested):
            done = subprocess.run(
                [TILLMESH, *shlex.split(command)],
                env=environment() | exported, capture_output=True, timeout=DEADLINE_S, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, b"")
        assert b"5.00 EUR" in done.stdout


def test_being_told_to_end_stops_all_three_also_in_a_shells_background(tmp_path: Path) -> None:
    with ignoring_interrupts(), up(tmp_path) as running:
        running.process.terminate()
        assert running.ended()[0] == 0
        assert all(is_gone(pid) for pid in running.pids.values())


def test_one_that_dies_is_started_again_where_it_was_and_the_others_stay(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        assert tillmesh("identity", "ada", mesh=running.addresses).returncode == 0
        for pause in ("0.5", "1"):
            os.kill(running.payments_pid(), signal.SIGKILL)
            assert running.hears() == f"thirdparty_server was ended by SIGKILL; it starts again in {pause} s.\n"
            assert running.hears().startswith("thirdparty_server runs again, as process ")
        assert "wallet/ada" in tillmesh("statement", "ada", mesh=running.addresses).stdout
        assert not is_gone(running.pids[ServerName.ORDERS])
        assert not is_gone(running.pids[ServerName.TERMINAL])
        running.process.send_signal(signal.SIGINT)
        assert running.ended() == (0, "")
        assert is_gone(running.payments_pid())


def test_a_mesh_that_cannot_renew_its_certificates_says_so_and_keeps_the_old_ones(tmp_path: Path) -> None:
    said: list[str] = []
    with Mesh(tmp_path) as mesh:
        pair = mesh.authority.folder_of(Role.ORDERS, LOCAL)
        before = [(pair / name).read_bytes() for name in ("cert.pem", "key.pem")]
        with no_room_for("key.pem", in_folder=pair):
            Keeper(mesh, said.append, renew_after_s=0).look()
        assert [(pair / name).read_bytes() for name in ("cert.pem", "key.pem")] == before
        [line] = said
        assert line.startswith("The certificates could not be renewed: ")
        Keeper(mesh, said.append, renew_after_s=0).look()
        assert (pair / "cert.pem").read_bytes() != before[0]
        assert mesh.failure() is None
    assert len(said) == 1


def test_servers_end_when_their_mesh_is_killed_and_the_next_one_starts(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.process.kill()
        assert running.process.wait(DEADLINE_S) == -signal.SIGKILL
        wait_until(lambda: all(is_gone(pid) for pid in running.pids.values()))
    with up(tmp_path) as running:
        assert not any(is_gone(pid) for pid in running.pids.values())


def test_a_taken_port_is_told_with_the_servers_own_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = tillmesh("up", "--data-dir", tmp_path, *ANY_PORTS[:2], "--payments-port", str(port), *ANY_PORTS[4:])
    assert done.returncode == 1
    assert done.stderr.startswith(f"tillmesh up: {ServerName.PAYMENTS.value} ended with exit status 1; the end of")
    assert f"127.0.0.1:{port}" in done.stderr


def processes_that_name(folder: Path) -> list[int]:
    """The processes with this folder in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if os.fsencode(folder) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


STARTS_CHILD = """
import os, signal, subprocess
from tillmesh.cli import main

class Interrupted(subprocess.Popen):
    def __init__(self, *args, **kwargs):
        at = os.environ["INTERRUPT"]
        if at == "before":
            os.kill(os.getpid(), signal.SIGINT)
        super().__init__(*args, **kwargs)
        if at == "within":
            os.kill(os.getpid(), signal.SIGINT)

subprocess.Popen = Interrupted
main()
"""
"""A mesh that is interrupted in the midst of the start of a child: nobody knows of the child yet."""


@pytest.mark.parametrize("moment", ["before", "within"])
def test_ctrl_c_amid_the_start_of_a_child_leaves_none(tmp_path: Path, moment: str) -> None:
    command = [sys.executable, "-c", STARTS_CHILD, "up", "--data-dir", str(tmp_path), *ANY_PORTS]
    done = subprocess.run(
        command, env=environment() | {"INTERRUPT": moment}, capture_output=True, timeout=DEADLINE_S, check=False
    )
    assert b"Stopped; the data stays." in done.stdout, done.stderr
    wait_until(lambda: processes_that_name(tmp_path) == [])
