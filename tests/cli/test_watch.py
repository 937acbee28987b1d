"""`tillmesh watch`: what happens, printed as it happens; each event once, and none is missed."""

import asyncio
import json
import random
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_line import TILLMESH, Person, environment, found, tillmesh
from tests.cli.test_phone import NOWHERE, code, enrolled
from tests.cli.watching import Watching
from tests.processes import wait_until
from tests.trust.secrets import PIN
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.cli.cursor_file import CursorFile
from tillmesh.client.connections import Client
from tillmesh.client.failures import Failure
from tillmesh.local.mesh import Mesh
from tillmesh.local.processes import ServerName

pytestmark = pytest.mark.process
KILLS = 6


def sold(person: Person, payer: str = "wanda") -> str:
    """The number of a new order of 1.20."""
    return found(r"Order (\S+):", person.does("sell", payer, "CARD@1.20"))


def key(update: dict[str, Any]) -> tuple[str, int]:
    """The record and number of an event: no two are the same."""
    event = update["event"]
    return event.get("order_id") or event.get("payment_id") or event["checkout_id"], int(event["number"])


async def events_of(mesh: Mesh, order_ids: list[str]) -> set[tuple[str, int]]:
    """Everything that happened to orders, as the order service lists it."""
    async with Client(mesh.addresses) as client:
        return {
            (event.order_id, event.number)
            for order_id in order_ids
            async for event in client.listed(
                client.orders.ListOrderEvents, api.ListOrderEventsRequest(order_id=order_id), lambda page: page.events
            )
        }


def test_a_line_says_when_what_happened_to_which_order(person: Person, tmp_path: Path) -> None:
    person.does("identity", "wanda", "--confirm-above", "10")
    person.does("deposit", "wanda", "50")
    cursor = tmp_path / "cursor"
    with Watching(person.mesh.addresses, tmp_path, "watch", "orders", "--cursor-file", cursor) as watching:
        wait_until(cursor.exists)  # it has begun
        order_id = sold(person)
        payment_id = found(r"Payment (\S+) of", person.does("pay", order_id))
        watching.until(lambda lines: any("PAID" in line for line in lines if order_id in line))
        own = [line.rstrip() for line in watching.lines if order_id in line]
        assert watching.interrupted() == 0
    when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+"
    created, locked, paid = own
    by = "by (terminal|payments)/"
    assert re.match(rf"{when}  {order_id}  CREATED +OPEN +1\.20 GBP  version 1, store-1, {by}", created)
    assert re.match(
        rf"{when}  {order_id}  LOCKED +LOCKED +1\.20 GBP  version 1, store-1, payment {payment_id}, {by}", locked
    )
    assert re.match(rf"{when}  {order_id}  PAID +PAID +1\.20 GBP  version 1, store-1, payment {payment_id}, {by}", paid)
    assert watching.complaints == ""


def test_json_has_event_record_and_the_cursor_that_leads_on(person: Person, tmp_path: Path) -> None:
    order_id = sold(person)
    with Watching(person.mesh.addresses, tmp_path, "watch", "orders", "--from", "oldest", "--json") as watching:
        watching.until(lambda lines: any(order_id in line for line in lines) and "cursor" in lines[-1])
        told = watching.events
    update = next(each for each in told if each["event"]["order_id"] == order_id)
    assert update["event"]["type"] == "TYPE_CREATED"
    assert update["order"]["amount"] == {"currency_code": "GBP", "minor_units": "120"}
    assert update["order"]["lines"][0]["sku"] == "CARD"
    assert set(update) <= {"event", "order", "cursor"}
    following = tmp_path / "following"
    following.write_text(told[-1]["cursor"])
    last_id = sold(person)
    with Watching(person.mesh.addresses, tmp_path, "watch", "orders", "--cursor-file", following, "--json") as watching:
        watching.until(lambda lines: any(last_id in line for line in lines))
        assert not {key(each) for each in watching.events} & {key(each) for each in told}


