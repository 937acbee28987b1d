"""A slice of `make simulate` and `make mutants` that fits a minute, and what makes their verdict worth something."""

import inspect
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest

from order_service import operations as order_operations
from tests.processes import DEADLINE_S
from tests.simulation.mutants import MUTANTS
from tests.simulation.runner import parts, report, run_seed
from tests.simulation.scripted import Case, as_markdown, cases, play
from tests.simulation.shoppers import watched_shoppers
from tests.simulation.world import simulate
from tests.sources import ROOT
from thirdparty_server.payments import operations as payment_operations
from tillmesh.runtime.telemetry import trace_id

SEEDS = range(60)
CALM_SEEDS = range(12)
SEEDS_A_MUTANT = 300
SEEDS_OF_A_MUTANT = {"refusal": 50}
"""Of those that must be caught sooner."""
CAUGHT_BY = {
    "rule-1": 10, "rule-2": 1, "rule-3": 1, "rule-4": 84, "rule-6": 2, "rule-9-smaller": 12, "rule-9-none": 3,
    "rule-11": 1, "error-is-no": 122, "read-wait-write": 2, "refusal": 5, "no-history": 10, "payer-charged": 11,
    "payer-refused": 11, "free-version": 134, "rule-9-late": 375, "refund-lines": 14, "void-unheld": 41, "claim": 4,
    "sell-early": 9, "sell-foreign": 29, "sell-twice": 8, "undo-early": 416, "undo-late": 200, "told-early": 1,
    "undo-paid": 79, "two-claims": 2, "claim-outlives": 35, "any-claim": 144,
}  # fmt: skip
"""The first seed that caught a mutant when it was last looked for, which is tried first to save the search."""
MISTAKES = ("TypeError", "AttributeError", "NameError", "KeyError")
DOCUMENT = ROOT / "docs/reliability.md"
IN_ANOTHER_PROCESS = """
import sys
from tests.simulation.runner import run_seed
print(*(run_seed(int(seed)).digest for seed in sys.argv[1:]))
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_breaks_whatever_goes_wrong(seed: int) -> None:
    outcome = run_seed(seed)
    if outcome.violation:
        pytest.fail(report(outcome), pytrace=False)


def test_the_schedules_are_as_hostile_as_they_claim() -> None:
    counts = Counter[str]()
    for seed in SEEDS[:8]:
        counts.update(run_seed(seed).counts)
    injected = ("lost", "cut_off", "doubled", "late", "slow", "reset", "partitions", "crashes", "clock_jumps")
    assert [kind for kind in injected if counts[kind] < 4] == []
    ends = (
        "verdict PAID",
        "verdict RELEASED",
        "verdict REFUSED",
        "payment CAPTURED",
        "payment VOIDED",
        "checkout PAID",
        "claims told",
        "payments under a claim",
    )
    assert [end for end in ends if not counts[end]] == []


@pytest.mark.parametrize("seed", CALM_SEEDS)
def test_no_till_is_at_a_loss_while_nothing_goes_wrong(seed: int) -> None:
    """Whoever looks all the time never reads DO_NOT_RETRY, not for a moment."""
    assert simulate(parts(), seed, watched_shoppers, troubles=False).violation == ""


@pytest.mark.process
def test_a_seed_is_the_same_schedule_in_every_process() -> None:
    seeds = [3, 5, 8]
    here = [run_seed(seed).digest for seed in seeds]
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-c", IN_ANOTHER_PROCESS, *map(str, seeds)]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        assert (done.stdout.split(), done.stderr) == (here, "")
    assert len(set(here)) == len(seeds)


def test_a_seed_is_the_same_schedule_whatever_ran_before_in_this_process() -> None:
    before = run_seed(3).digest
    token = trace_id.set("ab" * 16)
    try:
        assert run_seed(3).digest == before
    finally:
        trace_id.reset(token)


@pytest.mark.mutant
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    seeds = [CAUGHT_BY.get(name, 0), *range(SEEDS_OF_A_MUTANT.get(name, SEEDS_A_MUTANT))]
    caught = next((found for seed in seeds if (found := run_seed(seed, name).violation)), "")
    assert caught
    assert [error for error in MISTAKES if error in caught] == [], f"the mutant itself does not work: {caught}"


def test_a_mutant_is_gone_after_its_test() -> None:
    shipped = [run_seed(seed).digest for seed in SEEDS[:4]]
    assert any(run_seed(seed, "post-early").violation for seed in SEEDS[:4])
    assert [run_seed(seed).digest for seed in SEEDS[:4]] == shipped


GUARDS = [
    pytest.param(
        order_operations,
        "complete_order_payment",
        "    if payment.state is not PaymentState.GRANTED:\n        return payment, order\n",
        id="order_service: the first verdict stands",
    ),
    pytest.param(
        payment_operations,
        "_end",
        "    if payment.state is PaymentState.AUTHORIZED:\n"
        "        assert payment.hold_id is not None\n"
        "        entries.void(transaction, _transfer(payment), payment.hold_id, now_ms)\n",
        id="thirdparty_server: what was held is given back",
    ),
]


def without(module: ModuleType, name: str, guard: str) -> Any:
    """A shipped function as its file has it, less a few lines."""
    source = inspect.getsource(getattr(module, name))
    assert source.count(guard) == 1, f"{module.__name__}.{name} no longer has this guard: change this test with it"
    namespace = dict(vars(module))
    exec(source.replace(guard, ""), namespace)
    return namespace[name]


@pytest.mark.parametrize(("module", "name", "guard"), GUARDS)
def test_it_is_the_shipped_code_that_is_driven(module: ModuleType, name: str, guard: str) -> None:
    with patch.object(module, name, without(module, name, guard)):
        assert any(run_seed(seed).violation for seed in SEEDS)


def test_a_failing_seed_says_how_to_see_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    outcome = next(found for seed in SEEDS if (found := run_seed(seed, "post-early")).violation)
    text = report(outcome, "post-early")
    assert outcome.violation in text
    assert f"replay with: make simulate SEED={outcome.seed} MUTANT=post-early" in text
    trace = (tmp_path / f"tillmesh-seed-{outcome.seed}-post-early.txt").read_text()
    assert outcome.violation in trace
    assert "CreatePayment" in trace


def test_the_failure_table_is_what_happens() -> None:
    words: dict[Case, str] = {}
    for case in cases():
        played = play(parts(), case.fault, case.script)
        assert (played.outcome.violation, case.fault.happened) == ("", True), (case.row, case.column)
        assert played.took_s < 60, (case.row, case.column)
        words[case] = played.word
    assert as_markdown(words) in DOCUMENT.read_text(), f"it should say:\n{as_markdown(words)}"


def test_the_document_names_every_mutant() -> None:
    rows = [f"| `{name}` | {mutant.what} |" for name, mutant in MUTANTS.items()]
    assert "\n".join(rows) in DOCUMENT.read_text()
