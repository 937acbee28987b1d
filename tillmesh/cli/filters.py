"""Options of commands that list records."""

from collections.abc import AsyncIterator, Iterable
from typing import Annotated, TypeVar

import typer

SHOWN = 50
Item = TypeVar("Item")
Payer = Annotated[str, typer.Option("--payer", help="Only of this identity, or under this reference.")]
StoreId = Annotated[str, typer.Option("--store", help="Only of this store.")]
State = Annotated[list[str] | None, typer.Option("--state", help="Only in this state; may be given several times.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Show at most this many.")]


async def first(items: AsyncIterator[Item], limit: int) -> list[Item]:
    """The first items of a list, as many as are to be shown."""
    found: list[Item] = []
    async for item in items:
        found.append(item)
        if len(found) == limit:
            break
    return found


def state_name(names: Iterable[str], wanted: str) -> str:
    """The full name of a state that somebody typed in."""
    known = [name for name in names if not name.endswith("UNSPECIFIED")]
    full = f"STATE_{wanted.upper()}"
    if full not in known:
        choice = ", ".join(name.removeprefix("STATE_") for name in known)
        raise typer.BadParameter(f"{wanted!r} is not one of {choice}", param_hint="--state")
    return full
