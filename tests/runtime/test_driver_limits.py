"""However many records are unfinished, and whoever leaves: what is driven is bounded."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from tests.processes import DEADLINE_S
from tests.runtime.driven import DETACH, ENDLESS_PAUSE, NO_PAUSE, Record
from tillmesh.runtime import driver as driver_module
from tillmesh.runtime.driver import DRIVEN_MAX, DUE_A_PAGE, RESUMED_MAX, After, Driver, Due, Progress
from tillmesh.runtime.errors import Unanswered


class Crowd:
    """Very many records that are due, and how many of them are driven at once."""

    def __init__(self, count: int, *, peer_is_away: bool = False) -> None:
        self.left = [(number, f"p-{number:05}") for number in range(count)]
        self.peer_is_away = peer_is_away
        self.driver = Driver(self.get, self.step, ENDLESS_PAUSE, DETACH)
        self.tried: list[str] = []
        self.most = 0
        self.progress = asyncio.Event()

    async def get(self, key: str) -> str:
        await asyncio.sleep(0)
        self.most = max(self.most, len(self.driver))
        return key

    async def step(self, key: str) -> tuple[str, Progress]:
        await asyncio.sleep(0)
        self.tried.append(key)
        self.progress.set()
        if self.peer_is_away:
            raise Unanswered("away")
        self.left = [due for due in self.left if due[1] != key]
        return key, Progress.DONE

    async def due(self, after: After) -> Sequence[Due]:
        return [due for due in self.left if after is None or due > after][:DUE_A_PAGE]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.progress.clear()
            await self.progress.wait()


def timers() -> list[asyncio.TimerHandle]:
    """What the event loop keeps to do later."""
    scheduled: list[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled")  # noqa: B009
    return [timer for timer in scheduled if not timer.cancelled()]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "RESUME_INTERVAL_S", 0.001)
    monkeypatch.setattr(driver_module, "BACKOFF_MAX_S", 0.001)


@pytest.mark.usefixtures("impatient")
async def test_however_many_records_are_due_a_fixed_number_is_driven_at_once() -> None:
    crowd = Crowd(10 * DRIVEN_MAX)
    resuming = asyncio.create_task(crowd.driver.resume(crowd.due))
    await crowd.until(lambda: not crowd.left)
    resuming.cancel()
    assert len(set(crowd.tried)) == 10 * DRIVEN_MAX
    assert crowd.most <= RESUMED_MAX


@pytest.mark.usefixtures("impatient")
async def test_records_whose_peer_is_away_take_turns_and_all_end_once_it_is_back() -> None:
    crowd = Crowd(5 * DRIVEN_MAX, peer_is_away=True)
    resuming = asyncio.create_task(crowd.driver.resume(crowd.due))
    await crowd.until(lambda: len(set(crowd.tried)) == 5 * DRIVEN_MAX)
    assert crowd.most <= RESUMED_MAX
    crowd.peer_is_away = False
    for _, key in list(crowd.left):
        crowd.driver.poke(key)  # their pauses have no end here
    await crowd.until(lambda: not crowd.left)
    resuming.cancel()
    await crowd.driver.stop()


@pytest.mark.usefixtures("impatient")
async def test_a_caller_s_own_record_is_not_queued_behind_those_that_are_due() -> None:
    crowd = Crowd(3 * DRIVEN_MAX, peer_is_away=True)
    resuming = asyncio.create_task(crowd.driver.resume(crowd.due))
    await crowd.until(lambda: len(crowd.tried) >= DRIVEN_MAX)
    before = len(crowd.tried)
    settling = asyncio.create_task(crowd.driver.settle("mine", 3600))
    await crowd.until(lambda: "mine" in crowd.tried)
    assert crowd.tried.index("mine") - before <= DRIVEN_MAX
    assert not settling.done()
    resuming.cancel()
    settling.cancel()
    await crowd.driver.stop()


async def test_of_what_callers_no_longer_wait_for_only_so_many_go_on() -> None:
    """Wherever they are when their callers leave: those that are asking a peer which does not answer as well."""
    keys = [f"p-{number}" for number in range(10 * DRIVEN_MAX)]
    asked: set[str] = set()
    all_asked = asyncio.Event()

    async def get(key: str) -> str:
        return key

    async def step(key: str) -> tuple[str, Progress]:
        asked.add(key)
        if len(asked) == len(keys):
            all_asked.set()
        await asyncio.Event().wait()
        raise AssertionError("the peer does not answer")

    driver = Driver(get, step, NO_PAUSE, DETACH)
    settling = [asyncio.create_task(driver.settle(key, 3600)) for key in keys]
    await all_asked.wait()
    assert len(driver) == len(keys)
    for task in settling:
        task.cancel()
    await asyncio.wait(settling)
    await asyncio.sleep(0)  # those that are driven no more end
    assert len(driver) == DRIVEN_MAX
    assert len(asyncio.all_tasks()) == DRIVEN_MAX + 1
    await driver.stop()


async def test_a_record_that_pauses_gives_way_as_soon_as_its_caller_leaves() -> None:
    """Its pause has no end here."""
    crowd = Crowd(0, peer_is_away=True)
    for number in range(DRIVEN_MAX):
        crowd.driver.drive(f"p-{number}")
    settling = [asyncio.create_task(crowd.driver.settle(f"mine-{number}", 3600)) for number in range(DRIVEN_MAX)]
    await crowd.until(lambda: len(crowd.tried) == 2 * DRIVEN_MAX)
    for task in settling:
        task.cancel()
    await asyncio.wait(settling)
    await asyncio.sleep(0)
    assert len(crowd.driver) == DRIVEN_MAX
    await crowd.driver.stop()


async def test_whoever_asks_how_a_record_stands_has_it_driven_before_those_that_nobody_asks_for() -> None:
    crowd = Crowd(0, peer_is_away=True)
    for number in range(DRIVEN_MAX):
        crowd.driver.drive(f"p-{number}")
    await crowd.until(lambda: len(crowd.tried) == DRIVEN_MAX)
    crowd.driver.poke("mine")
    await crowd.until(lambda: "mine" in crowd.tried)
    assert len(crowd.driver) == DRIVEN_MAX
    await crowd.driver.stop()


async def test_a_record_is_stepped_by_the_time_that_its_last_step_named() -> None:
    record = Record(Progress.WAITING, Progress.DONE)

    async def step(seen: int) -> tuple[int, Progress]:
        driver.wake_after("p-1", 0)
        return await record.step(seen)

    driver = Driver(record.get, step, ENDLESS_PAUSE, DETACH)
    await asyncio.wait_for(driver.drive("p-1"), timeout=DEADLINE_S)
    assert record.steps == 2
    driver.wake_after("p-1", 3600)  # nothing is kept of what is not driven
    assert timers() == []
