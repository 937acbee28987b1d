"""Queries on the scan rules. A change is compare-and-set on the version that was read."""

from collections.abc import Sequence
from dataclasses import astuple

import orjson

from store_terminal.scanning.model import THE_RULES, InStoreCodeRule, ScanRules, Value
from store_terminal.scanning.tables import scan_rules
from tillmesh.storage.records import Records, as_text
from tillmesh.storage.statements import Transaction


def _rules(text: str) -> tuple[InStoreCodeRule, ...]:
    rows = orjson.loads(text)
    return tuple(InStoreCodeRule(prefix, length, Value(value), *rest) for prefix, length, value, *rest in rows)


def _rules_text(rules: Sequence[InStoreCodeRule]) -> str:
    return orjson.dumps([astuple(rule) for rule in rules]).decode()


RULES = Records(ScanRules, scan_rules, parts={"rules": as_text("rules", _rules, _rules_text)}, guard=("version",))


def find_rules(transaction: Transaction) -> ScanRules:
    """The rules that count; none before they are first set."""
    return RULES.find(transaction, THE_RULES) or ScanRules()
