import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from tests.processes import DEADLINE_S
from tillmesh.auth.callers import Caller, act_as, actor, caller, parse_uri
from tillmesh.runtime import driver as driver_module
from tillmesh.runtime.deadlines import remaining_s, set_deadline
from tillmesh.runtime.driver import DRIVEN_MAX, DUE_A_PAGE, RESUMED_MAX, After, Driver, Due, Progress
from tillmesh.runtime.errors import Unanswered


class AlwaysShare(random.Random):
    """Takes the same share of every pause."""

    def __init__(self, pause_s: float) -> None:
        super().__init__()
        self._pause_s = pause_s

    def uniform(self, a: float, b: float) -> float:
        return self._pause_s


SERVER = "spiffe://tillmesh/payments/all"
DETACH = partial(act_as, SERVER)
NO_PAUSE, ENDLESS_PAUSE = AlwaysShare(0), AlwaysShare(3600)


class Record:
    """A record whose steps come out as a script says."""

    def __init__(self, *script: Progress | Exception) -> None:
        self._script = script
        self.steps = 0
        self.reads = 0
        self.changed = asyncio.Event()

    async def get(self, _key: str) -> int:
        """The record is how often it was stepped."""
        self.reads += 1
        return self.steps

    async def step(self, record: int) -> tuple[int, Progress]:
        assert record == self.steps
        outcome = self._script[self.steps]
        self.steps += 1
        self.changed.set()
        if isinstance(outcome, Exception):
            raise outcome
        return self.steps, outcome

    async def stepped(self, times: int) -> None:
        """Waits until it was stepped that often."""
        while self.steps < times:
            self.changed.clear()
            await self.changed.wait()


async def test_a_record_is_stepped_until_it_is_done() -> None:
    record = Record(Progress.STEPPED, Progress.STEPPED, Progress.WAITING, Progress.DONE)
    await Driver(record.get, record.step, NO_PAUSE, DETACH).drive("p-1")
    assert record.steps == 4


async def test_steps_that_move_on_do_not_pause() -> None:
    record = Record(Progress.STEPPED, Progress.STEPPED, Progress.DONE)
    await Driver(record.get, record.step, ENDLESS_PAUSE, DETACH).drive("p-1")
    assert record.steps == 3


async def test_a_record_that_nobody_else_may_have_changed_is_not_read_again() -> None:
    record = Record(Progress.STEPPED, Progress.STEPPED, Progress.DONE)
    assert await Driver(record.get, record.step, ENDLESS_PAUSE, DETACH).settle("p-1", 30, record=0) == 3
    assert record.reads == 0


async def test_a_record_is_read_again_after_each_pause_and_failure() -> None:
    record = Record(Progress.WAITING, Progress.STEPPED, Unanswered("no answer"), Progress.DONE)
    assert await Driver(record.get, record.step, NO_PAUSE, DETACH).settle("p-1", 30, record=0) == 4
    assert record.reads == 2


async def test_a_task_that_has_not_begun_learns_what_happened_since() -> None:
    """A repeated request and the payer's yes share a transaction: the first has an older record than the second."""
    confirmed = "old"

    async def get(_key: str) -> str:
        return confirmed

    async def step(record: str) -> tuple[str, Progress]:
        return record, Progress.DONE

    driver = Driver(get, step, NO_PAUSE, DETACH)
    driver.drive("p-1", "old")
    confirmed = "new"
    assert await driver.settle("p-1", 30, "new") == "new"


async def test_a_record_has_one_task_however_often_it_is_driven() -> None:
    record = Record(Progress.STEPPED, Progress.DONE)
    driver = Driver(record.get, record.step, NO_PAUSE, DETACH)
    tasks = {driver.drive("p-1") for _ in range(5)}
    assert len(tasks) == 1
    await asyncio.wait(tasks)
    assert record.steps == 2


async def test_a_poke_cuts_the_pause_short() -> None:
    record = Record(Progress.WAITING, Progress.DONE)
    driver = Driver(record.get, record.step, ENDLESS_PAUSE, DETACH)
    task = driver.drive("p-1")
    await record.stepped(1)
    driver.drive("p-1")
    await asyncio.wait_for(task, timeout=DEADLINE_S)
    assert record.steps == 2


async def test_an_error_is_tried_again_and_never_ends_the_record() -> None:
    errors = [RuntimeError("a bug"), Unanswered("no answer"), *(OSError("again") for _ in range(30))]
    record = Record(*errors, Progress.DONE)
    await Driver(record.get, record.step, NO_PAUSE, DETACH).drive("p-1")
    assert record.steps == len(errors) + 1


async def test_pauses_grow_to_a_limit_and_start_anew_once_the_record_moved() -> None:
    longest: list[float] = []

    class Recording(random.Random):
        def uniform(self, a: float, b: float) -> float:
            longest.append(b)
            return 0

    record = Record(*[Progress.WAITING] * 40, Progress.STEPPED, Progress.WAITING, Progress.DONE)
    await Driver(record.get, record.step, Recording(), DETACH).drive("p-1")
    assert longest[:40] == sorted(longest[:40])
    assert max(longest) == driver_module.BACKOFF_MAX_S
    assert longest[40] == longest[0]


