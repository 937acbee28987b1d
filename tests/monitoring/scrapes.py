"""What a Prometheus would read."""

import re
import urllib.request
from pathlib import Path

from tests.processes import DEADLINE_S, wait_until

SAMPLE = re.compile(r"^(\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def fetched(url: str) -> str:
    """What a server of this machine answers."""
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        return bytes(answer.read()).decode()


def scrape(address: str) -> str:
    """All metrics of a server."""
    return fetched(f"http://{address}/metrics")


def samples(text: str) -> dict[str, float]:
    """Each value by name and labels, as they are written: `name{label="value"}`."""
    return {f"{name}{{{labels}}}" if labels else name: float(value) for name, labels, value in SAMPLE.findall(text)}


def address_in(log: Path) -> str:
    """Where a server says that it shows its metrics."""
    told = re.compile(r'"address": "([^"]+)", "event": "serving_metrics"')
    wait_until(lambda: bool(told.search(log.read_text())))
    return str(told.findall(log.read_text())[-1])
