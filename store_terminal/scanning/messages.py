"""Scan rules and decisions on the wire."""

from collections.abc import Sequence

from store_terminal.scanning.model import (
    Decision,
    DecisionKind,
    InStoreCodeRule,
    ScanRules,
    Value,
)
from store_terminal.scanning.rules import LONG, PRICE_CHECK_DIGITS, SHORT, is_in_store_prefix
from tillmesh.api.terminal.v1 import decision_pb2, scan_rules_pb2
from tillmesh.rpc.fields import Fields, shown
from tillmesh.rpc.messages import to_timestamp

RULES_MAX = 100
PREFIX_DIGITS_MAX = 7
EXPONENT_MAX = 3
_VALUES = scan_rules_pb2.InStoreCodeRule.Value
_KINDS = decision_pb2.Decision.Kind
_POSITIONS = (
    "article_start",
    "article_digits",
    "value_start",
    "value_digits",
    "value_exponent",
    "price_check_position",
)


def to_rules(rules: ScanRules) -> scan_rules_pb2.ScanRules:
    """The rules."""
    return scan_rules_pb2.ScanRules(
        rules=[_to_rule(rule) for rule in rules.rules],
        add_to_line=rules.add_to_line,
        version=rules.version,
        update_time=to_timestamp(rules.updated_at_ms) if rules.version else None,
    )


def to_decision(decision: Decision) -> decision_pb2.Decision:
    """A question for somebody at the till."""
    message = decision_pb2.Decision(
        kind=_KINDS.Value(f"KIND_{decision.kind}"), minimum_age_years=decision.minimum_age_years
    )
    if decision.passed_at:
        message.passed_time.FromDatetime(decision.passed_at)
    return message


def decided(fields: Fields, kinds: Sequence[int]) -> frozenset[DecisionKind]:
    """What somebody at the till has answered with yes."""
    known: dict[int, DecisionKind] = {_KINDS.Value(f"KIND_{kind}"): kind for kind in DecisionKind}
    fields.require(len(kinds) <= len(known), "decided", f"must be at most {len(known)}, were {len(kinds)}")
    for index, kind in enumerate(kinds[: len(known)]):
        fields.require(kind in known, f"decided[{index}]", "must be a Kind", kind)
    return frozenset(known[kind] for kind in kinds if kind in known)


def in_store_code_rules(
    fields: Fields, messages: Sequence[scan_rules_pb2.InStoreCodeRule]
) -> tuple[InStoreCodeRule, ...]:
    """Rules off the wire, each prefix and length once."""
    fields.require(len(messages) <= RULES_MAX, "rules.rules", f"must be at most {RULES_MAX}, were {len(messages)}")
    rules: dict[tuple[str, int], InStoreCodeRule] = {}
    for index, message in enumerate(messages[:RULES_MAX]):
        name = f"rules.rules[{index}]"
        rule = _rule(fields, name, message)
        if (rule.prefix, rule.code_length) in rules:
            what = f"must be there once for {rule.code_length} digits, {shown(rule.prefix)} came before"
            fields.require(False, f"{name}.prefix", what)
        rules[rule.prefix, rule.code_length] = rule
    return tuple(rules.values())


def _to_rule(rule: InStoreCodeRule) -> scan_rules_pb2.InStoreCodeRule:
    return scan_rules_pb2.InStoreCodeRule(
        prefix=rule.prefix,
        code_length=rule.code_length,
        value=_VALUES.Value(f"VALUE_{rule.value}"),
        **{name: getattr(rule, name) for name in _POSITIONS},
    )


def _rule(fields: Fields, name: str, message: scan_rules_pb2.InStoreCodeRule) -> InStoreCodeRule:
    known: dict[int, Value] = {_VALUES.Value(f"VALUE_{value}"): value for value in Value}
    length = message.code_length or LONG
    fields.require(length in (LONG, SHORT), f"{name}.code_length", f"must be {LONG} or {SHORT}", length)
    fields.require(message.value in known, f"{name}.value", "must be a Value", message.value)
    positions = {position: getattr(message, position) for position in _POSITIONS}
    rule = InStoreCodeRule(message.prefix, length, known.get(message.value, Value.WHOLE_CODE), **positions)
    if length in (LONG, SHORT):
        _require_prefix(fields, name, rule)
        if rule.value is not Value.WHOLE_CODE:
            _require_positions(fields, name, rule)
    if message.value == _VALUES.Value("VALUE_WHOLE_CODE"):
        for position, value in positions.items():
            fields.require(value == 0, f"{name}.{position}", "must be 0 with WHOLE_CODE", value)
    return rule


def _require_prefix(fields: Fields, name: str, rule: InStoreCodeRule) -> None:
    ok = len(rule.prefix) <= PREFIX_DIGITS_MAX and is_in_store_prefix(rule.prefix, rule.code_length)
    begins = "02 or 2" if rule.code_length == LONG else "0 or 2"
    what = f"must be 1 to {PREFIX_DIGITS_MAX} digits that begin with {begins}"
    fields.require(ok, f"{name}.prefix", what, rule.prefix)


def _require_positions(fields: Fields, name: str, rule: InStoreCodeRule) -> None:
    """Refuses positions outside the code, and parts that overlap; only the article may begin within the prefix."""
    last = rule.code_length - 1  # its last digit is the check digit
    taken = dict.fromkeys(range(1, min(len(rule.prefix), PREFIX_DIGITS_MAX) + 1), "prefix")
    checked = rule.price_check_position
    parts = [
        ("article_start", rule.article_start, "article_digits", rule.article_digits),
        ("value_start", rule.value_start, "value_digits", rule.value_digits),
        *([("price_check_position", checked, "", 1)] if checked else []),
    ]
    for start_name, start, count_name, count in parts:
        if not 1 <= start <= last:
            fields.require(False, f"{name}.{start_name}", f"must be 1 to {last}", start)
        elif not 1 <= count <= last + 1 - start:
            fields.require(False, f"{name}.{count_name}", f"must be 1 to {last + 1 - start}", count)
        else:
            others = {taken.setdefault(position, start_name) for position in range(start, start + count)}
            others -= {start_name, "prefix" if start_name == "article_start" else ""}
            what = f"must not overlap with {', '.join(sorted(others))}"
            fields.require(not others, f"{name}.{start_name}", what, start)
    fits = not checked or rule.value_digits in PRICE_CHECK_DIGITS
    fields.require(fits, f"{name}.price_check_position", "must be 0 unless value_digits is 4 or 5", checked)
    ok = abs(rule.value_exponent) <= EXPONENT_MAX
    fields.require(ok, f"{name}.value_exponent", f"must be -{EXPONENT_MAX} to {EXPONENT_MAX}", rule.value_exponent)
