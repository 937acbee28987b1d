"""The tills of examples/, in other languages, play every flow of a payment in a sandbox."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.run import HERE, PASSED, Language, play
from tillmesh.sandbox.sandbox import Sandbox

pytestmark = pytest.mark.process

FLOWS = [
    "catalogue and scan",
    "sell",
    "ask payer",
    "decline and another shopper",
    "cancel and change",
    "lost answer",
    "restart in the middle",
    "refund by lines",
    "stream",
    "do not retry",
]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.mark.parametrize("language", HERE, ids=[language.name for language in HERE])
def test_a_till_plays_every_flow(sandbox: Sandbox, language: Language, tmp_path: Path) -> None:
    outcome = play(language, sandbox, tmp_path)
    if outcome.missing:
        pytest.skip(f"not installed: {outcome.missing}")
    assert not outcome.failure, outcome.failure
    assert [line.removeprefix(PASSED).partition(":")[0] for line in outcome.passed] == FLOWS
