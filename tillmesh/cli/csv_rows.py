"""The rows of a CSV or gzipped CSV file, with the line that each starts in.

What makes the file as a whole untrustworthy raises `BadFile`; bytes that are not UTF-8 pass as
lone surrogates (PEP 383), so that the row that has them can be reported.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tillmesh.cli.display import warn
from tillmesh.client.failures import Failure

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 20
DIGITS_MAX = 18
WRONG_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One record: its cells in the order of the header."""

    line_number: int
    header: Sequence[str]
    cells: Sequence[str]

    def cell(self, column: str) -> str:
        """The cell of a column; empty where the row is too short to have it."""
        index = self.header.index(column)
        return self.cells[index] if index < len(self.cells) else ""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A row that is wrong, and why."""

    line_number: int
    problem: str


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Every row after a header that has at least `columns`, in any order."""
    records = _records(path, _text(path))
    header_line, header = next(records, (1, []))
    if not header:
        raise BadFile(f"{path}: line 1: the file is empty; its first line must name the columns {','.join(columns)}")
    for column in columns:
        if header.count(column) != 1:
            problem = "is missing" if column not in header else "is there twice"
            raise BadFile(f"{path}: line {header_line}: column {column} {problem}, the header is {_shown(header)}")
    for line_number, cells in records:
        yield Row(line_number, header, cells)


def read_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Every record of a file without a header that is not a blank line, with the line that it starts in."""
    yield from _records(path, _text(path))


def require_known_columns(path: Path, header: Sequence[str], known: Sequence[str]) -> None:
    """Refuses a column that would be left out, such as one that is misspelt."""
    for column in header:
        if column not in known or header.count(column) != 1:
            problem = "is there twice" if column in known else f"is unknown, {', '.join(known)} are possible"
            raise BadFile(f"{path}: line 1: column {printable(repr(column))} {problem}")


def require_whole_row(row: Row) -> None:
    """ValueError for a row with more or fewer cells than the header, or with bytes that are no text."""
    if len(row.cells) != len(row.header):
        raise ValueError(f"the row has {len(row.cells)} fields, the header has {len(row.header)}")
    for column, cell in zip(row.header, row.cells, strict=True):
        if not cell.isascii() and printable(cell) != cell:
            raise ValueError(f"{column} {cell!r} is not UTF-8")


def optional(row: Row, column: str) -> str:
    """The cell of a column that the file may lack, without blanks around it."""
    return row.cell(column).strip() if column in row.header else ""


def whole_number(row: Row, column: str, *, negative: bool = False) -> int:
    """The whole number of a column that may be empty: 0 then."""
    text = optional(row, column)
    digits = text.removeprefix("-") if negative else text
    if text and not (digits.isascii() and digits.isdigit() and len(digits) <= DIGITS_MAX):
        raise ValueError(f"{column} {text!r} must be a whole number")
    return int(text or 0)


def name_of(row: Row, column: str, prefix: str, names: Sequence[str]) -> str:
    """The full name of an enum's value, of the part that people write; that of UNSPECIFIED for nothing."""
    text = optional(row, column)
    name = f"{prefix}_{text.upper() or 'UNSPECIFIED'}"
    if name not in names:
        known = ", ".join(each.removeprefix(f"{prefix}_").lower() for each in names[1:])
        raise ValueError(f"{column} {text!r} must be one of {known}")
    return name


def refuse_rows(command: str, path: Path, wrong: Sequence[Wrong]) -> None:
    """Says what is wrong in a file, a line each; nothing is imported then."""
    if not wrong:
        return
    said = [f"{path}: line {each.line_number}: {each.problem}" for each in wrong[:WRONG_SHOWN]]
    if len(wrong) == 1:
        raise BadFile(f"{said[0]}; nothing was imported")
    for line in said:
        warn(f"tillmesh {command}: {line}")
    more = f", of which {WRONG_SHOWN} are shown" if len(wrong) > WRONG_SHOWN else ""
    raise BadFile(f"{path}: {len(wrong):,} rows are wrong{more}; nothing was imported")


def printable(text: str) -> str:
    r"""The text with bytes that are not UTF-8 written as \udcXX, so that it can be printed."""
    return text.encode("utf-8", "backslashreplace").decode()


def _shown(header: Sequence[str]) -> str:
    return printable(repr(",".join(header)[:200]))


def _records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Records that are not blank lines, each with the line it starts in."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line_number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # Where a quoted cell ends is not known, so neither is which rows it swallowed.
            raise BadFile(f"{path}: line {line_number}: malformed CSV: {error}") from None
        if cells:
            yield line_number, cells


def _text(path: Path) -> str:
    data = _bytes(path)
    if (position := data.find(b"\0")) >= 0:
        line_number = data.count(b"\n", 0, position) + 1
        raise BadFile(f"{path}: line {line_number}: a NUL byte; the file must be CSV in UTF-8")
    return data.removeprefix("\ufeff".encode()).decode("utf-8", "surrogateescape")


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            if packed:
                return _unpacked(path, gzip.GzipFile(fileobj=file))
            if path.suffix == ".gz":
                raise BadFile(f"{path}: line 1: not a gzip file, though it is named so")
            return file.read()
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror or error}") from None


def _unpacked(path: Path, file: gzip.GzipFile) -> bytes:
    data = bytearray()
    try:
        while chunk := file.read1(CHUNK_BYTES):
            data += chunk
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problem = "the gzip data is truncated" if isinstance(error, EOFError) else f"the gzip data is corrupt: {error}"
        line_number = data.count(b"\n") + 1
        raise BadFile(f"{path}: line {line_number}: {problem}") from None
    return bytes(data)


class BadFile(Failure):
    """A file as a whole cannot be used; nothing was started."""

    exit_status = 2
