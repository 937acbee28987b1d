"""What is asked again, after how long, and what is not."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from grpc import StatusCode

from tillmesh.client import connections
from tillmesh.client.asking import Asker
from tillmesh.client.connections import Connections
from tillmesh.client.failures import Failure, NotLetIn, Unreachable
from tillmesh.runtime.errors import CommonReason, Failed, Refusal, Unanswered

ANSWER = "answer"


def unreachable(said: Refusal | None = None, *, failed: bool = False) -> Unreachable:
    """A try without an answer; `said` is what the server said instead."""
    failure = Unreachable("no answer", said)
    failure.__cause__ = (Failed if failed else Unanswered)("no answer", said)
    return failure


class Server(Connections):
    """Says one thing after the other, and answers in the end."""

    def __init__(self, *said: Exception) -> None:
        super().__init__({})
        self._said = list(said)
        self.tries = 0

    async def call(self, method: Any, request: Any, **options: Any) -> Any:
        self.tries += 1
        if self._said:
            raise self._said.pop(0)
        return ANSWER


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been waited."""
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", wait)
    return waited


async def ask(server: Server, patience_s: float | None = None, heard: Sequence[Failure] | None = None) -> Any:
    on_unanswered = heard.append if isinstance(heard, list) else connections.ignore
    asker = Asker(server, patience_s=patience_s, on_unanswered=on_unanswered, rng=random.Random(1))
    nothing: Any = None  # the server does not look
    return await asker.ask(nothing, nothing)


async def test_pauses_grow_up_to_a_bound_and_each_is_a_random_part_longer(pauses: list[float]) -> None:
    heard: list[Failure] = []
    server = Server(*(unreachable() for _ in range(9)))
    assert await ask(server, heard=heard) == ANSWER
    assert len(heard) == 9
    for pause, least in zip(pauses, (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0), strict=True):
        assert least <= pause <= 1.5 * least
    assert len({pause / least for pause, least in zip(pauses[-3:], (5.0,) * 3, strict=True)}) == 3


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED])
async def test_a_server_that_says_how_long_to_wait_is_asked_after_that(pauses: list[float], code: StatusCode) -> None:
    assert await ask(Server(unreachable(Refusal(code, "LATER", "later", retry_after_ms=700)))) == ANSWER
    assert 0.7 <= pauses[0] <= 1.05


async def test_a_limit_that_no_waiting_lifts_is_a_refusal(pauses: list[float]) -> None:
    full = Refusal(StatusCode.RESOURCE_EXHAUSTED, "LANES_EXHAUSTED", "no more lanes")
    server = Server(unreachable(full))
    with pytest.raises(Refusal, match="LANES_EXHAUSTED"):
        await ask(server)
    assert (server.tries, pauses) == (1, [])


@pytest.mark.parametrize("no", [Refusal(StatusCode.ABORTED, "AMOUNT_MISMATCH", "no"), NotLetIn("who are you?")])
async def test_a_no_is_not_asked_again(pauses: list[float], no: Exception) -> None:
    server = Server(no)
    with pytest.raises(type(no)):
        await ask(server)
    assert (server.tries, pauses) == (1, [])


async def test_a_server_that_fails_over_a_request_is_asked_once_more(pauses: list[float]) -> None:
    said = CommonReason.INTERNAL(trace_id="1")
    server = Server(*(unreachable(said, failed=True) for _ in range(3)))
    with pytest.raises(Unreachable):
        await ask(server)
    assert server.tries == 2


async def test_patience_has_an_end(pauses: list[float]) -> None:
    server = Server(*(unreachable() for _ in range(9)))
    with pytest.raises(Unreachable):
        await ask(server, patience_s=0.0)
    assert (server.tries, pauses) == (1, [])