def test_a_watch_that_is_killed_again_and_again_prints_every_event(person: Person, tmp_path: Path) -> None:
    watch = ("watch", "orders", "--from", "oldest", "--cursor-file", tmp_path / "cursor", "--json")
    order_ids: list[str] = []
    runs: list[list[dict[str, Any]]] = []
    rng = random.Random(7)

    def watch_and_kill() -> None:
        """Kills it in the middle of what it prints."""
        for _ in range(KILLS):
            more = rng.randrange(4)
            with Watching(person.mesh.addresses, tmp_path, *watch) as watching:
                watching.until(lambda lines, more=more: len(lines) > more)  # type: ignore[misc]
            runs.append(watching.events)

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(watch_and_kill)
        while not killing.done():
            order_ids.append(sold(person))
        killing.result()
    with Watching(person.mesh.addresses, tmp_path, *watch) as watching:
        watching.until(lambda lines: any(order_ids[-1] in line for line in lines) or order_ids[-1] in str(runs[-1]))
    runs.append(watching.events)
    keys = [key(each) for run in runs for each in run]
    assert {one for one in keys if one[0] in order_ids} == asyncio.run(events_of(person.mesh, order_ids))
    for before, after in pairwise(runs):  # at most the one answer is printed twice that was not noted any more
        again = {key(each) for each in before} & {key(each) for each in after}
        assert again <= {key(each) for each in before[-100:]}
    once = list(dict.fromkeys(keys))
    assert [one[0] for one in once if one[0] in order_ids] == order_ids  # in order


def test_what_was_printed_and_not_noted_is_printed_once_more(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(_file: CursorFile, _cursor: str) -> None:
        raise Killed

    order_id, cursor = sold(person), tmp_path / "cursor"
    watch = ("watch", "orders", "--from", "oldest", "--cursor-file", cursor)
    monkeypatch.setattr(CursorFile, "keep", die)
    with pytest.raises(Killed):
        tillmesh(*watch, mesh=person.mesh.addresses)
    assert not cursor.exists()
    with Watching(person.mesh.addresses, tmp_path, *watch) as watching:
        watching.until(lambda lines: any(order_id in line for line in lines))
    assert cursor.exists()


def test_a_reader_that_has_enough_ends_the_watch_quietly(person: Person, tmp_path: Path) -> None:
    last_id = sold(person)
    cursor = tmp_path / "cursor"
    watch: list[str | Path] = [TILLMESH, "watch", "orders", "--from", "oldest", "--json", "--cursor-file", cursor]
    process = subprocess.Popen(
        watch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(person.mesh.addresses)
    )
    assert process.stdout
    assert process.stderr
    assert json.loads(process.stdout.readline())
    process.stdout.close()
    while process.poll() is None:
        last_id = sold(person)
    assert process.stderr.read() == ""
    process.stderr.close()
    with Watching(person.mesh.addresses, tmp_path, *watch[1:]) as watching:  # what nobody read is printed now
        watching.until(lambda lines: any(last_id in line for line in lines))


def test_an_expired_cursor_is_one_line_that_says_what_to_do(person: Person, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor"
    cursor.write_text("of-another-database\n")
    said = person.fails("watch", "payments", "--cursor-file", cursor)
    assert said == (
        f"tillmesh watch: The cursor in {cursor} has expired: its events are no longer kept, or it is of another "
        "database. List the records to see how they stand, delete the file, and watch again."
    )
    cursor.write_text("")
    assert "There is no cursor in" in person.fails("watch", "payments", "--cursor-file", cursor)
    assert "cannot be read: Is a directory" in person.fails("watch", "payments", "--cursor-file", tmp_path).replace(
        "[Errno 21] ", ""
    )


def test_a_cursor_file_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    file = CursorFile(tmp_path / "cursor")
    file.keep("first")
    assert CursorFile(file.path).read() == "first"
    (tmp_path / ".cursor.new").mkdir()
    file.keep("first")  # is there already
    with pytest.raises(Failure, match="cannot be kept in"):
        file.keep("second")
    assert CursorFile(file.path).read() == "first"


def test_a_type_that_is_none_is_told_the_right_ones() -> None:
    done = tillmesh("watch", "orders", "--type", "sold")
    assert done.returncode == 2
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", done.stderr).split())
    assert "'sold' is not one of CREATED, LINES_REPLACED, LOCKED, PAID" in said


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (("orders", "--store", "store-1", "--type", "canceled", "--type", "lines-replaced"), {"CANCELED"}),
        (("checkouts", "--checkout", "CHECKOUT", "--type", "canceled"), {"CANCELED"}),
        (("checkouts", "--checkout", "CHECKOUT"), {"OPENED", "SUBMITTED", "VOID_ASKED", "CANCELED"}),
    ],
)
def test_a_watch_prints_only_what_it_is_asked_for(
    person: Person, tmp_path: Path, filters: tuple[str, ...], names: set[str]
) -> None:
    sold(person)
    order_id = sold(person)
    person.does("void-sale", order_id)
    wanted = [word.replace("CHECKOUT", order_id) for word in filters]
    with Watching(person.mesh.addresses, tmp_path, "watch", *wanted, "--from", "oldest") as watching:
        watching.until(lambda lines: any(f"{order_id}  CANCELED" in line for line in lines))
        printed = watching.lines
    told = {line.split("  ")[2].split()[0] for line in printed if order_id in line}
    assert told == names
    assert all({"CANCELED", "LINES_REPLACED"} & set(line.split()) for line in printed if order_id not in line)
    if "--checkout" in filters:
        assert all(order_id in line for line in printed)


