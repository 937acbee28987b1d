"""The columns that every table about a load on the servers has."""

from collections.abc import Sequence

from bench.load import Sample
from bench.report import Cell, middle
from bench.servers import ORDERS, PAYMENTS, POSTGRES, SERVERS, TERMINAL

SHORT = {ORDERS: "orders", PAYMENTS: "payments", TERMINAL: "till"}
UNITS = ("per s", "p50 ms", "p99 ms")


def columns(sample: Sample) -> list[str]:
    """Rate, latency, and CPU milliseconds of each server and of all; of PostgreSQL beside them, where it is used."""
    database = ["PostgreSQL"] if POSTGRES in sample.cpu_s else []
    return [*UNITS, *(f"CPU ms {SHORT[name]}" for name in SERVERS), "sum", *database]


def cells(samples: Sequence[Sample]) -> list[Cell]:
    """The median of each over the repeats."""
    rates = [middle(sample.per_s for sample in samples)]
    latencies = [middle(sample.latency_ms(percentile) for sample in samples) for percentile in (50, 99)]
    cpu = [middle(sample.cpu_ms(name) for sample in samples) for name in SERVERS]
    both = [middle(sample.cpu_ms(*SERVERS) for sample in samples)]
    database = [middle(sample.cpu_ms(POSTGRES) for sample in samples)] if POSTGRES in samples[0].cpu_s else []
    return [*rates, *latencies, *cpu, *both, *database]
