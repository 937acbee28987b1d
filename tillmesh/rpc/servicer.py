"""What the servicers of all servers have in common."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from google.protobuf import field_mask_pb2
from google.protobuf.message import Message

from tillmesh.rpc.fields import Fields, shown
from tillmesh.rpc.messages import type_names
from tillmesh.rpc.paging import Page
from tillmesh.rpc.streams import PART_ROWS, Streams
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.storage.database import Database
from tillmesh.storage.feeds import EVERYTHING, Only, place_of
from tillmesh.storage.lists import Slice
from tillmesh.storage.requests import IdempotencyKey, answer_once
from tillmesh.storage.statements import Row, Transaction

Record = TypeVar("Record")
Shown = TypeVar("Shown", bound=Message)
Arguments = ParamSpec("Arguments")
MASK_PATHS_MAX = 20
RECORDS_AN_ANSWER = 10
"""Of a stream: an answer with so many of the largest records fits a message."""


@dataclass(frozen=True)
class Servicer:
    """Answers the calls of one proto service, with one coroutine for each."""

    database: Database
    clock: Clock

    def _key(self, request: Message, request_id: str) -> IdempotencyKey:
        """What makes a repeat of this request known."""
        return IdempotencyKey.of(request, request_id, self.clock.now_ms())

    def _once(
        self,
        request: Message,
        request_id: str,
        resource: str,
        read: Callable[[Transaction, str], Record],
        effect: Callable[Concatenate[Transaction, Arguments], Record],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Awaitable[Record]:
        """Makes the effect of a request once; the arguments are those of `answer_once`."""
        key = self._key(request, request_id)
        return answer_once(self.database, key, resource, read, effect, *args, **kwargs)

    async def _listed(
        self,
        request: Any,
        read: Callable[..., Sequence[Record]],
        key_of: Callable[[Record], Sequence[Any]],
        to_message: Callable[[Record], Shown],
        *filters: Any,
    ) -> tuple[list[Shown], str]:
        """A page of a list, and the token of the next page.

        `read` gets the filters, the key of the row before the page, and the number of rows to read.
        """
        page: Page[Record] = self._page(request, filters)
        return page.cut(await self.database.run(read, *filters, page.after, page.at_most), key_of, to_message)

    async def _found(
        self,
        request: Any,
        read: Callable[..., Slice[Record]],
        to_message: Callable[[Record], Shown],
        *filters: Any,
    ) -> tuple[list[Shown], str]:
        """A page of a list that `NewestFirst` reads, and the token of the next page.

        `read` gets the filters, the key of the row before the page, and the largest number of records.
        """
        page: Page[Record] = self._page(request, filters)
        found = await self.database.run(read, *filters, page.after, page.size)
        return [to_message(record) for record in found.records], page.token(found.end)

    async def _found_to_watch(
        self,
        streams: Streams,
        request: Any,
        read: Callable[..., Slice[Record]],
        to_message: Callable[[Record], Shown],
        *filters: Any,
    ) -> tuple[list[Shown], str, str]:
        """The same, and on the first page the cursor to watch from, which is of the same moment."""
        page: Page[Record] = self._page(request, filters)

        def read_both(transaction: Transaction) -> tuple[str, Slice[Record]]:
            cursor = "" if page.after else streams.newest(transaction)
            return cursor, read(transaction, *filters, page.after, page.size)

        cursor, found = await self.database.run(read_both)
        return [to_message(record) for record in found.records], page.token(found.end), cursor

    async def _watched(
        self, streams: Streams, request: Any, only: Only, types: Any, also: Only = EVERYTHING
    ) -> AsyncGenerator[tuple[Sequence[Row], str]]:
        """The answers of a stream: rows of the history that the request asks for, and the cursor behind them.

        Rows are found by `only`; of these it sends those that are `also` wanted and of the types asked for.
        """
        names = frozenset(type_names(types, request.types))
        at_most = PART_ROWS if request.events_only else RECORDS_AN_ANSWER
        place = await streams.begin(request.cursor)

        def is_wanted(row: Row) -> bool:
            return (not names or row["event"] in names) and row in also

        async with aclosing(streams.parts(place, only, is_wanted)) as parts:
            async for part in parts:
                for start in range(0, len(part.rows), at_most):
                    rows = part.rows[start : start + at_most]
                    is_last = start + at_most >= len(part.rows)
                    yield rows, streams.cursor(part.end if is_last else place_of(rows[-1]))
                if not part.rows:
                    yield (), streams.cursor(part.end)

    def _page(self, request: Any, filters: Sequence[Any]) -> Page[Any]:
        told = [type(request).__name__.removesuffix("Request"), *filters]
        return Page(self.database.seal, request.page_size, request.page_token, told)


def masked(
    fields: Fields,
    mask: field_mask_pb2.FieldMask,
    readers: Mapping[str, Callable[[Fields, Shown], Any]],
    message: Shown,
) -> dict[str, Any]:
    """The values that an update changes (AIP-134); a field that nobody can change is named, and so is an empty mask."""
    known = ", ".join(readers)
    fields.require(1 <= len(mask.paths) <= MASK_PATHS_MAX, "update_mask", f"must name 1 to {MASK_PATHS_MAX} of {known}")
    for index, path in enumerate(mask.paths[:MASK_PATHS_MAX]):
        fields.require(path in readers, f"update_mask.paths[{index}]", f"must be one of {known}, was {shown(path)}")
    return {name: read(fields, message) for name, read in readers.items() if name in mask.paths}


@contextmanager
def named(exists: Refusal) -> Iterator[None]:
    """Refuses with `exists` what has a chosen name for its request id: the name is taken, no request id was reused."""
    try:
        yield
    except Refusal as refusal:
        if refusal.reason == CommonReason.REQUEST_ID_REUSED.name:
            raise exists from None
        raise