def test_a_lane_of_which_nothing_is_heard_prints_nothing(person: Person, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor"
    elsewhere = ("watch", "checkouts", "--lane", "lane-of-nobody", "--from", "oldest", "--cursor-file", cursor)
    sold(person)
    with Watching(person.mesh.addresses, tmp_path, *elsewhere) as watching:
        wait_until(cursor.exists)
        assert watching.lines == []


def test_a_phone_hears_of_a_payment_that_waits_for_its_yes(person: Person, tmp_path: Path) -> None:
    enrolled(person, "wilma", "--confirm-above", "1")
    own = ("--phone", "wilma")
    assert person.fails("phone", "watch", *own).endswith("Sign in again. Do: tillmesh phone sign-in")
    person.does("phone", "sign-in", *own, types=PIN)
    cursor = tmp_path / "cursor"
    watch = ("phone", "watch", "--type", "locked-for-payer", "--json", "--cursor-file", cursor, *own)
    with Watching(person.mesh.addresses, tmp_path, *watch) as watching:
        wait_until(cursor.exists)
        order_id = found(r"Order (\S+):", person.does("sell", "-", "MUG@6.50"))
        person.does("pay", order_id, "--pay-code", types=code(person, "wilma"))
        watching.until(lambda lines: bool(lines))
        (asked,) = watching.events
        assert asked["payment"]["order_id"] == order_id
        person.does("phone", "confirm", asked["event"]["payment_id"], *own)
        assert watching.interrupted() == 0
    told = ("phone", "watch", "--from", "oldest", *own)
    with Watching(person.mesh.addresses, tmp_path, *told) as watching:
        watching.until(lambda lines: any("ORDER_PAID" in line for line in lines))
        line = next(line for line in watching.lines if "LOCKED_FOR_PAYER" in line)
    assert re.search(rf"AWAITING_PAYER +6\.50 GBP  order {order_id}, store-1, wilma, by ", line)


def test_a_watch_goes_on_after_the_server_was_killed(tmp_path: Path) -> None:
    with Mesh(tmp_path / "mesh") as mesh:
        person, cursor = Person(mesh), tmp_path / "cursor"
        with Watching(mesh.addresses, tmp_path, "watch", "orders", "--json", "--cursor-file", cursor) as watching:
            wait_until(cursor.exists)
            before = sold(person)
            watching.until(lambda lines: any(before in line for line in lines))
            mesh.kill(ServerName.ORDERS)
            wait_until(lambda: "cannot be reached" in watching.complaints)
            mesh.restart(ServerName.ORDERS)
            after = sold(person)
            watching.until(lambda lines: any(after in line for line in lines))
            assert [key(each) for each in watching.events] == [(before, 1), (after, 1)]
            assert len(watching.complaints.splitlines()) == 1
            assert watching.interrupted() == 0


def test_a_watch_waits_for_a_server_that_is_not_there_and_says_so_once(person: Person, tmp_path: Path) -> None:
    watch = ("watch", "orders", "--orders", NOWHERE)
    with Watching(person.mesh.addresses, tmp_path, *watch) as watching:
        wait_until(lambda: "The watch goes on as soon as there is an answer." in watching.complaints)
        assert watching.interrupted() == 0
    assert watching.complaints.count("cannot be reached") == 1
