"""Reads databases as a whole, and changes nothing in them."""

from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError

from tillmesh.cli.audit.databases import read_only
from tillmesh.cli.display import progress_bars
from tillmesh.client.failures import Failure
from tillmesh.local.processes import ServerName
from tillmesh.storage.database import parse_url
from tillmesh.storage.soundness import parts


def findings(role: ServerName, url: str) -> Iterator[str]:
    """What is wrong with the database of a server, or why it cannot be checked, each in a line."""
    try:
        with read_only(parse_url(url)).connect() as connection, progress_bars() as progress:
            todo = parts(connection)
            task = progress.add_task(role, total=len(todo))
            for part in todo:
                progress.update(task, description=f"{role}: {part.what}")
                yield from part.findings(connection)
                progress.advance(task)
    except DBAPIError as error:
        yield " ".join(str(error.orig).split())
    except (ValueError, Failure) as error:
        yield str(error)
