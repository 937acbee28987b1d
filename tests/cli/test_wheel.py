"""What `make dist` builds, where nothing else is: its demo runs to the end, which checks itself, and is read.

The tests of somebody else run with it as well.
"""

import gzip
import json
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from tests.cli.command_line import environment
from tests.processes import DEADLINE_S
from tests.sources import ROOT
from tillmesh.samples import ONLINE_RETAIL

pytestmark = pytest.mark.process

TOOLS = Path(sys.executable).parent
INSTALL = (TOOLS / "uv", "pip", "install", "--quiet")


def run(*command: str | Path, within_s: float, cwd: Path = ROOT) -> str:
    """What a command that has to succeed prints."""
    done = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=within_s, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A virtual environment with the wheel and requirements.txt alone."""
    run(TOOLS / "hatchling", "build", "--target", "wheel", "--directory", tmp_path, within_s=DEADLINE_S)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", within_s=DEADLINE_S)
    there = ("--python", tmp_path / "venv/bin/python")
    run(*INSTALL, *there, "--require-hashes", "-r", "requirements.txt", within_s=DEADLINE_S)
    run(*INSTALL, *there, "--no-deps", "--offline", wheel, within_s=DEADLINE_S)
    return tmp_path / "venv"


def shorten(sample: Path, rows: int) -> None:
    """Leaves of the sample's invoices only so many rows."""
    with gzip.open(sample, "rt") as file:
        first = list(islice(file, 1 + rows))
    sample.unlink()  # the installer may keep the same file for others
    with gzip.open(sample, "wt") as file:
        file.writelines(first)


@pytest.mark.parametrize(
    ("rows", "sales", "returns"), [(300, 31, 3), pytest.param(None, 1150, 221, marks=pytest.mark.chaos)]
)
def test_the_wheel_alone_plays_the_demo_and_says_whose_its_parts_are(
    installed: Path, tmp_path: Path, rows: int | None, sales: int, returns: int
) -> None:
    (packages,) = installed.glob("lib/python*/site-packages")
    if rows:
        shorten(packages / "tillmesh/samples" / ONLINE_RETAIL.name, rows)
    told = run(installed / "bin/tillmesh", "demo", within_s=DEADLINE_S, cwd=tmp_path)
    figures = next(json.loads(line) for line in told.splitlines() if line.startswith("{"))
    assert (figures["reconciled"], figures["sales"], figures["returns"]) == (True, sales, returns)
    assert rows or figures["net"] == "548000.14"
    for turn in (
        "2.40 GBP paid at once",
        "PAY_CODE_USED",
        "by the store's rule article 00017, 432 grams",
        "is she 18 or older?",
        "TOTAL GBP                             8.50",
        "It says CLOSED",
        "is locked by payment",
        "the lease ran out",
        "she cancels on her phone",
        "now version 2, 24.30 GBP",
        "The PIN is wrong; tries left: 4",
        "HAND OVER GOODS",
        "waits for nobody's confirmation",
        "Three payments, one charge",
        "balanced",
    ):
        assert turn in told
    assert "CC BY 4.0" in (packages / "tillmesh/samples/README.md").read_text()
    (licences,) = packages.glob("tillmesh-*.dist-info/licenses")
    assert {path.name for path in licences.iterdir()} == {"LICENSE", "NOTICE"}


def test_the_tests_of_another_project_run_with_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    python = installed / "bin/python"
    run(*INSTALL, "--python", python, "--constraint", "requirements-dev.txt", "pytest", within_s=DEADLINE_S)
    project = shutil.copytree(ROOT / "examples/python-tests", tmp_path / "project")
    told = run(python, "-m", "pytest", within_s=DEADLINE_S, cwd=project)
    assert " passed" in told
