"""Plays a file of baskets against a mesh."""

from collections.abc import Sequence
from pathlib import Path

from tillmesh.cli.display import complain, progress_bars
from tillmesh.cli.groceries.basket_file import BasketFile
from tillmesh.cli.groceries.report import Report, same_either_way
from tillmesh.cli.groceries.shopping import Shopping, Way
from tillmesh.cli.replay.reconcile import settled
from tillmesh.client.catalogue import Import, import_articles
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.failures import Failure


async def play_baskets(
    addresses: Addresses, path: Path, file: BasketFile, ways: Sequence[Way], currency: str, concurrency: int
) -> Report:
    """Imports the articles, plays the baskets, and proves the books."""
    async with Client(addresses) as client:
        with progress_bars() as progress:
            task = progress.add_task(f"Playing {path.name}", total=len(file.baskets) * len(ways))
            items = (article.as_item(currency) for article in file.articles)
            told = await import_articles(client, items, replace_all=False, on_progress=lambda _told: None)
            if told.state != Import.STATE_COMMITTED:
                state = Import.State.Name(told.state).removeprefix("STATE_")
                raise Failure(f"{path}: the import of its articles is {state}, so nothing was sold")
            shopping = Shopping(client, currency, on_done=lambda: progress.advance(task))
            played = await shopping.run(file.baskets, ways, concurrency)
        complain("baskets", [f"{path}: line {each.line}: {each.reason}" for each in played.outcome.rejected])
        books, checks = await settled(client, played.outcome)
    return Report(currency, file, played, [*checks, same_either_way(file, played, books)])
