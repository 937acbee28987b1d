"""Servers that share a PostgreSQL database survive each other, and it."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.chaos.replicas import storm_over_replicas
from tests.postgres import running_cluster

pytestmark = pytest.mark.process


def test_a_dead_replica_and_a_dead_database_lose_nothing(tmp_path: Path) -> None:
    with running_cluster() as postgres:
        found = asyncio.run(storm_over_replicas(tmp_path, postgres, random.Random(5), answers_between=15))
    assert found.findings() == []
    assert found.paid > 0
