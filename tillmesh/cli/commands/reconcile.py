"""`tillmesh reconcile`: whether the servers agree."""

import json as json_text
import time
from contextlib import AsyncExitStack
from typing import Annotated

import typer

from tillmesh.auth.callers import Role
from tillmesh.cli.display import as_json, out, progress_bars, show_table
from tillmesh.cli.filters import SHOWN, Limit
from tillmesh.cli.options import DEFAULT, Json, Orders, Payments, run_async
from tillmesh.cli.reconcile.copy import Copy, Found, open_copy
from tillmesh.cli.reconcile.reading import Reader
from tillmesh.client.connections import Addresses, Client, DeviceConnections, Server
from tillmesh.client.failures import Failure
from tillmesh.runtime.errors import Refusal

SETTLED_S = 900.0
Terminals = Annotated[
    list[str] | None,
    typer.Option(
        "--terminal",
        envvar="TILLMESH_TERMINAL",
        help="Store terminal, as HOST:PORT; may be given several times. [default: " + DEFAULT.terminal + "]",
        rich_help_panel="Where a running mesh listens",
    ),
]


class Unfinished(Failure):
    """The comparison could not be finished, so nothing is said of what it saw."""

    exit_status = 2


def reconcile(
    settled_s: Annotated[
        float, typer.Option(min=0, help="Compare only records that have not changed for so many seconds.")
    ] = SETTLED_S,
    limit: Limit = SHOWN,
    orders: Orders = DEFAULT.orders,
    payments: Payments = DEFAULT.payments,
    terminal: Terminals = None,
    json: Json = False,
) -> None:
    """Compare orders, payments, the ledger and terminals, and name every difference with its next step.

    Reads all lists over the servers' own APIs, which may go on working. A difference is told only of records that
    have not changed for --settled-s, and only if it is still there after they were read once more: what is under
    way is none. All kinds of differences are in docs/reconcile.md. --json prints all of them, one object a line.

    The lists are joined in a temporary file with a bounded cache, in the folder of TMPDIR.

    Exit status, for a cron job: 0 no difference, 1 differences, 2 could not finish: a server did not answer or
    refused, or wrong usage. Then nothing was compared to the end, and no difference is told.
    """
    addresses = Addresses(orders, payments)
    with open_copy(int((time.time() - settled_s) * 1000)) as copy:
        try:
            run_async(_compare(addresses, terminal or [addresses.terminal], copy))
        except Refusal as refusal:
            raise Unfinished(f"A server refused: {refusal.text}") from refusal
        except Failure as failure:
            raise Unfinished(str(failure)) from failure
        _tell(copy, limit)
        if copy.counts():
            raise typer.Exit(1)


async def _compare(addresses: Addresses, terminals: list[str], copy: Copy) -> None:
    platform = addresses.files(Role.PLATFORM)
    async with AsyncExitStack() as open_now:
        client = await open_now.enter_async_context(Client(addresses))
        tills = {
            address: await open_now.enter_async_context(
                DeviceConnections(Server("store terminal", address, Role.TERMINAL, platform))
            )
            for address in terminals
        }
        with progress_bars() as progress:
            reader = Reader(client, tills, copy, progress)
            await reader.read_all()
            await reader.confirm(copy.suspect())


def _tell(copy: Copy, limit: int) -> None:
    if as_json.get():
        for found in copy.told():
            print(json_text.dumps(_as_json(found)))
        return
    counts = copy.counts()
    total = sum(counts.values())
    if not total:
        out.print("Orders, payments, the ledger and terminals agree.")
        return
    rows = [(found.difference.name, _records(found), found.seen) for found in copy.told(limit)]
    show_table("Differences", ["difference", "records", "as they stand"], rows)
    if total > limit:
        out.print(f"and {total - limit:,} more: --json prints all.")
    for difference, count in counts.items():
        told = f"{count:,} × {difference.name}: {difference.meaning}\n  Next: {difference.next_step}"
        out.print(told, markup=False, soft_wrap=True)


def _ids(found: Found) -> dict[str, str]:
    ids = {
        "order_id": found.order_id,
        "payment_id": found.payment_id,
        "refund_id": found.refund_id,
        "terminal": found.terminal,
    }
    return {name: value for name, value in ids.items() if value}


def _records(found: Found) -> list[str]:
    return [f"{name.removesuffix('_id')} {value}" for name, value in _ids(found).items()]


def _as_json(found: Found) -> dict[str, str]:
    rule = found.difference
    told = {"seen": found.seen, "meaning": rule.meaning, "next_step": rule.next_step}
    return {"difference": rule.name, **_ids(found), **told}
