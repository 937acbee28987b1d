"""The till that a command is given at: one call or a few, and no notes, as the person at the shell keeps the ids."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tillmesh.client import Till
from tillmesh.client.connections import Addresses, Client

PATIENCE_S = 4.0
"""How long a command repeats what is not answered, beside the time that a call itself has."""


@asynccontextmanager
async def at_till(terminal: str) -> AsyncIterator[Till]:
    """A till at the terminal that listens there."""
    async with Client(Addresses(terminal=terminal)) as client, Till.over(client, patience_s=PATIENCE_S) as till:
        yield till
