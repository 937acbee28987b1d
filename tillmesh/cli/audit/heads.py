"""Where the histories ended at some time, as a file to prove later that they have only grown."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tillmesh.cli.csv_rows import BadFile, Row, printable, read_rows

COLUMNS = ("table", "key", "rows", "hash")


@dataclass(frozen=True, order=True, slots=True)
class Head:
    """Where the history of one record ends: its table, its key, how many rows it has, the hash of the last."""

    table: str
    key: str
    rows: int
    hash: bytes


def read_heads(file: Path) -> list[Head]:
    """The heads of a file that --save wrote."""
    return [_head(file, row) for row in read_rows(file, COLUMNS)]


def as_csv(heads: Iterable[Head]) -> bytes:
    """The sorted heads as a file: the same heads are always the same bytes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((head.table, head.key, head.rows, head.hash.hex()) for head in sorted(heads))
    return text.getvalue().encode()


def digest(heads: Iterable[Head]) -> str:
    """SHA-256 of the heads as a file, as hex."""
    return sha256(as_csv(heads)).hexdigest()


def _head(file: Path, row: Row) -> Head:
    table, key, rows, chain_hash = (row.cell(column) for column in COLUMNS)
    is_head = re.fullmatch("[1-9][0-9]{0,17}", rows) and re.fullmatch("[0-9a-f]{64}", chain_hash)
    if not is_head or printable(table + key) != table + key:
        raise BadFile(f"{file}: line {row.line_number}: this is no head that --save wrote")
    return Head(table, key, int(rows), bytes.fromhex(chain_hash))
