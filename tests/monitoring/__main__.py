"""`python -m tests.monitoring`: three servers under a real Prometheus, which answers the dashboard and the alerts.

Needs Debian's package prometheus. It takes about a minute, ends everything that it started, and shows what each query
answered. Exit status: 0 every query was answered and no alert fires, 1 otherwise.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from tests.monitoring.scrapes import address_in, fetched
from tests.monitoring.test_dashboard import alarms, queries
from tests.processes import wait_until
from tests.sources import ROOT
from tillmesh.cli.display import err, out, show_table
from tillmesh.client import Failure, Line, Money, Refusal, Till, Verdict
from tillmesh.local.processes import ServerName
from tillmesh.sandbox.payers import BY_IDENTITY
from tillmesh.sandbox.sandbox import Sandbox

SCRAPED_S = 1
SEEN = (
    "count_over_time(tillmesh_backlog_read_timestamp_seconds[5m]) > 12 "
    "and on (server) tillmesh_operations_a_commit_sum > 60"
)
"""The servers that were scraped a dozen times, and sold meanwhile."""
PAYERS = ("sandbox-paid", "sandbox-poor", "sandbox-code-wrong", "sandbox-silent", "sandbox-pin")
MAY_BE_EMPTY = 'kind="outbox"'
"""A query about this has no answer while all servers are well; nor have alerts."""
FLAGS = dict.fromkeys(ServerName, ("--metrics-listen", "127.0.0.1:0"))


@contextmanager
def prometheus(folder: Path, pages: dict[str, str]) -> Iterator[str]:
    """Scrapes these pages, and knows the alerts; where it answers queries."""
    targets = [{"targets": [page], "labels": {"server": server}} for server, page in pages.items()]
    config = {
        "global": {"scrape_interval": f"{SCRAPED_S}s", "evaluation_interval": f"{SCRAPED_S}s"},
        "rule_files": [str(ROOT / "deploy/alerts.yml")],
        "scrape_configs": [{"job_name": "tillmesh", "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={listen}"], stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or "Server is ready" in (folder / "prometheus.log").read_text())
        if process.poll() is not None:
            raise Failure(f"prometheus ended:\n{(folder / 'prometheus.log').read_text()}")
        yield listen
    finally:
        process.terminate()
        process.wait()


def answer(where: str, query: str) -> Sequence[Any]:
    """What Prometheus answers now; an error of the query raises."""
    told = json.loads(fetched(f"http://{where}/api/v1/query?{urllib.parse.urlencode({'query': query})}"))
    found: Sequence[Any] = told["data"]["result"]
    return found


async def sell(sandbox: Sandbox, number: int) -> None:
    """A sale, or a try of one."""
    payer = BY_IDENTITY[PAYERS[number % len(PAYERS)]]
    code = (await sandbox.show_code(payer)).value.decode()
    device = sandbox.mesh.authority.folder / "device-store-1+cli"
    line = Line(sku="MUG", title="Mug", quantity=1, unit_price_minor=650)
    async with Till.connect(
        sandbox.mesh.addresses.terminal, certificates=device, journal=sandbox.mesh.data_dir / "till.journal"
    ) as till:
        sale = await till.sell([line], amount=Money("GBP", 650), pay_code=code)
        if payer.pin:
            with suppress(Refusal):  # it is counted
                await sale.enter_pin("0000")
        elif sale.outcome is not Verdict.ASK_PAYER:
            await sale.ended()


def shown(found: Sequence[Any]) -> str:
    """The answer in a cell: each series with its value."""
    of = [(",".join(series["metric"].values()), float(series["value"][1])) for series in found]
    return "; ".join(f"{labels} {value:.3g}".strip() for labels, value in of[:4]) + (" ..." if len(of) > 4 else "")


def main() -> int:
    """Runs it all."""
    if shutil.which("prometheus") is None:
        err.print("prometheus is not installed: apt-get install prometheus")
        return 1
    with tempfile.TemporaryDirectory() as name, Sandbox(Path(name) / "sandbox", flags=FLAGS) as sandbox:
        logs = {role.value: process.log for role, process in sandbox.mesh.processes.items()}
        pages = {server: address_in(log) for server, log in logs.items()}
        with prometheus(Path(name), pages) as where:
            sales = count()

            def is_seen() -> bool:
                """True once Prometheus has seen enough of the sales; makes another one while not."""
                sandbox.do(sell(sandbox, next(sales)))
                return len(answer(where, SEEN)) == len(ServerName)

            wait_until(is_seen)
            asked = list(dict.fromkeys(queries()))
            rows = [(query, shown(answer(where, query))) for query in asked]
            firing = [one["metric"]["alertname"] for one in answer(where, 'ALERTS{alertstate="firing"}')]
            show_table("What Prometheus answers", ["query", "answer"], rows)
            alerts = {query for _, query, _ in alarms()}
            unanswered = [
                query for query, told in rows if not told and query not in alerts and MAY_BE_EMPTY not in query
            ]
            samples = answer(where, "sum(scrape_samples_scraped)")[0]["value"][1]
            took = answer(where, "max(scrape_duration_seconds)")[0]["value"][1]
    out.print(f"{len(rows)} queries, {samples} samples a scrape of all three, {float(took) * 1000:.1f} ms the slowest.")
    for query in unanswered:
        err.print(f"No answer: {query}", markup=False)
    for alert in firing:
        err.print(f"Fires: {alert}")
    return 1 if unanswered or firing else 0


if __name__ == "__main__":
    sys.exit(main())
