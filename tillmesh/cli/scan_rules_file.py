"""The scan rules of a CSV file: each row is a rule, or a line that says what is wrong with it."""

import re
from collections.abc import Sequence
from pathlib import Path

from tillmesh.api.terminal.v1.scan_rules_pb2 import InStoreCodeRule
from tillmesh.cli.csv_rows import (
    BadFile,
    Row,
    Wrong,
    name_of,
    printable,
    read_rows,
    require_known_columns,
    require_whole_row,
    whole_number,
)
from tillmesh.runtime.errors import Refusal

REQUIRED = ("prefix", "value")
POSITIONS = (
    *("code_length", "article_start", "article_digits", "value_start", "value_digits", "value_exponent"),
    "price_check_position",
)
INT32_DIGITS_MAX = 9
_FIELD = re.compile(r"rules\.rules\[(\d+)\]\.([a-z_]+)")


class ScanRulesFile:
    """A file of rules; `lines` says where each rule stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rules: list[InStoreCodeRule] = []
        self.lines: list[int] = []
        self.wrong: list[Wrong] = []
        for row in read_rows(path, REQUIRED):
            if not (self.rules or self.wrong):
                require_known_columns(path, row.header, (*REQUIRED, *POSITIONS))
            try:
                self.rules.append(_rule(row))
                self.lines.append(row.line_number)
            except ValueError as error:
                self.wrong.append(Wrong(row.line_number, printable(str(error))))
        if not (self.rules or self.wrong):
            raise BadFile(f"{path}: line 1: there is no rule below the header")

    def refused_rows(self, refusal: Refusal) -> Sequence[Wrong]:
        """The rows that the terminal refused; none where it refused something else."""
        found = [(_FIELD.match(violation.field), violation.description) for violation in refusal.violations]
        return [Wrong(self.lines[int(field[1])], f"{field[2]} {description}") for field, description in found if field]


def _rule(row: Row) -> InStoreCodeRule:
    """The rule of a row; ValueError says which column is wrong, its value, and why."""
    require_whole_row(row)
    numbers = {column: whole_number(row, column, negative=True) for column in POSITIONS}
    for column, number in numbers.items():
        if abs(number) >= 10**INT32_DIGITS_MAX:
            raise ValueError(f"{column} {number} must have at most {INT32_DIGITS_MAX} digits")
    value = InStoreCodeRule.Value.Value(name_of(row, "value", "VALUE", InStoreCodeRule.Value.keys()))
    return InStoreCodeRule(prefix=row.cell("prefix").strip(), value=value, **numbers)
