"""Reports a run: tables for people, the same as Markdown and JSON, and every sample behind them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Cell = str | float


@dataclass(frozen=True)
class Section:
    """A table; a number is shown with three digits that mean something."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Ratio:
    """A cost as a multiple of what it is compared with: the median of the repeats, and how far apart they are."""

    median: float
    lowest: float
    highest: float

    @staticmethod
    def of(values: Sequence[float]) -> "Ratio":
        """The ratio of several repeats; each was taken within its own repeat."""
        ordered = sorted(values)
        return Ratio(middle(ordered), ordered[0], ordered[-1])

    def spread(self) -> str:
        """From the lowest to the highest."""
        return f"{shown(self.lowest)}–{shown(self.highest)}"


@dataclass(frozen=True)
class Panel:
    """Lines in one system of axes: points (x, y) by name."""

    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Figure:
    """Panels beside each other over the same x."""

    name: str
    title: str
    x_label: str
    panels: Sequence[Panel]
    log_x: bool = False


@dataclass
class Findings:
    """The figures of one part of the benchmark."""

    sections: list[Section] = field(default_factory=list)
    costs: dict[str, Ratio] = field(default_factory=dict)
    """CPU as a multiple of that of empty calls, by what costs it."""
    figures: list[Figure] = field(default_factory=list)

    def add(self, other: "Findings") -> None:
        """Takes over those of another part."""
        self.sections += other.sections
        self.costs |= other.costs
        self.figures += other.figures


def middle(values: Iterable[float]) -> float:
    """The median; of an even number, the mean of the two in the middle."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def shown(cell: Cell) -> str:
    """A number with three digits that mean something, a text as it is."""
    if isinstance(cell, str):
        return cell
    if cell == int(cell) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}" if abs(cell) >= 1 else f"{cell:.3f}"


def print_sections(console: Console, sections: Iterable[Section]) -> None:
    """Tables for a terminal."""
    for section in sections:
        table = Table(title=section.title, title_justify="left", box=box.SIMPLE_HEAD)
        for position, column in enumerate(section.columns):
            table.add_column(column, justify="right" if position else "left")
        for row in section.rows:
            table.add_row(*(escape(shown(cell)) for cell in row))
        console.print(table)
        for note in section.notes:
            console.print(f"  {note}", style="dim", markup=False)
        console.print()


def markdown(sections: Iterable[Section], machine: Mapping[str, str]) -> str:
    """The same as a document."""
    lines = ["# Results of `make bench`", "", *(f"- {name}: {value}" for name, value in machine.items()), ""]
    for section in sections:
        lines += [f"## {section.title}", "", f"| {' | '.join(section.columns)} |"]
        lines += [f"| --- |{' ---: |' * (len(section.columns) - 1)}"]
        lines += [f"| {' | '.join(map(shown, row))} |" for row in section.rows]
        lines += ["", *(f"{note}\n" for note in section.notes)]
    return "\n".join(lines)


def save(folder: Path, findings: Findings, machine: Mapping[str, str], samples: Sequence[Mapping[str, Any]]) -> None:
    """Writes results.md and results.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(markdown(findings.sections, machine))
    tables = [
        {"title": section.title, "rows": [dict(zip(section.columns, row, strict=True)) for row in section.rows]}
        for section in findings.sections
    ]
    costs = {name: asdict(ratio) for name, ratio in findings.costs.items()}
    content = {"machine": machine, "costs": costs, "tables": tables, "samples": samples}
    (folder / "results.json").write_text(json.dumps(content, indent=1))
