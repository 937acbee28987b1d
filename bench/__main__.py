"""`python -m bench`: what `make bench` runs."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.databases import KINDS
from bench.profiling import write_profiles
from bench.run import FULL, QUICK
from bench.session import BY_DEFAULT, PARTS, measure, started
from tillmesh.client.failures import Failure

RESULTS = Path(__file__).parent / "results"
EXAMPLES = (
    "python -m bench --quick",
    "python -m bench --only rpc,checkout --repeat 5",
    "python -m bench --only rpc --limit LockOrder=3 --limit CreateOrder=3",
    "python -m bench --only soak --soak 100000",
    "python -m bench --only capacity,backlog --database postgres --unfinished 5000",
    "python -m bench --profile --out /tmp/profiles",
)

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(epilog="\n\n".join(("**Examples**", *EXAMPLES)))
def main(
    only: Annotated[str, typer.Option(metavar="PART,...", help=f"What to measure of {', '.join(PARTS)}.")] = ",".join(
        BY_DEFAULT
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="See in a minute whether all works; the figures are worth nothing.")
    ] = False,
    repeat: Annotated[
        int | None, typer.Option(min=1, help=f"How often to measure; the median counts. [default: {FULL.repeat}]")
    ] = None,
    database: Annotated[
        str, typer.Option(help=f"Where order service and payment server keep their data: {' or '.join(KINDS)}.")
    ] = next(iter(KINDS)),
    sizes: Annotated[
        str,
        typer.Option(
            "--stored",
            metavar="N,...",
            help=f"Orders that the part stored finds there. [default: {','.join(map(str, FULL.stored))}]",
        ),
    ] = "",
    checkouts: Annotated[
        int | None,
        typer.Option("--soak", metavar="N", min=100, help=f"Checkouts of the part soak. [default: {FULL.soak}]"),
    ] = None,
    unfinished: Annotated[
        int | None,
        typer.Option(metavar="N", min=10, help=f"Payments of the part backlog. [default: {FULL.unfinished}]"),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="COST=RATIO", help="A cost that is too high above this: exit status 1. Repeatable."),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Measure nothing; write where the time of the servers goes.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results. [default: bench/results; with --quick, none]")
    ] = None,
) -> None:
    """Measure how fast tillmesh is, as ratios to a server that does nothing, on one machine in one run.

    It takes ten minutes on two cores that do nothing else. It starts servers of its own and leaves nothing behind
    but the results; bench/README.md says how to read them.
    """
    given: dict[str, Any] = {"repeat": repeat, "stored": _sizes(sizes), "soak": checkouts, "unfinished": unfinished}
    scale = replace(QUICK if quick else FULL, **{name: value for name, value in given.items() if value})
    if database not in KINDS:
        raise typer.BadParameter(f"{database!r} is not {' or '.join(KINDS)}", param_hint="--database")
    if profile:
        with started(database, scale) as run:
            paths = write_profiles(run, out or RESULTS)
        return Console().print(*paths, sep="\n")
    parts, limits = _parts(only), dict(map(_limit, limit or []))
    good = measure(database, scale, parts, limits, out or (None if quick else RESULTS))
    raise typer.Exit(0 if good else 1)


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(PARTS)}", param_hint="--only")
    return names


def _sizes(text: str) -> tuple[int, ...]:
    sizes = text.split(",") if text else []
    if not all(map(str.isdecimal, sizes)):
        raise typer.BadParameter(f"must be numbers with commas between them, was {text!r}", param_hint="--stored")
    return tuple(map(int, sizes))


def _limit(text: str) -> tuple[str, float]:
    name, _, ratio = text.rpartition("=")
    try:
        return name, float(ratio)
    except ValueError:
        raise typer.BadParameter(f"must be COST=RATIO, as LockOrder=3, was {text!r}", param_hint="--limit") from None


def _interrupt(_number: int, _frame: object) -> None:
    """Being told to end is Ctrl-C: what was started is stopped."""
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    # Said outright, as a shell starts what runs in its background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except Failure as error:
        raise SystemExit(f"bench: {error}") from None
