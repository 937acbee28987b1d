"""Reads a file of baskets: one a line, the names of its items separated by commas."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tillmesh.cli.csv_rows import BadFile, printable, read_records
from tillmesh.cli.groceries.goods import Article, articles
from tillmesh.lines import LINES_MAX
from tillmesh.rpc.line_messages import TITLE_MAX


@dataclass(frozen=True, slots=True)
class Basket:
    """What one shopper bought."""

    line_number: int
    """In the file."""
    articles: Sequence[Article]

    @property
    def total_minor(self) -> int:
        """One piece of each."""
        return sum(each.price_minor for each in self.articles)


@dataclass(frozen=True, slots=True)
class BasketFile:
    """All baskets that are to be played, and the articles in them."""

    baskets: Sequence[Basket]
    articles: Sequence[Article]


def read_baskets(path: Path, limit: int | None) -> BasketFile:
    """The first baskets of a file, or all; blanks around a name say nothing."""
    named: list[tuple[int, list[str]]] = []
    for line_number, cells in read_records(path):
        if limit is not None and len(named) == limit:
            break
        named.append((line_number, _names(path, line_number, cells)))
    if not named:
        raise BadFile(f"{path}: line 1: there is no basket; each line is the names of its items, with commas between")
    known = articles(name for _, names in named for name in names)
    baskets = [Basket(line_number, [known[name] for name in names]) for line_number, names in named]
    return BasketFile(baskets, list(known.values()))


def _names(path: Path, line_number: int, cells: Sequence[str]) -> list[str]:
    if len(cells) > LINES_MAX:
        raise BadFile(f"{path}: line {line_number}: the basket has {len(cells)} items, {LINES_MAX} may be")
    names = [cell.strip() for cell in cells]
    for position, name in enumerate(names, 1):
        rule = "" if 1 <= len(name) <= TITLE_MAX else f"be 1 to {TITLE_MAX} characters"
        if not name.isprintable():
            rule = "have printable characters only, in UTF-8"
        if rule:
            shown = printable(repr(name[:80]))
            raise BadFile(f"{path}: line {line_number}: item {position}, {shown}, must {rule}")
    return names
