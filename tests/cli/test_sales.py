"""`tillmesh sell --pay`, `void-sale`, `refund`, `return-goods`: whole sales by hand."""

import asyncio
import json
import re
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.cli.command_line import Person, found, tillmesh
from tests.cli.test_phone import code, enrolled
from tillmesh.client.connections import Connections
from tillmesh.client.failures import Unreachable

BALANCE = r"Posted ([0-9.]+) GBP, on hold 0\.00 GBP\."
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def rich(person: Person) -> Person:
    """Somebody who pays as sal, at a store that takes goods back."""
    store = person.mesh.store.store_id
    if store not in person.does("store", "list"):
        person.does("store", "create", store)
    person.does("store", "update", store, "--refund-limit", "500")
    person.does("identity", "sal", "--confirm-above", "100")
    person.does("deposit", "sal", "50")
    return person


def has(person: Person) -> float:
    return float(found(BALANCE, person.does("statement", "sal")))


def sold(person: Person) -> str:
    """A sale in one call: under a name, whoever has that name says yes."""
    sale = json.loads(person.does("sell", "sal", "MUG=2@6.50", "--pay", "--json"))
    assert (sale["amount"]["minor_units"], sale["verdict"]) == ("1300", "VERDICT_ASK_PAYER")
    assert "CAPTURED" in person.does("confirm", sale["payment_id"])
    order: str = sale["checkout_id"]
    return order


def lost(call: Callable[..., Awaitable[Any]], interrupted: bool) -> Callable[..., Awaitable[Any]]:
    """A call that is served, and whose answer is lost, or not waited for."""

    async def serve(*arguments: Any, **options: Any) -> Any:
        await call(*arguments, **options)
        if interrupted:
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()
        raise Unreachable("The server did not answer in time.")

    return serve


def test_a_sale_is_made_and_undone_in_one_call_each(rich: Person) -> None:
    before = has(rich)
    order = sold(rich)
    assert has(rich) == before - 13
    assert rich.does("void-sale", order) == f"Order {order} was paid and is REFUNDED: 13.00 GBP were given back.\n"
    assert rich.does("void-sale", order) == f"Order {order} is REFUNDED: nothing was left to give back.\n"
    assert has(rich) == before
    pending = found(r"Order (\S+):", rich.does("sell", "sal", "MUG@1"))
    assert rich.does("void-sale", pending) == f"Order {pending} is CANCELED: it can no longer be paid.\n"
    assert '"outcome": "OUTCOME_CANCELED"' in rich.does("void-sale", pending, "--json")


def test_a_sale_by_pay_code_is_for_the_amount_that_was_shown(rich: Person) -> None:
    enrolled(rich, "pat", "--confirm-above", "5")
    assert "comes to 13.00 GBP, not to 12.00 GBP" in rich.fails(
        "sell", "-", "MUG=2@6.50", "--amount", "12", "--pay-code", types=code(rich, "pat")
    )
    paid = rich.does("sell", "-", "MUG=432g@6.50", "--pay-code", types=code(rich, "pat"))
    assert re.search(r"^HAND OVER GOODS: order \S+, 2\.81 GBP, “Ada L\.”", paid)
    done = tillmesh("sell", "sal", "UNPRICED", "--pay", mesh=rich.mesh.addresses)
    assert (done.returncode, "UNPRICED has no price of its own" in done.stderr) == (2, True)


def test_a_sale_that_is_not_answered_can_be_undone(rich: Person) -> None:
    failed = rich.fails("sell", "sal", "MUG@1", "--pay", "--terminal", NOWHERE)
    undo = rf"cannot be reached.* To undo the sale, however far it is: tillmesh void-sale \S+ --terminal {NOWHERE}$"
    assert re.search(undo, failed)


def test_an_amount_is_for_a_sale_that_is_paid_at_once(rich: Person) -> None:
    done = tillmesh("sell", "sal", "MUG@1", "--amount", "1", mesh=rich.mesh.addresses)
    assert (done.returncode, "needs --pay or --pay-code" in done.stderr) == (2, True)


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize(
    ("option", "command"),
    [
        ("--refund-id", "refund ORDER --amount 1"),
        ("--refund-id", "return-goods sal MUG@1"),
        ("--refund-id", "void-sale ORDER --note wrong"),
        ("--deposit-id", "deposit sal 1"),
    ],
)
def test_what_was_not_answered_is_repeated_and_done_once(
    rich: Person, monkeypatch: pytest.MonkeyPatch, option: str, command: str, interrupted: bool
) -> None:
    arguments, before = command.replace("ORDER", sold(rich)).split(), has(rich)
    with monkeypatch.context() as losing:
        losing.setattr(Connections, "call", lost(Connections.call, interrupted))
        done = tillmesh(*arguments, mesh=rich.mesh.addresses)
    assert done.returncode == (130 if interrupted else 1)
    request_id = found(rf"To ask, repeat the command with {option} (\S+)", done.stderr)
    after = has(rich)
    assert after > before
    for _ in range(2):
        rich.does(*arguments, option, request_id)
    assert has(rich) == after


def test_lines_and_amounts_of_any_order_are_given_back(rich: Person) -> None:
    before, order = has(rich), sold(rich)
    assert re.fullmatch(rf"Refund \S+ of 6\.50 GBP for {order}: DONE\.\n", rich.does("refund", order, "--line", "1=1"))
    assert "of 1.00 GBP" in rich.does("refund", order, "--amount", "1")
    refund = found(r"Refund (\S+) of 5\.50 GBP", rich.does("refund", order))
    assert "of 5.50 GBP" in rich.does("refund", order, "--refund-id", refund)
    assert has(rich) == before
    assert "already refunded" in rich.fails("refund", order)
    done = tillmesh("refund", order, "--line", "1x2", mesh=rich.mesh.addresses)
    assert (done.returncode, "is not NUMBER=QUANTITY" in done.stderr) == (2, True)
    elsewhere = found(r"Order (\S+):", rich.does("sell", "sal", "MUG@2"))
    assert "not paid" in rich.fails("refund", elsewhere)


def test_goods_are_returned_and_exchanged(rich: Person) -> None:
    before = has(rich)
    enrolled(rich, "kim")
    refund = found(r"Refund (\S+) of 6\.50 GBP: DONE", rich.does("return-goods", "sal", "MUG@6.50"))
    assert has(rich) == before + 6.5
    assert "of 0.50 GBP: DONE" in rich.does("return-goods", "-", "PEN@0.50", types=code(rich, "kim"))
    exchanged = rich.does("sell", "sal", "MUG@7", "--pay", "--exchange", refund, "--json")
    assert f'"exchanged_refund_id": "{refund}"' in exchanged
    assert "There is no refund NO-SUCH" in rich.fails("sell", "sal", "MUG@7", "--exchange", "NO-SUCH")
