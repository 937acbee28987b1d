"""Prints what a stream sends: an event a line, for people or as JSON."""

import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from grpc import StatusCode, aio

from tillmesh.cli.cursor_file import CursorFile
from tillmesh.cli.display import as_json, out, warn
from tillmesh.cli.options import run_async
from tillmesh.client.connections import Connections
from tillmesh.client.failures import Failure
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.foreign_text import named, visible_json

OLDEST = "oldest"
Line = Callable[[Any], str]
"""The line for an update."""


class Start(StrEnum):
    """Where a watch begins that has no cursor yet."""

    NOW = "now"
    OLDEST = "oldest"


From = Annotated[
    Start, typer.Option("--from", help="Begin now, or with the oldest event that the server keeps; without a cursor.")
]
CursorPath = Annotated[
    Path | None,
    typer.Option(
        "--cursor-file",
        metavar="FILE",
        help="Keep here how far it is, and go on from there next time. Written after each answer was printed.",
    ),
]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Only events of this type, such as PAID; may be given several times."),
]


def types_of(event: Any, wanted: Sequence[str] | None) -> list[Any]:
    """The types of events that somebody typed in."""
    known = [name.removeprefix("TYPE_") for name in event.Type.keys() if not name.endswith("UNSPECIFIED")]  # noqa: SIM118
    found = []
    for name in wanted or ():
        if name.upper().replace("-", "_") not in known:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint="--type")
        found.append(event.Type.Value(f"TYPE_{name.upper().replace('-', '_')}"))
    return found


class Watch:
    """One run of a watch, from a cursor to Ctrl-C."""

    def __init__(self, start: Start, cursor_path: Path | None, line: Line) -> None:
        self._file = CursorFile(cursor_path) if cursor_path else None
        self._line = line
        self._told_of_cut = False
        self.cursor = (self._file.read() if self._file else "") or (OLDEST if start is Start.OLDEST else "")

    async def print_all(
        self, connections: Connections, method: "aio.UnaryStreamMultiCallable[Any, Any]", request: Any
    ) -> None:
        """Prints until it is cancelled. A cursor is kept once all before it was printed."""
        request.cursor = self.cursor
        try:
            async with aclosing(connections.watch(method, request, self._tell_cut)) as answers:
                async for answer in answers:
                    self._told_of_cut = False
                    self._print(answer)
                    if self._file:
                        self._file.keep(answer.cursor)
        except Refusal as refusal:
            if refusal.code is not StatusCode.OUT_OF_RANGE:
                raise
            raise self._expired() from refusal

    def _print(self, answer: Any) -> None:
        if not answer.updates:
            return
        last = len(answer.updates) - 1
        lines = [
            _as_json(update, answer.cursor if index == last else "") if as_json.get() else self._line(update)
            for index, update in enumerate(answer.updates)
        ]
        out.print("\n".join(lines), soft_wrap=True)  # flushes

    def _tell_cut(self, failure: Failure) -> None:
        """Once, until there is an answer again."""
        if not self._told_of_cut:
            warn(f"{failure} The watch goes on as soon as there is an answer.")
        self._told_of_cut = True

    def _expired(self) -> Failure:
        why = "its events are no longer kept, or it is of another database"
        if self._file:
            return Failure(
                f"The cursor in {named(self._file.path)} has expired: {why}. "
                "List the records to see how they stand, delete the file, and watch again."
            )
        return Failure(f"The cursor has expired: {why}. List the records to see how they stand, and watch again.")


def run_watch(watch: Coroutine[Any, Any, None]) -> None:
    """Runs a watch; Ctrl-C is its proper end."""
    with suppress(KeyboardInterrupt):
        run_async(watch)


def _as_json(update: Message, cursor: str) -> str:
    told = MessageToDict(update, preserving_proto_field_name=True)
    return visible_json(json.dumps(told | ({"cursor": cursor} if cursor else {})))
