"""`tillmesh store`: who is paid, and within which limits."""

import re
from uuid import uuid4

from tests.cli.command_line import Person, found, tillmesh


def test_a_store_is_registered_shown_and_changed_field_by_field(person: Person) -> None:
    store = f"shop-{uuid4().hex[:8]}"
    address = ("--address", "1 High Street", "--address", "London")
    created = person.does(
        *("store", "create", store, "--name", "Corner Shop", *address, "--tax-number", "GB123"),
        *("--time-zone", "Europe/London", "--refund-limit", "500"),
    )
    shown = person.does("store", "show", store)
    assert created == shown
    for row in (
        r"name +Corner Shop",
        r"address +1 High Street *\n.*address +London",
        r"tax number +GB123",
        r"time zone +Europe/London",
        r"currency +GBP",
        r"refund limit +500\.00 GBP without a sale, in all",
        r"state +ACTIVE",
    ):
        assert re.search(row, shown), row

    person.does("store", "update", store, "--name", "Corner", "--tax-number", "", "--refund-limit", "none")
    changed = person.does("store", "show", store)
    assert f"Store {store}, version 2" in changed
    assert re.search(r"name +Corner *\n", changed)
    assert "tax number" not in changed
    assert "London" in changed
    assert "nothing without a sale" in changed
    assert re.search(rf"{store} +Corner +GBP +nothing +ACTIVE", person.does("store", "list"))


def test_a_suspended_store_starts_no_payment(person: Person) -> None:
    store = person.mesh.store.store_id
    if store not in person.does("store", "list"):
        person.does("store", "create", store)
    person.does("identity", "zoe", "--confirm-above", "5")
    person.does("deposit", "zoe", "5")
    order_id = found(r"Order (\S+):", person.does("sell", "zoe", "PEN@1"))
    assert "SUSPENDED" in person.does("store", "update", store, "--suspend")
    try:
        assert "VOIDED (STORE_SUSPENDED)" in person.does("pay", order_id)
    finally:
        assert "ACTIVE" in person.does("store", "update", store, "--activate")
    assert "CAPTURED" in person.does("pay", order_id)


def test_what_is_wrong_with_a_store_is_one_plain_line(person: Person) -> None:
    assert "no-such-store" in person.fails("store", "show", "no-such-store")
    assert "no-such-store" in person.fails("store", "update", "no-such-store", "--suspend")
    assert "time_zone" in person.fails("store", "create", "lost-shop", "--time-zone", "Nowhere/Land")
    done = tillmesh("store", "update", "no-such-store", mesh=person.mesh.addresses)
    assert done.returncode == 2
    assert "say what to change" in done.stderr
