"""How the server is told which till it is."""

import pytest

from store_terminal.server import TerminalSettings
from tillmesh.rpc.settings import load_settings


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--store-id", "store-1", "--currency", "GPB"], "--currency: must be an ISO 4217 currency with a minor unit"),
        (["--store-id", "store 1"], "--store-id"),
        ([], "--store-id: Field required"),
        (["--store-id", "store-1", "--payment-wait-s", "0"], "--payment-wait-s"),
        (["--store-id", "store-1", "--receipt-language", "tlh"], "--receipt-language: must be one of de, en"),
        (["--store-id", "store-1", "--receipt-columns", "40"], "--receipt-columns: must be 32, 42 or 48"),
        (["--store-id", "store-1", "--code-page", "cp1252"], "--code-page"),
    ],
)
def test_a_till_that_is_told_nonsense_says_what_and_does_not_start(
    capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        load_settings(TerminalSettings, flags)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"store_terminal: {said}")


@pytest.mark.parametrize(
    ("flags", "included"), [([], True), (["--prices-include-tax"], True), (["--no-prices-include-tax"], False)]
)
def test_a_till_says_whether_its_prices_include_their_taxes(flags: list[str], included: bool) -> None:
    settings = load_settings(TerminalSettings, ["--insecure", "--store-id", "store-1", *flags])
    assert settings.till().prices_include_tax is included


def test_the_time_to_cancel_is_part_of_the_time_that_a_till_waits() -> None:
    for wait_s, margin_ms in ((60, 3_000), (4, 1_000), (0.1, 25)):
        settings = load_settings(
            TerminalSettings, ["--insecure", "--store-id", "store-1", "--payment-wait-s", str(wait_s)]
        )
        assert settings.till().margin_ms == margin_ms
