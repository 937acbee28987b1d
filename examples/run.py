"""Builds the tills of this folder and plays their flows, one language after the other, in one sandbox."""

import argparse
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import google.rpc
import structlog

from tillmesh.auth.callers import Role
from tillmesh.cli.display import out, show_table
from tillmesh.sandbox.sandbox import Sandbox

EXAMPLES = Path(__file__).resolve().parent
PROTOS = EXAMPLES.parent / "protos"
GOOGLEAPIS = Path(next(iter(google.rpc.__path__))).parent.parent
BUILT_WITHIN_S = 600
PLAYED_WITHIN_S = 300
PASSED = "ok  "
MADE = ("build", "generated", "node_modules")
"""Folders that building a till by hand leaves in its source tree."""


@dataclass(frozen=True)
class Language:
    """A language with a till, in the folder of its name. All commands run in a copy of that folder."""

    name: str
    program: str
    """The file in the folder that plays the flows."""
    needs: Mapping[str, Sequence[str]]
    """Parts of the tool chain, each with a command that succeeds where it is installed."""
    packages: Sequence[str]
    """What has all of that, on Debian 12."""
    run: Sequence[str]
    build: Sequence[Sequence[str]] = ()
    fetch: Sequence[str] = ()
    """Downloads packages of the language: where it cannot, they are missing."""

    def missing(self) -> str:
        """The parts of the tool chain that are not installed here."""
        return ", ".join(part for part, command in self.needs.items() if not succeeds(command))


LANGUAGES = (
    Language(
        "node",
        "flows.js",
        needs={"node": ["node", "--version"], "npm": ["npm", "--version"]},
        packages=["nodejs", "npm"],
        fetch=["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--prefer-offline"],
        run=["node", "flows.js"],
    ),
    Language(
        "ruby",
        "flows.rb",
        needs={
            "ruby": ["ruby", "--version"],
            "ruby-grpc": ["ruby", "-e", "require 'grpc'"],
            "grpc_tools_ruby_protoc": ["grpc_tools_ruby_protoc", "--version"],
        },
        packages=["ruby", "ruby-grpc", "ruby-grpc-tools"],
        build=[["./generate.sh"]],
        run=["ruby", "flows.rb"],
    ),
    Language(
        "cpp",
        "flows.cc",
        needs={
            "g++": ["g++", "--version"],
            "cmake": ["cmake", "--version"],
            "protoc": ["protoc", "--version"],
            "grpc_cpp_plugin": ["which", "grpc_cpp_plugin"],
            "libgrpc++": ["pkg-config", "--exists", "grpc++", "protobuf"],
        },
        packages=["g++", "cmake", "pkg-config", "libgrpc++-dev", "protobuf-compiler-grpc"],
        build=[
            ["cmake", "-S", ".", "-B", "build", f"-DGOOGLEAPIS={GOOGLEAPIS}"],
            ["cmake", "--build", "build", "-j2"],
        ],
        run=["build/flows"],
    ),
)
HERE = tuple(language for language in LANGUAGES if (EXAMPLES / language.name / language.program).exists())


@dataclass
class Outcome:
    """The result of building and playing a till. Times are in seconds."""

    missing: str = ""
    failure: str = ""
    built_s: float | None = None
    played_s: float | None = None
    passed: list[str] = field(default_factory=list)


def succeeds(command: Sequence[str]) -> bool:
    """True if a program is there and ends well."""
    return bool(shutil.which(command[0])) and not subprocess.run(command, capture_output=True, check=False).returncode


def run(command: Sequence[str], folder: Path, within_s: float) -> tuple[bool, str]:
    """Whether a command ended well in time, and what it printed."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        return False, f"{said}\n{command[0]} did not end within {within_s:g} s"
    return done.returncode == 0, done.stdout


def play(language: Language, sandbox: Sandbox, work: Path) -> Outcome:
    """Builds a till in a folder of its own, and plays its flows in a sandbox."""
    outcome = Outcome(missing=language.missing())
    if outcome.missing:
        return outcome
    folder = copy(language, work)
    started = time.monotonic()
    if language.fetch and not run(language.fetch, folder, BUILT_WITHIN_S)[0]:
        outcome.missing = f"packages of {language.name}: {language.fetch[0]} cannot install them here"
        return outcome
    for command in language.build:
        is_done, said = run(command, folder, BUILT_WITHIN_S)
        if not is_done:
            outcome.failure = said
            return outcome
    outcome.built_s = time.monotonic() - started
    started = time.monotonic()
    is_done, said = run([*language.run, *flags_for(sandbox)], folder, PLAYED_WITHIN_S)
    outcome.played_s = time.monotonic() - started
    outcome.passed = [line for line in said.splitlines() if line.startswith(PASSED)]
    outcome.failure = "" if is_done else said
    return outcome


def copy(language: Language, work: Path) -> Path:
    """The folder of a till, away from the source tree and beside the contracts as there."""
    folder = work / "examples" / language.name
    shutil.copytree(EXAMPLES / language.name, folder, ignore=shutil.ignore_patterns(*MADE))
    if not (protos := work / "protos").exists():
        protos.symlink_to(PROTOS)
    return folder


def flags_for(sandbox: Sandbox) -> list[str]:
    """Flags that tell a till where the sandbox is."""
    where = sandbox.mesh.addresses
    files = where.files(Role.DEVICE)
    assert files is not None
    return ["--terminal", where.terminal, "--sandbox", sandbox.address, "--certificates", str(files.folder)]


def install(languages: Iterable[Language]) -> None:
    """Installs the tool chains that are missing, if this is a Debian machine and its root."""
    packages = [package for language in languages if language.missing() for package in language.packages]
    if not packages:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        sys.exit(f"Let root install them: apt-get install {' '.join(packages)}")
    subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", *packages], check=True)


def row(language: Language, outcome: Outcome) -> list[str]:
    """The row of a language in the table."""
    tools = f"missing: {outcome.missing}" if outcome.missing else "found"
    seconds = ["" if span is None else f"{span:.1f}" for span in (outcome.built_s, outcome.played_s)]
    flows = f"{len(outcome.passed)}, then it failed" if outcome.failure else str(len(outcome.passed) or "")
    return [language.name, tools, seconds[0], flows, seconds[1]]


def main() -> None:
    """Plays the flows of all languages, and shows a table; exit status 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m examples.run", description=__doc__)
    parser.add_argument("--install", action="store_true", help="install missing tool chains by apt, as root")
    if parser.parse_args().install:
        install(HERE)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # calls of the sandbox
    rows, has_failed = [], False
    with tempfile.TemporaryDirectory() as work, Sandbox(Path(work) / "sandbox") as sandbox:
        for language in HERE:
            out.print(f"\n{language.name}", style="bold")
            outcome = play(language, sandbox, Path(work))
            rows.append(row(language, outcome))
            has_failed = has_failed or bool(outcome.failure)
            out.print("\n".join(outcome.passed) + outcome.failure, markup=False, soft_wrap=True)
    show_table("Tills", ["language", "tool chain", "built in s", "flows passed", "in s"], rows)
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
