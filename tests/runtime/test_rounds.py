"""Work that goes round: a refusal of the database does not end it, any other error does."""

import asyncio

import pytest

from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.rounds import REFUSED_REST_S, go_round


class Stop(Exception):
    """The end of a test."""


async def test_it_rests_as_long_as_the_work_says_and_goes_on_after_a_refusal() -> None:
    ends: list[float | Exception] = [0.0, CommonReason.STORAGE_UNAVAILABLE(), 60.0, Stop()]
    rests: list[float] = []

    async def work() -> float:
        end = ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    async def rest(rest_s: float) -> None:
        rests.append(rest_s)

    with pytest.raises(Stop):
        await asyncio.wait_for(go_round("work", work, rest), 60)
    assert rests == [0.0, REFUSED_REST_S, 60.0]
