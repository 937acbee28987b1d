"""The dashboard, the alerts and the pages ask for metrics that there are."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sources import ROOT
from tillmesh.runtime.metrics import REGISTRY

NAME = re.compile(r"\btillmesh_\w+")
LABEL = re.compile(r"(\w+)(?:!=|=~|!~|=)\"")
ADDED = {"server", "job", "le"}
"""Labels that the scrape config and histograms add."""
ALARM = re.compile(r"^\| (\w+) \| `(.+?)`(?: for 1 minute)? \| (.+?) \| .+? \|$", re.MULTILINE)
RULE = re.compile(r"- alert: (\w+)\n +expr: (\".*\")\n +for: \d+m\n +annotations:\n +summary: (\".*\")")


def series() -> dict[str, set[str]]:
    """The names that Prometheus has, with the labels of each."""
    found: dict[str, set[str]] = {}
    for metric in REGISTRY.collect():
        labels = set(REGISTRY._names_to_collectors[metric.name]._labelnames)  # type: ignore[attr-defined]
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(metric.type, [""])
        found |= {f"{metric.name}{ending}": labels for ending in endings}
    return found


def alarms() -> list[tuple[str, str, str]]:
    """Name, expression and meaning of each row of the table."""
    page = (ROOT / "docs/monitoring.md").read_text()
    return [(name, asked.replace("\\|", "|"), means) for name, asked, means in ALARM.findall(page)]


def queries() -> Iterator[str]:
    """Everything that is asked of Prometheus."""
    dashboard: dict[str, Any] = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    yield from (asked for _, asked, _ in alarms())


@pytest.mark.parametrize("query", list(queries()))
def test_a_query_asks_for_metrics_and_labels_that_there_are(query: str) -> None:
    there = series()
    names = set(NAME.findall(query))
    assert names - there.keys() == set()
    known = ADDED.union(*(there[name] for name in names))
    assert set(LABEL.findall(query)) <= known
    for grouped in re.findall(r"by \(([^)]*)\)", query):
        assert set(grouped.split(", ")) <= known


def test_the_alerts_are_those_of_the_table() -> None:
    rules = RULE.findall((ROOT / "deploy/alerts.yml").read_text())
    assert [(name, json.loads(asked), json.loads(means)) for name, asked, means in rules] == alarms()
