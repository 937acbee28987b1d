import asyncio
import random
from collections.abc import Sequence

import pytest

from tests.processes import DEADLINE_S
from tests.runtime.driven import DETACH, ENDLESS_PAUSE, NO_PAUSE, SERVER, Record
from tillmesh.auth.callers import Caller, actor, caller, parse_uri
from tillmesh.runtime import driver as driver_module
from tillmesh.runtime.deadlines import remaining_s, set_deadline
from tillmesh.runtime.driver import After, Driver, Due, Progress
from tillmesh.runtime.errors import Unanswered


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


async def test_a_record_whose_task_died_is_driven_again() -> None:
    deaths = iter([SystemError("the log cannot be written")])

    def detach() -> None:
        for death in deaths:
            raise death

    record = Record(Progress.DONE)
    driver = Driver(record.get, record.step, NO_PAUSE, detach)
    assert await driver.settle("p-1", 30) == 0
    assert await driver.settle("p-1", 30) == 1
