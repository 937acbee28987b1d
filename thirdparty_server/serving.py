"""What the servicers of this server have in common."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from google.protobuf import field_mask_pb2
from google.protobuf.message import Message

from thirdparty_server.schema import REQUESTS
from tillmesh.rpc.fields import Fields, shown
from tillmesh.rpc.paging import Page
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Transaction

Record = TypeVar("Record")
Shown = TypeVar("Shown", bound=Message)
Arguments = ParamSpec("Arguments")
MASK_PATHS_MAX = 20


@dataclass(frozen=True)
class Servicer:
    """Answers the calls of one proto service, with one coroutine for each."""

    database: Database
    clock: Clock

    async def _once(
        self,
        request: Message,
        request_id: str,
        resource: str,
        read: Callable[[Transaction, str], Record],
        effect: Callable[Concatenate[Transaction, Arguments], Record],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Record:
        """Makes the effect of a request once; the arguments are those of `RequestLog.answer_once`."""
        key = IdempotencyKey.of(request, request_id, self.clock.now_ms())
        return await REQUESTS.answer_once(self.database, key, resource, read, effect, *args, **kwargs)

    async def _listed(
        self,
        request: Any,
        read: Callable[..., Sequence[Record]],
        key_of: Callable[[Record], Any],
        to_message: Callable[[Record], Shown],
        *filters: str,
        start: Any = "",
    ) -> tuple[list[Shown], str]:
        """A page of a list in the order of its keys, which are above `start`, and the token of the next page.

        `read` gets the filters, the key of the row before the page, and the number of rows to read.
        """
        told = [type(request).__name__.removesuffix("Request"), *filters]
        page = Page[Record](self.database.seal, request.page_size, request.page_token, told)
        rows = await self.database.run(read, *filters, page.after[0] if page.after else start, page.at_most)
        return page.cut(rows, lambda row: [key_of(row)], to_message)


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
