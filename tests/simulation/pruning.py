"""All that is final is pruned once nothing is left to do: what is left is verified, and answered as before."""

from collections.abc import Mapping

from order_service.pruning import PRUNABLE as ORDERS_PRUNABLE
from store_terminal.pruning import PRUNABLE as TERMINAL_PRUNABLE
from tests import pruning
from tests.simulation.network import ORDERS, PAYMENTS, TERMINAL
from tests.simulation.node import SimulatedDatabase
from tests.simulation.reading import Violation
from thirdparty_server.pruning import PRUNABLE as PAYMENTS_PRUNABLE
from tillmesh.cli.audit.databases import HISTORY_TABLES

ALWAYS_MS = 2**62
PRUNABLE = {ORDERS: ORDERS_PRUNABLE, PAYMENTS: PAYMENTS_PRUNABLE, TERMINAL: TERMINAL_PRUNABLE}


async def prune(databases: Mapping[str, SimulatedDatabase]) -> None:
    """Prunes all databases."""
    for name, parts in PRUNABLE.items():
        pages = await pruning.prune(databases[name], parts, ALWAYS_MS)
        if found := [finding for page in pages for finding in page.findings]:
            raise Violation(f"{name} was not pruned: {found[:3]}")


def verify(databases: Mapping[str, SimulatedDatabase]) -> None:
    """What is left of histories fits what was pruned."""
    for name, table in zip((ORDERS, PAYMENTS, TERMINAL), HISTORY_TABLES, strict=True):
        with databases[name].connection() as connection:
            found = pruning.findings(connection, table)
        if found:
            raise Violation(f"{name} is not what was pruned leaves: {found[:3]}")
