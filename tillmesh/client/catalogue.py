"""An import of any number of articles, in parts that fit a message."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

from tillmesh.api.terminal.v1 import catalogue_import_pb2, catalogue_item_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as api
from tillmesh.client.asking import Asker
from tillmesh.client.connections import Client
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

Item = catalogue_item_pb2.CatalogueItem
Import = catalogue_import_pb2.CatalogueImport
PART_BYTES_MAX = 128 * 1024
PART_ITEMS_MAX = 250
"""The terminal serves nobody while it stores a part."""
ASK_EVERY_S = 0.2
PATIENCE_S = 5.0
"""An import makes many calls, so the terminal may have too much to do for one of them."""
ENDED = (Import.STATE_COMMITTED, Import.STATE_REFUSED, Import.STATE_CANCELED)
Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


class PartRefused(Exception):
    """A part was refused; nothing was imported."""

    def __init__(self, first_index: int, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.first_index = first_index
        """The index of its first article among all of them."""
        self.refusal = refusal


async def import_articles(
    client: Client, items: Iterable[Item], *, replace_all: bool, on_progress: Callable[[Import], None]
) -> Import:
    """Imports articles, all or none; returns the import once it is committed, refused or given up."""
    import_id = new_request_id()
    asker = Asker(client, patience_s=PATIENCE_S)
    begin = api.CreateCatalogueImportRequest(import_id=import_id, replace_all=replace_all)
    told = await asker.ask(client.catalogue.CreateCatalogueImport, begin)
    for part in parts(items):
        add = api.AddCatalogueImportItemsRequest(import_id=import_id, part_number=told.part_count + 1, items=part)
        try:
            told = await asker.ask(client.catalogue.AddCatalogueImportItems, add)
        except Refusal as refusal:
            await _cancel(client, asker, import_id)
            raise PartRefused(told.item_count, refusal) from refusal
        on_progress(told)
    commit = api.CommitCatalogueImportRequest(import_id=import_id, part_count=told.part_count)
    told = await asker.ask(client.catalogue.CommitCatalogueImport, commit)
    while told.state not in ENDED:
        await asyncio.sleep(ASK_EVERY_S)
        read = api.GetCatalogueImportRequest(import_id=import_id)
        told = await asker.ask(client.catalogue.GetCatalogueImport, read)
        on_progress(told)
    return told


def parts(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Articles in messages, none too large."""
    part: list[Item] = []
    size = 0
    for item in items:
        size += item.ByteSize()
        if part and (size > PART_BYTES_MAX or len(part) == PART_ITEMS_MAX):
            yield part
            part, size = [], item.ByteSize()
        part.append(item)
    if part:
        yield part


async def _cancel(client: Client, asker: Asker, import_id: str) -> None:
    """Gives an import up; one that has ended already needs none."""
    try:
        cancel = api.CancelCatalogueImportRequest(import_id=import_id)
        await asker.ask(client.catalogue.CancelCatalogueImport, cancel)
    except Refusal as refusal:
        if refusal.reason != "IMPORT_ENDED":
            raise
