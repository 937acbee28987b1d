"""The contracts keep what was promised: a change that breaks a client is found before it is committed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import DEADLINE_S
from tests.sources import ROOT

pytestmark = pytest.mark.process

BUF = Path(sys.executable).parent / "buf"
FROZEN = ROOT / "protos/frozen.binpb"
BROKEN = 100
"""Exit status of buf where it found a break."""


def buf(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BUF, *arguments], cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    """A copy of the contracts that a test may change."""
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    return tmp_path


def change(contracts: Path, file: str, pattern: str, replacement: str) -> None:
    path = contracts / "protos/tillmesh/api" / file
    changed, times = re.subn(pattern, replacement, path.read_text(), flags=re.MULTILINE)
    assert times == 1, f"{pattern} is {times} times in {file}"
    path.write_text(changed)


def test_the_contracts_break_nothing_that_is_frozen() -> None:
    done = buf(ROOT, "breaking", "--against", str(FROZEN))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "told"),
    [
        ("type/v1/line_item.proto", r"^  string gtin = 3;$", "", '"gtin" on message "LineItem" was deleted'),
        ("order/v1/order.proto", r"int64 epoch = 10;", "int64 fence = 10;", 'name from "epoch" to "fence"'),
        ("order/v1/order.proto", r"int64 version = 8;", "int32 version = 8;", 'type from "int64" to "int32"'),
        ("payment/v1/payment.proto", r"^    STATE_VOIDED = 6;$", "", 'enum value "6" on enum "State" was deleted'),
        ("order/v1/order_service.proto", r"^  rpc CompleteFreeOrder\(.*$", "", '"CompleteFreeOrder"'),
        ("type/v1/money.proto", r"typev1\";$", 'money";', "go_package"),
        ("type/v1/money.proto", r'java_package = ".*";$', 'java_package = "money";', "java_package"),
    ],
    ids=lambda value: value if value.endswith(".proto") else "",
)
def test_what_breaks_a_client_is_found(contracts: Path, file: str, pattern: str, replacement: str, told: str) -> None:
    change(contracts, file, pattern, replacement)
    done = buf(contracts, "breaking", "--against", str(FROZEN))
    assert done.returncode == BROKEN, done.stdout + done.stderr
    assert told in done.stdout


def test_what_adds_to_the_contracts_or_explains_them_breaks_nothing(contracts: Path) -> None:
    change(contracts, "type/v1/money.proto", r"^  int64 minor_units = 2;$", r"\g<0>\n\n  // New.\n  string note = 3;")
    change(contracts, "type/v1/payer.proto", r"^// Who is to pay an order.*$", "// Who pays.")
    done = buf(contracts, "breaking", "--against", str(FROZEN))
    assert (done.returncode, done.stdout) == (0, "")


def test_freezing_again_what_did_not_change_changes_nothing(contracts: Path) -> None:
    build = "build", "--exclude-source-info", "-o"
    first, second = contracts / "first.binpb", contracts / "second.binpb"
    assert buf(contracts, *build, str(first)).returncode == 0
    change(contracts, "type/v1/payer.proto", r"^// Who is to pay an order.*$", "// Who pays.")
    assert buf(contracts, *build, str(second)).returncode == 0
    assert first.read_bytes() == second.read_bytes()


def test_make_check_compares_with_what_make_freeze_writes() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "FROZEN := protos/frozen.binpb\n" in makefile
    check, freeze = (
        re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE) for target in ("check", "freeze")
    )
    assert check
    assert "$(BIN)/buf breaking --against $(FROZEN)\n" in check[1]
    assert freeze
    assert freeze[1].endswith("$(BIN)/buf build --exclude-source-info -o $(FROZEN)\n")
