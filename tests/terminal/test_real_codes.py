"""Real codes, as shops print them and people key them in, through ScanItem."""

import asyncio
import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

from store_terminal.tables import METADATA
from tests.sources import ROOT
from tests.terminal.scans import Answer, Rule, Scanner, scanning
from tests.terminal.test_catalogue import item
from tillmesh.gtin import as_gtin
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.schema import prepare

GTINS = ROOT / "tests/samples/gtins.csv.gz"
A_BASKET = 50
ITEMS_MAX = 1000
KNOWN, IN_STORE, WRONG_DIGIT, WRONG_LENGTH = 2_648, 38, 24, 23


def real_codes() -> list[str]:
    with gzip.open(GTINS, "rt", encoding="utf-8", newline="") as file:
        return [row["code"] for row in csv.DictReader(file)]


def is_gtin(code: str) -> bool:
    try:
        as_gtin(code)
    except ValueError:
        return False
    return True


async def outcomes(scanner: Scanner, codes: Sequence[str]) -> dict[str, list[str]]:
    """The codes by their refusal, "" for those that were added as what they are; many baskets at once."""
    found: dict[str, list[str]] = {}

    async def fill_a_basket(codes: Sequence[str]) -> None:
        basket = await scanner.basket()
        for code in codes:
            reason = ""
            try:
                answer = await scanner.scan(basket, code)
                line, basket = answer.checkout.lines[-1], answer.checkout
                assert (answer.outcome, line.line_number) == (Answer.OUTCOME_ADDED, answer.line_number)
                assert (line.item.sku, line.item.gtin) == (code, as_gtin(code))
            except Refusal as refusal:
                reason = refusal.reason
            found.setdefault(reason, []).append(code)

    await asyncio.gather(*(fill_a_basket(codes[start : start + A_BASKET]) for start in range(0, len(codes), A_BASKET)))
    return found


async def test_real_codes_are_known_or_say_why_not(tmp_path: Path, closed_port: str) -> None:
    url = f"sqlite:///{tmp_path / 'terminal.db'}"
    engine = open_engine(parse_url(url))
    prepare(engine, METADATA)
    engine.dispose()
    codes = real_codes()
    articles = list({as_gtin(code): item(code, gtins=[code]) for code in codes if is_gtin(code)}.values())
    async with scanning(url, closed_port) as scanner:
        for start in range(0, len(articles), ITEMS_MAX):
            await scanner.sells(*articles[start : start + ITEMS_MAX])
        found = await outcomes(scanner, codes)
        assert {reason: len(codes) for reason, codes in found.items()} == {
            "": KNOWN,
            "RULE_MISSING": IN_STORE,
            "CHECK_DIGIT_WRONG": WRONG_DIGIT,
            "CODE_LENGTH_WRONG": WRONG_LENGTH,
        }
        await scanner.rules(*(Rule(prefix=prefix, value=Rule.VALUE_WHOLE_CODE) for prefix in ("02", "2")))
        assert len((await outcomes(scanner, found["RULE_MISSING"]))[""]) == IN_STORE
