"""The rules for in-store codes: set as a whole, read again, and what is wrong with them named."""

import asyncio
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from store_terminal.scanning.messages import in_store_code_rules
from tests.terminal.scans import EAN, PRICE_RULE, WEIGHT_RULE, Rule, Scanner, says
from tillmesh.api.terminal.v1 import scan_rules_pb2
from tillmesh.api.terminal.v1 import scan_service_pb2 as api
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.messages import to_timestamp
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

ITEM = {"article_start": 3, "article_digits": 5}
FULL = Rule(
    prefix="2801",
    code_length=13,
    value=Rule.VALUE_AMOUNT,
    article_start=5,
    article_digits=2,
    value_start=8,
    value_digits=5,
    value_exponent=-1,
    price_check_position=7,
)
SHORT = Rule(prefix="2", code_length=8, value=Rule.VALUE_WHOLE_CODE)


async def read(scanner: Scanner) -> scan_rules_pb2.ScanRules:
    return await scanner.inside.scans.GetScanRules(api.GetScanRulesRequest())


async def test_rules_are_read_as_they_were_set(scanner: Scanner) -> None:
    assert MessageToDict(await read(scanner)) == {}
    rules = await scanner.rules(FULL, SHORT, WEIGHT_RULE, add_to_line=True)
    assert await read(scanner) == rules
    assert (rules.version, rules.add_to_line) == (1, True)
    assert rules.update_time == to_timestamp(scanner.clock.now_ms())
    assert [(rule.prefix, rule.code_length) for rule in rules.rules] == [("2801", 13), ("2", 8), ("21", 13)]
    assert rules.rules[0] == FULL
    scanner.clock.advance(1)
    rules = await scanner.rules()
    assert (rules.version, rules.add_to_line, list(rules.rules)) == (2, False, [])
    assert await read(scanner) == rules


async def test_of_two_who_change_the_rules_the_second_reads_them_again(scanner: Scanner) -> None:
    request_id = new_request_id()
    first = await scanner.rules(WEIGHT_RULE, request_id=request_id)
    for stale in (0, 2):
        with says("SCAN_RULES_VERSION_MISMATCH"):
            await scanner.rules(PRICE_RULE, version=stale)
    assert await scanner.rules(WEIGHT_RULE, version=0, request_id=request_id) == first
    with says("REQUEST_ID_REUSED"):
        await scanner.rules(PRICE_RULE, version=0, request_id=request_id)
    assert await read(scanner) == first


async def test_of_many_who_set_the_rules_at_once_one_does(scanner: Scanner) -> None:
    for version in range(2):
        setting = [scanner.rules(WEIGHT_RULE, version=version) for _ in range(8)]
        done = await asyncio.gather(*setting, return_exceptions=True)
        assert [each.version for each in done if isinstance(each, scan_rules_pb2.ScanRules)] == [version + 1]
        refused = {each.reason for each in done if isinstance(each, Refusal)}
        assert refused <= {"SCAN_RULES_VERSION_MISMATCH", "CONCURRENT_CHANGE"}
    assert (await read(scanner)).version == 2


def changed(rule: Rule, **what: Any) -> Rule:
    return Rule(**{**{field.name: value for field, value in rule.ListFields()}, **what})


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (Rule(prefix="21"), "value"),
        (changed(WEIGHT_RULE, value=7), "value"),
        (changed(WEIGHT_RULE, code_length=12), "code_length"),
        (changed(WEIGHT_RULE, prefix=""), "prefix"),
        (changed(WEIGHT_RULE, prefix="30"), "prefix"),
        (changed(WEIGHT_RULE, prefix="0"), "prefix"),
        (changed(WEIGHT_RULE, prefix="2x"), "prefix"),
        (changed(WEIGHT_RULE, prefix="2٣"), "prefix"),
        (changed(WEIGHT_RULE, prefix="21000010"), "prefix"),
        (changed(SHORT, prefix="1"), "prefix"),
        (changed(SHORT, article_start=1), "article_start"),
        (changed(SHORT, value_exponent=1), "value_exponent"),
        (changed(WEIGHT_RULE, article_start=0), "article_start"),
        (changed(WEIGHT_RULE, article_start=-1), "article_start"),
        (changed(WEIGHT_RULE, article_digits=0), "article_digits"),
        (changed(WEIGHT_RULE, article_digits=-2), "article_digits"),
        (changed(WEIGHT_RULE, article_digits=6), "value_start"),
        (changed(WEIGHT_RULE, value_start=2), "value_start"),
        (changed(WEIGHT_RULE, value_digits=6), "value_digits"),
        (changed(WEIGHT_RULE, value_digits=2**31 - 1), "value_digits"),
        (changed(WEIGHT_RULE, value_exponent=4), "value_exponent"),
        (changed(WEIGHT_RULE, value_exponent=-4), "value_exponent"),
        (changed(FULL, value_start=9, value_digits=3), "price_check_position"),
        (changed(FULL, price_check_position=8), "price_check_position"),
        (changed(FULL, price_check_position=2), "price_check_position"),
        (changed(FULL, price_check_position=13), "price_check_position"),
    ],
)
def test_a_rule_that_makes_no_sense_is_named_with_its_field(rule: Rule, field: str) -> None:
    with says("INVALID_FIELD", f"rules.rules[1].{field}"), Fields() as fields:
        in_store_code_rules(fields, [PRICE_RULE, rule])


async def test_a_rule_is_there_once_and_there_are_at_most_100(scanner: Scanner) -> None:
    with says("INVALID_FIELD", "rules.rules[1].prefix"):
        await scanner.rules(WEIGHT_RULE, changed(WEIGHT_RULE, code_length=13))
    assert (await read(scanner)).version == 0
    many = [Rule(prefix=f"2{number:03}", value=Rule.VALUE_WHOLE_CODE) for number in range(101)]
    with says("INVALID_FIELD", "rules.rules"):
        await scanner.rules(*many)
    assert len((await scanner.rules(*many[:100])).rules) == 100
    with says("INVALID_FIELD", "rules.version"):
        await scanner.rules(version=-1)


async def test_the_article_may_begin_within_the_prefix(scanner: Scanner) -> None:
    """A longer prefix goes before a shorter one, and both read the same digits as the article."""
    special = changed(WEIGHT_RULE, prefix="2100001", value=Rule.VALUE_AMOUNT)
    await scanner.rules(WEIGHT_RULE, special)
    with says("ITEM_NOT_FOUND"):
        await scanner.line("2100001027506")


async def test_a_code_that_no_rule_is_about_is_read_without_them(scanner: Scanner) -> None:
    await scanner.rules(WEIGHT_RULE, SHORT)
    with says("GTIN_NOT_FOUND"):
        await scanner.line(EAN)
