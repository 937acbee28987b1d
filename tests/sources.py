"""The project's own Python, as syntax trees."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED_FOLDERS = ("tillmesh/runtime", "tillmesh/auth", "tillmesh/storage", "tillmesh/rpc")
SERVICES = ("order_service", "thirdparty_server", "store_terminal")


def files(folder: str) -> list[Path]:
    """All Python files below a folder of the project."""
    return sorted((ROOT / folder).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(), str(path))


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import, which this does not follow"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules() -> dict[str, set[str]]:
    """What each module of the product imports of the product; generated code apart."""
    paths = [path for folder in ("tillmesh", *SERVICES) for path in files(folder)]
    known = {_module(path): path for path in paths if "api" not in path.parts and path.stem != "__init__"}
    return {
        module: {found for name in imported(path) if (found := _known(name, known)) and found != module}
        for module, path in known.items()
    }


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _known(name: str, known: dict[str, Path]) -> str | None:
    """The module that a full name is, or is of; None for what is no module of the product."""
    return next((each for each in (name, name.rpartition(".")[0]) if each in known), None)
