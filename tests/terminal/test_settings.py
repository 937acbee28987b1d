"""How the server is told which till it is."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--store-id", "store-1", "--currency", "GPB"], "--currency: must be an ISO 4217 currency with a minor unit"),
        (["--store-id", "store 1"], "--store-id"),
        ([], "--store-id: Field required"),
        (["--store-id", "store-1", "--payment-wait-s", "0"], "--payment-wait-s"),
    ],
)
def test_a_till_that_is_told_nonsense_says_what_and_does_not_start(flags: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, "-m", "store_terminal", *flags], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"store_terminal: {said}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
