"""The guides as a reader follows them: their blocks of code in order, each written or run in the reader's folder."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.processes import DEADLINE_S
from tests.sources import ROOT

GUIDES = ("integrate", "flows", "go-live", "sandbox", "internal-services")
TOOLS = {
    "Node.js": ("node", "npm"),
    "C++": ("g++", "pkg-config", "protoc", "grpc_cpp_plugin"),
    "Ruby": ("ruby", "grpc_tools_ruby_protoc"),
}
"""Programs that the sections of a language need; all other sections need what a checkout has."""
FILES = {"python", "js", "cpp", "ruby"}
"""Languages whose blocks are files, named by their first line."""
STARTS = "tillmesh up --sandbox\n"
"""The command that goes on: it is run once, for all."""
_PARTS = re.compile(r"^#+ ([^\n]+)$|^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PIP = 'pip() { uv pip "$@"; }\n'
"""As pip does it, in a tenth of the time."""


@dataclass(frozen=True)
class Block:
    """One block of code."""

    section: str
    language: str
    text: str

    @property
    def tools(self) -> str:
        """The language whose tools it needs; empty for all that are here."""
        return next((name for name in TOOLS if self.section.endswith(name)), "")


def blocks(guide: str) -> Iterator[Block]:
    """The blocks of a guide, in its order."""
    section = ""
    for heading, language, text in _PARTS.findall((ROOT / f"docs/{guide}.md").read_text()):
        section = heading or section
        if not heading:
            yield Block(section, language, text)


@dataclass
class Reader:
    """Somebody with an empty folder who copies block after block; `addresses` are those to read for the usual ones."""

    folder: Path
    addresses: dict[str, str]
    environment: dict[str, str]
    _exports: list[str] = field(default_factory=list)
    _said: str = ""

    def follow(self, steps: list[Block]) -> None:
        """Does what each block says, and compares what is said to be seen."""
        self._exports.clear()
        for block in steps:
            if block.language in FILES:
                self._write(block.text)
            elif block.language == "sh" and block.text != STARTS:
                self._said = self._run(block.text)
            elif block.language == "text":
                seen = [line.rstrip() for line in self._said.splitlines()]
                assert seen[-block.text.count("\n") :] == block.text.splitlines(), self._said

    def _write(self, text: str) -> None:
        name = re.match(r"(?:#|//) ([\w.]+)", text)
        assert name, f"the first line of a file is its name, not {text[:60]!r}"
        for usual, address in self.addresses.items():
            text = text.replace(usual, address)
        (self.folder / name[1]).write_text(text)

    def _run(self, commands: str) -> str:
        script = "\n".join(["set -euo pipefail", _PIP, *self._exports, commands])
        self._exports += re.findall(r"^export .*$", commands, re.MULTILINE)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        if done.returncode and "npm install" in commands:
            pytest.skip(f"npm cannot install the packages here: {done.stderr[-500:]}")
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def environment(addresses: dict[str, str], tools: Path) -> dict[str, str]:
    """Ours, with the commands of this checkout, and where the sandbox listens."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TILLMESH", "VIRTUAL_ENV"))}
    orders, payments, terminal, sandbox = addresses.values()
    return clean | {
        "PATH": f"{tools}{os.pathsep}{clean['PATH']}",
        "TILLMESH": str(ROOT),
        "TILLMESH_ORDERS": orders,
        "TILLMESH_PAYMENTS": payments,
        "TILLMESH_TERMINAL": terminal,
        "TILLMESH_SANDBOX": sandbox,
    }
