"""Every block of code in the guides runs and says what the guide says, and what they name is there."""

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.docs.guides import FILES, GUIDES, STARTS, TOOLS, Block, Reader, blocks, environment
from tests.processes import DEADLINE_S
from tests.sources import ROOT
from tillmesh.api.terminal.v1.checkout_pb2 import Verdict
from tillmesh.local.processes import ServerName
from tillmesh.sandbox.payers import BY_IDENTITY

PROGRAMS = Path(sys.executable).parent
USUAL = [f"127.0.0.1:{port}" for port in (7001, 7002, 7003, 7004)]
FREE = ("--orders-port", "0", "--payments-port", "0", "--terminal-port", "0", "--sandbox-port", "0")
ARROW = re.compile(r"^\s*(\w+)-+(?:>>|x)(\w+): (.*)$", re.MULTILINE)
CALL = re.compile(r"(\w+)(?: ?\((.*)\))?$")
NAME = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
SETTINGS = {f"TILLMESH_{name}" for name in ("TLS_DIR", "ORDERS", "PAYMENTS", "TERMINAL", "SANDBOX", "CURRENCY")}
VERDICTS = {name.removeprefix("VERDICT_") for name in Verdict.keys()[1:]}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader who has linked the source and started the sandbox as the guide says, but for its ports."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "source").symlink_to(ROOT)
    usual = environment(dict(zip(USUAL, USUAL, strict=True)), PROGRAMS)
    command = [*STARTS.split(), *FREE]
    with subprocess.Popen(command, cwd=folder, env=usual, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            told = ""
            while "Ctrl-C" not in told:
                line = process.stdout.readline()
                assert line, told
                told += line
            found = [re.search(rf"{name} +(127\S+)", told) for name in (*ServerName, "sandbox")]
            addresses = dict(zip(USUAL, [match[1] for match in found if match], strict=True))
            yield Reader(folder, addresses, environment(addresses, PROGRAMS))
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=DEADLINE_S)


def tracks() -> list[tuple[str, str]]:
    """Guide and language; an empty language is all that needs no more than a checkout has."""
    found = {(guide, block.tools) for guide in GUIDES for block in blocks(guide) if block.language in {"sh", *FILES}}
    return sorted(found)


@pytest.mark.process
@pytest.mark.parametrize(("guide", "language"), tracks(), ids=lambda part: part or "all")
def test_a_reader_gets_what_the_guide_says(reader: Reader, guide: str, language: str) -> None:
    for program in TOOLS.get(language, ()):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    reader.follow([block for block in blocks(guide) if block.tools == language])


@pytest.mark.parametrize("guide", GUIDES)
def test_no_block_is_left_out(guide: str) -> None:
    assert {block.language for block in blocks(guide)} <= FILES | {"sh", "text", "mermaid"}


def pictures() -> list[Block]:
    return [block for block in blocks("flows") if block.language == "mermaid"]


@pytest.fixture(scope="module")
def requests() -> dict[str, set[str]]:
    """The fields of what each call of a terminal is asked with."""
    services = [path.stem for path in (ROOT / "protos/tillmesh/api/terminal/v1").glob("*_service.proto")]
    modules = [importlib.import_module(f"tillmesh.api.terminal.v1.{service}_pb2") for service in services]
    return {
        name.removesuffix("Request"): set(message.fields_by_name)
        for module in modules
        for name, message in module.DESCRIPTOR.message_types_by_name.items()
        if name.endswith("Request")
    }


@pytest.mark.parametrize("picture", pictures(), ids=lambda picture: picture.section)
def test_a_picture_shows_calls_that_there_are(picture: Block, requests: dict[str, set[str]]) -> None:
    arrows = ARROW.findall(picture.text)
    people = re.findall(r"^    participant (\w+) as ", picture.text, re.MULTILINE)
    assert {name for caller, called, _ in arrows for name in (caller, called)} == set(people)
    for caller, _, what in arrows:
        if caller == "D":
            call = CALL.match(what)
            assert call, what
            assert set(re.findall(r"[a-z]+(?:_[a-z]+)+", call[2] or "")) <= requests[call[1]]


def table_of_verdicts() -> list[tuple[str, str]]:
    """Verdict and reasons of each row."""
    page = (ROOT / "docs/flows.md").read_text().partition("\n## Verdicts\n")[2]
    return re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", page, re.MULTILINE)


def test_the_table_of_verdicts_has_each_verdict() -> None:
    assert {verdict for verdict, _ in table_of_verdicts()} == VERDICTS


def test_the_table_of_verdicts_has_each_reason_that_a_till_can_see() -> None:
    bodies = (ROOT / "docs/errors.md").read_text().partition("\n## Reasons in bodies\n")[2]
    reasons = set(re.findall(r"^\| `([A-Z_]+)` \|", bodies, re.MULTILINE))
    told = {reason for _, cell in table_of_verdicts() for reason in re.findall(r"`([A-Z_]+)`", cell)}
    assert told == reasons - {"IDENTITY_NOT_FOUND"}  # a store is told DECLINED


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_names_reasons_and_payers_that_there_are(guide: str) -> None:
    page = (ROOT / f"docs/{guide}.md").read_text()
    contracts = [*(ROOT / "protos").rglob("*.proto"), ROOT / "docs/errors.md"]
    known = {name for path in contracts for name in NAME.findall(path.read_text())} | VERDICTS | SETTINGS
    assert set(re.findall(f"`({NAME.pattern})`", page)) - known == set()
    assert set(re.findall(r"`(sandbox-[a-z-]+)`", page)) - set(BY_IDENTITY) == set()
