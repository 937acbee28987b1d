"""In whose name something is done, and what a store learns of it."""

import asyncio

import pytest

from tillmesh.auth.callers import Caller, Role, act_as, actor, caller, parse_uri, shown_actor

SERVER = "spiffe://tillmesh/orders/all"
PHONE = "spiffe://tillmesh/phone/phone-1"
TILL, DEVICE, PLATFORM = (
    parse_uri(f"spiffe://tillmesh/{name}", "tillmesh")
    for name in ("terminal/store-1/till-1", "device/store-1/lane-1", "platform/web-shop")
)


def test_who_is_served_is_the_actor() -> None:
    for each in (TILL, DEVICE, PLATFORM):
        caller.set(each)
        assert actor() == each.uri


def test_a_server_without_certificates_knows_nobody() -> None:
    caller.set(None)
    assert actor() == ""
    assert shown_actor(PHONE) == PHONE


async def test_a_server_s_own_task_acts_for_the_server_and_for_nobody_else() -> None:
    caller.set(TILL)

    async def sweep() -> tuple[str, Caller | None]:
        act_as(SERVER)
        await asyncio.sleep(0)
        return actor(), caller.get()

    assert await asyncio.create_task(sweep()) == (SERVER, None)
    assert actor() == TILL.uri, "the request beside it goes on in its caller's name"


@pytest.mark.parametrize("who", [TILL, DEVICE])
def test_a_store_learns_nothing_of_a_payer_s_phone(who: Caller) -> None:
    caller.set(who)
    assert shown_actor(PHONE) == "payer"


@pytest.mark.parametrize(
    "uri",
    [
        SERVER,
        TILL.uri,
        "",
        "spiffe://tillmesh/terminal/phone/till-1",
        "spiffe://tillmesh/device/store-1/phone",
        "spiffe://phone/terminal/store-1/till-1",
    ],
)
def test_everybody_else_is_shown_to_a_store_also_what_is_called_phone(uri: str) -> None:
    caller.set(TILL)
    assert shown_actor(uri) == uri


def test_the_platform_and_the_payer_see_who_did_it() -> None:
    for who in (PLATFORM, Caller(PHONE, Role.PHONE, None, "ada"), None):
        caller.set(who)
        assert shown_actor(PHONE) == PHONE
