"""`tillmesh catalogue`: the articles that a terminal sells."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import catalogue_import_pb2, catalogue_item_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as api
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.cli.catalogue_file import COLUMN_OF, CatalogueFile
from tillmesh.cli.csv_rows import Wrong, refuse_rows
from tillmesh.cli.display import amount, date_time, progress_bars, say, show_json, show_table
from tillmesh.cli.filters import SHOWN, Limit, first
from tillmesh.cli.options import DEFAULT, CurrencyCode, Json, Terminal, run_async
from tillmesh.client.catalogue import Import, Item, PartRefused, import_articles
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.failures import Failure
from tillmesh.gtin import as_gtin
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

_FIELD = re.compile(r"items\[(\d+)\]\.([a-z_]+)")

catalogue = typer.Typer(help="The articles that the terminal sells.", no_args_is_help=True, rich_markup_mode="markdown")


@catalogue.command(
    "import",
    epilog="**Columns**\n\nsku,title,price, and where wanted gtins (several with blanks or | between them), unit "
    "(piece, gram, milliliter, millimeter), price_quantity, kind (goods, deposit, tip, service), tax_code, tax_rate "
    "(percent), minimum_age, deposit_sku, and offer_price with offer_from and offer_until (2026-12-01T08:00+01:00)"
    "\n\n**Examples**\n\ntillmesh catalogue import articles.csv\n\n"
    "tillmesh catalogue import articles.csv.gz --replace-all --currency EUR",
)
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with a header, or a gzipped one.")],
    replace_all: Annotated[
        bool, typer.Option("--replace-all", help="Also drop all articles that are not in the file.")
    ] = False,
    currency: CurrencyCode = "GBP",
    terminal: Terminal = DEFAULT.terminal,
) -> None:
    """Add the articles of a file to the catalogue, and replace those it has: all of them, or none."""
    source = CatalogueFile(file, currency)
    with progress_bars() as progress:
        checking = progress.add_task(f"Reading {file.name}", total=None)
        refuse_rows("catalogue", file, source.check())
        progress.update(checking, total=1, completed=1)
        total = len(source.first_lines)
        sending, comparing = progress.add_task("Sending", total=total), progress.add_task("Checking", total=total)

        def advance(told: Import) -> None:
            progress.update(sending, completed=told.item_count)
            progress.update(comparing, completed=told.checked_item_count)

        async def act() -> Import:
            async with Client(Addresses(terminal=terminal)) as client:
                items = (article.item for article in source.articles())
                return await import_articles(client, items, replace_all=replace_all, on_progress=advance)

        try:
            told = run_async(act())
        except PartRefused as refused:
            refuse_rows("catalogue", file, _refused_rows(source, refused))
            raise refused.refusal from None
    if told.state == Import.STATE_REFUSED:
        refuse_rows("catalogue", file, [_violated(source, violation) for violation in told.violations])
    if told.state != Import.STATE_COMMITTED:
        raise Failure(f"{file}: another import was begun meanwhile, and nothing of this one was imported")
    done = "Replaced the catalogue by" if replace_all else "Imported"
    say(f"{done} {_articles(told.item_count)}.")


@catalogue.command(epilog="**Examples**\n\ntillmesh catalogue show MUG\n\ntillmesh catalogue show 4006381333931")
def show(
    article: Annotated[str, typer.Argument(metavar="SKU|GTIN", help="The article code, or one of its GTINs.")],
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Show one article."""

    async def look() -> Item:
        async with Client(Addresses(terminal=terminal)) as client:
            try:
                return await client.call(client.catalogue.GetCatalogueItem, api.GetCatalogueItemRequest(sku=article))
            except Refusal as refusal:
                if refusal.reason != "ITEM_NOT_FOUND" or not _is_gtin(article):
                    raise
            request = api.LookUpCatalogueItemRequest(gtin=article)
            return await client.call(client.catalogue.LookUpCatalogueItem, request)

    _show_items([run_async(look())])


@catalogue.command("list", epilog="**Examples**\n\ntillmesh catalogue list --limit 200")
def list_all(limit: Limit = SHOWN, terminal: Terminal = DEFAULT.terminal, json: Json = False) -> None:
    """List articles by code."""

    async def look() -> list[Item]:
        async with Client(Addresses(terminal=terminal)) as client:
            request = api.ListCatalogueItemsRequest()
            return await first(
                client.listed(client.catalogue.ListCatalogueItems, request, lambda page: page.items), limit
            )

    _show_items(run_async(look()))


@catalogue.command(epilog="**Examples**\n\ntillmesh catalogue delete MUG CARD")
def delete(
    skus: Annotated[list[str], typer.Argument(metavar="SKU...", help="The article codes.")],
    terminal: Terminal = DEFAULT.terminal,
) -> None:
    """Delete articles: all of them, or none."""

    async def act() -> int:
        async with Client(Addresses(terminal=terminal)) as client:
            request = api.DeleteCatalogueItemsRequest(request_id=new_request_id(), skus=skus)
            return (await client.call(client.catalogue.DeleteCatalogueItems, request)).item_count

    say(f"Deleted {_articles(len(skus))}; the catalogue has {run_async(act()):,}.")


def _refused_rows(source: CatalogueFile, refused: PartRefused) -> list[Wrong]:
    """The rows that the terminal refused; none where it refused something else."""
    lines = list(source.first_lines.values())  # in the order of the file
    wrong = []
    for violation in refused.refusal.violations:
        if match := _FIELD.match(violation.field):
            column = COLUMN_OF.get(match[2], match[2])
            wrong.append(Wrong(lines[refused.first_index + int(match[1])], f"{column} {violation.description}"))
    return wrong


def _violated(source: CatalogueFile, violation: catalogue_import_pb2.CatalogueViolation) -> Wrong:
    return Wrong(source.first_lines[violation.sku], f"{violation.field} {violation.description}")


def _articles(count: int) -> str:
    return "1 article" if count == 1 else f"{count:,} articles"


def _is_gtin(text: str) -> bool:
    try:
        as_gtin(text)
    except ValueError:
        return False
    return True


def _show_items(items: Sequence[Item]) -> None:
    if show_json(items):
        return
    rows = [
        (
            item.sku,
            item.title,
            amount(item.unit_price) + _per(item),
            [_offer(period) for period in item.price_periods],
            list(item.gtins),
            f"{item.tax_code} {item.tax_rate_ppm / 10_000:g} %" if item.tax_code or item.tax_rate_ppm else "",
            f"{item.minimum_age_years}+" if item.minimum_age_years else "",
            item.deposit_sku,
        )
        for item in items
    ]
    columns = ["sku", "title", "price", "offers", "GTINs", "tax", "age", "deposit"]
    show_table("Articles", columns, rows, right=["price"])


def _per(item: Item) -> str:
    unit = LineItem.Unit.Name(item.unit).removeprefix("UNIT_").lower()
    return "" if (unit, item.price_quantity) == ("piece", 1) else f" per {item.price_quantity:,} {unit}"


def _offer(period: catalogue_item_pb2.PricePeriod) -> str:
    start = f" from {date_time(period.start_time)}" if period.HasField("start_time") else ""
    end = f" until {date_time(period.end_time)}" if period.HasField("end_time") else ""
    return f"{amount(period.unit_price)}{start}{end}"