async def test_settle_waits_no_longer_than_it_may_and_leaves_the_record_going() -> None:
    record = Record(Progress.WAITING, Progress.DONE)
    driver = Driver(record.get, record.step, ENDLESS_PAUSE, DETACH)
    assert await driver.settle("p-1", within_s=0.01) == 1
    task = driver.drive("p-1")
    await asyncio.wait_for(task, timeout=DEADLINE_S)
    assert record.steps == 2
    assert not task.cancelled()


async def test_a_record_goes_on_after_the_deadline_of_the_request_that_started_it() -> None:
    seen: list[float] = []

    async def step(record: int) -> tuple[int, Progress]:
        seen.append(remaining_s(99))
        return record, Progress.DONE

    set_deadline(0)
    await Driver(Record().get, step, NO_PAUSE, DETACH).drive("p-1")
    assert seen == [99]


async def test_a_record_goes_on_in_the_name_of_the_server_and_not_of_who_started_it() -> None:
    seen: list[tuple[str, Caller | None]] = []

    async def step(record: int) -> tuple[int, Progress]:
        seen.append((actor(), caller.get()))
        return record, Progress.DONE

    till = parse_uri("spiffe://tillmesh/terminal/store-1/till-1", "tillmesh")
    caller.set(till)
    await Driver(Record().get, step, NO_PAUSE, DETACH).drive("p-1")
    assert seen == [(SERVER, None)]
    assert (actor(), caller.get()) == (till.uri, till)


async def test_a_done_record_can_be_driven_again() -> None:
    record = Record(Progress.DONE, Progress.DONE)
    driver = Driver(record.get, record.step, NO_PAUSE, DETACH)
    await driver.drive("p-1")
    await driver.drive("p-1")
    assert record.steps == 2


async def test_resume_takes_up_what_is_due_although_the_database_failed_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver_module, "RESUME_INTERVAL_S", 0.001)
    answers: list[Sequence[Due] | Exception] = [OSError("disk"), [(0, "p-1")]]
    record = Record(Progress.STEPPED, Progress.DONE)
    driver = Driver(record.get, record.step, NO_PAUSE, DETACH)

    async def due(_after: After) -> Sequence[Due]:
        answer = answers.pop(0) if answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    resuming = asyncio.create_task(driver.resume(due))
    await asyncio.wait_for(record.stepped(2), timeout=DEADLINE_S)
    resuming.cancel()


async def test_resume_leaves_the_pause_of_a_record_that_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "RESUME_INTERVAL_S", 0.001)
    record = Record(Progress.WAITING, Progress.DONE)
    driver = Driver(record.get, record.step, ENDLESS_PAUSE, DETACH)
    rounds: asyncio.Queue[None] = asyncio.Queue()

    async def due(_after: After) -> Sequence[Due]:
        rounds.put_nowait(None)
        return [(0, "p-1")]

    resuming = asyncio.create_task(driver.resume(due))
    for _ in range(10):
        await asyncio.wait_for(rounds.get(), timeout=DEADLINE_S)
    assert record.steps == 1
    resuming.cancel()
    await driver.stop()


async def test_stop_leaves_the_records_as_they_are() -> None:
    record = Record(Progress.WAITING, Progress.DONE)
    driver = Driver(record.get, record.step, ENDLESS_PAUSE, DETACH)
    task = driver.drive("p-1")
    await record.stepped(1)
    await driver.stop()
    await asyncio.wait({task}, timeout=DEADLINE_S)
    assert task.cancelled()
    assert record.steps == 1


async def test_what_happens_during_the_last_step_is_not_lost() -> None:
    """A payer confirms while the step that found nothing to do is still on its way back."""
    read, confirmed = asyncio.Event(), asyncio.Event()
    steps = 0

    async def step(record: int) -> tuple[int, Progress]:
        nonlocal steps
        steps += 1
        read.set()
        await confirmed.wait()
        return record, Progress.DONE

    driver = Driver(Record().get, step, NO_PAUSE, DETACH)
    task = driver.drive("p-1")
    await read.wait()
    assert driver.drive("p-1") is task
    confirmed.set()
    await asyncio.wait_for(task, timeout=DEADLINE_S)
    assert steps == 2


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


async def test_a_record_whose_task_died_is_driven_again() -> None:
    deaths = iter([SystemError("the log cannot be written")])

    def detach() -> None:
        for death in deaths:
            raise death

    record = Record(Progress.DONE)
    driver = Driver(record.get, record.step, NO_PAUSE, detach)
    assert await driver.settle("p-1", 30) == 0
    assert await driver.settle("p-1", 30) == 1
