"""The documents lead where they say, and what is generated in them is what is so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import DEADLINE_S
from tests.sources import ROOT
from tillmesh.local.processes import ServerName

SKIPPED = {".venv", "node_modules", ".git"}
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(#[^)\s]*)?\)")


def documents() -> list[Path]:
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in SKIPPED]
        found += [Path(folder, name) for name in names if name.endswith(".md")]
    return sorted(found)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    broken = []
    for target, anchor in LINK.findall(document.read_text()):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path = document.parent / target if target else document
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(target + anchor)
    assert broken == []


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/generate.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


@pytest.mark.process
def test_what_is_generated_is_up_to_date() -> None:
    done = generate("--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_names_of_the_servers_are_among_what_is_generated() -> None:
    (table,) = re.findall(
        r"^<!-- generated: names of the servers -->\n(.*?)^<!-- end generated -->",
        (ROOT / "README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert re.findall(r"^\| \[`(\w+)`\]", table, re.MULTILINE) == list(ServerName)
    assert "| `tillmesh.api.order.v1` | `orders` | `order.tillmesh` | `TILLMESH_ORDER_*` | 7001 |" in table


@pytest.mark.process
def test_the_generator_says_what_it_can_be_asked_for() -> None:
    done = generate()
    assert done.returncode == 2
    assert "proto or docs" in done.stderr
