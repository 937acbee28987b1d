"""A till presents an order for a phone to claim, and knows each code again without having stored one."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf.duration_pb2 import Duration

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.queries import HISTORY
from store_terminal.errors import Reason
from store_terminal.presenting import operations
from store_terminal.presenting.model import LANES_MAX
from tests.clocks import ManualClock
from tests.terminal.inside import Inside, now_ms, terminal
from tests.terminal.test_lifecycle import NOW_MS, in_state
from tests.trust.secrets import keep
from tillmesh import claim_code
from tillmesh.api.payment.v1 import claim_service_pb2 as claim_api
from tillmesh.api.payment.v1 import order_presentation_pb2
from tillmesh.api.terminal.v1 import lane_sticker_pb2, presentation_pb2
from tillmesh.api.terminal.v1 import presentation_service_pb2 as api
from tillmesh.payer import reference
from tillmesh.runtime.errors import CommonReason, ErrorReason, Refusal
from tillmesh.runtime.ids import SYSTEM_RNG, new_request_id
from tillmesh.storage.seal import KEY_BYTES, Seal
from tillmesh.storage.statements import Transaction

S = CheckoutState
SHOPPER = reference("01890a5d-ac96-774b-bcce-b302099a8057")
LEFT = Duration(seconds=299)


class Shop:
    """A terminal whose payment server notes what it is asked to present."""

    def __init__(self, inside: Inside) -> None:
        self.inside = inside
        self.sent: list[claim_api.PresentOrderRequest] = []
        claims = cast(Any, SimpleNamespace(PresentOrder=self._present))
        peers = replace(inside.presenting.peers, claims=claims)
        self.service = replace(inside.presenting, peers=peers)

    async def _present(
        self, request: claim_api.PresentOrderRequest, **_: object
    ) -> order_presentation_pb2.OrderPresentation:
        self.sent.append(request)
        return order_presentation_pb2.OrderPresentation(order_id=request.order_id, remaining=LEFT)

    async def open(self, state: CheckoutState = S.SUBMITTED, **changes: Any) -> None:
        """The checkout c-1 in a state, under a reference."""
        checkout = replace(in_state(state), **{"payer": SHOPPER, **changes})

        def begin(transaction: Transaction) -> None:
            HISTORY.begin(transaction, checkout, "OPENED")

        await self.inside.database.run(begin)

    async def present(self, request_id: str, lane: str = "lane-1") -> presentation_pb2.Presentation:
        request = api.PresentCheckoutRequest(request_id=request_id, checkout_id="c-1", lane=lane)
        presented = await self.service.PresentCheckout(request)
        keep(presented.code)
        return presented

    async def renew(self, lane: str = "lane-1", request_id: str = "") -> lane_sticker_pb2.LaneSticker:
        request = api.RenewLaneStickerRequest(request_id=request_id or new_request_id(), lane=lane)
        renewed = await self.service.RenewLaneSticker(request)
        keep(renewed.code)
        return renewed

    async def sticker(self, lane: str = "lane-1") -> lane_sticker_pb2.LaneSticker:
        return await self.service.GetLaneSticker(api.GetLaneStickerRequest(lane=lane))


@asynccontextmanager
async def opened(database_url: str, closed_port: str) -> AsyncIterator[Shop]:
    async with terminal(database_url, closed_port, closed_port, ManualClock(now_ms())) as inside:
        yield Shop(inside)


@contextmanager
def refused(reason: ErrorReason) -> Iterator[None]:
    with pytest.raises(Refusal) as raised:
        yield
    assert raised.value.reason == reason.name


async def test_a_repeat_shows_the_same_code_also_after_a_restart(database_url: str, closed_port: str) -> None:
    async with opened(database_url, closed_port) as shop:
        await shop.open()
        first, second = await shop.present("present-1"), await shop.present("present-2")
        assert claim_code.parse(first.code)
        assert first.code != second.code
        assert (first.checkout_id, first.lane, first.remaining) == ("c-1", "lane-1", LEFT)
        before = shop.sent
    async with opened(database_url, closed_port) as shop:
        assert await shop.present("present-1") == first
        assert shop.sent == before[:1]


async def test_the_payment_server_learns_neither_the_code_nor_the_device_s_request_id(
    database_url: str, closed_port: str
) -> None:
    async with opened(database_url, closed_port) as shop:
        await shop.open()
        codes = [(await shop.present(request_id)).code for request_id in ("present-1", "present-2")]
    assert [sent.code_hash for sent in shop.sent] == [claim_code.digest(code) for code in codes]
    assert {(sent.order_id, sent.lifetime.seconds) for sent in shop.sent} == {("c-1", 300)}
    assert len({sent.request_id for sent in shop.sent} - {"present-1", "present-2"}) == 2


async def test_a_lane_s_sticker_goes_along_and_a_repeat_sends_the_one_that_it_sent(
    database_url: str, closed_port: str
) -> None:
    async with opened(database_url, closed_port) as shop:
        await shop.open()
        await shop.present("without")
        sticker = await shop.renew()
        await shop.present("with")
        await shop.present("elsewhere", "lane-2")
        renewed = await shop.renew()
        for request_id in ("without", "with", "anew"):
            await shop.present(request_id)
    old, new = claim_code.digest(sticker.code), claim_code.digest(renewed.code)
    assert [sent.sticker_hash for sent in shop.sent] == [b"", old, b"", b"", old, new]
    assert shop.sent[4] == shop.sent[1]


async def test_a_used_request_id_presents_nothing_else(database_url: str, closed_port: str) -> None:
    async with opened(database_url, closed_port) as shop:
        await shop.open()
        await shop.present("present-1")
        with refused(CommonReason.REQUEST_ID_REUSED):
            await shop.present("present-1", "lane-2")
    assert len(shop.sent) == 1


@pytest.mark.parametrize(
    ("state", "changes", "reason"),
    [
        (S.BASKET, {"unanswered": "r-1"}, Reason.CHECKOUT_NOT_SUBMITTED),
        (S.PAID, {}, Reason.CHECKOUT_PAID),
        (S.CANCELED, {}, Reason.CHECKOUT_CANCELED),
        (S.SUBMITTED, {"payer": in_state(S.SUBMITTED).payer}, Reason.PAYER_NAMED),
    ],
)
async def test_only_a_pending_transaction_of_an_unknown_payer_is_presented(
    database_url: str, closed_port: str, state: CheckoutState, changes: dict[str, Any], reason: Reason
) -> None:
    async with opened(database_url, closed_port) as shop:
        await shop.open(state, **changes)
        for _ in range(2):
            with refused(reason):
                await shop.present("present-1")
    assert shop.sent == []


@pytest.mark.parametrize(
    ("state", "changes"), [(S.SUBMITTED, {"unanswered": "r-1"}), (S.PAYING, {}), (S.PAYING, {"void_id": "v"})]
)
async def test_what_is_asked_of_other_servers_is_no_obstacle(
    database_url: str, closed_port: str, state: CheckoutState, changes: dict[str, Any]
) -> None:
    async with opened(database_url, closed_port) as shop:
        await shop.open(state, **changes)
        assert (await shop.present("present-1")).remaining == LEFT


async def test_a_checkout_that_is_not_there_is_not_presented(database_url: str, closed_port: str) -> None:
    async with opened(database_url, closed_port) as shop:
        with refused(Reason.CHECKOUT_NOT_FOUND):
            await shop.present("present-1")


async def test_a_sticker_can_be_printed_again_until_it_is_renewed(database_url: str, closed_port: str) -> None:
    async with opened(database_url, closed_port) as shop:
        with refused(Reason.STICKER_NOT_FOUND):
            await shop.sticker()
        first = await shop.renew(request_id="renew-1")
        assert claim_code.parse(first.code)
        assert await shop.sticker() == first
    async with opened(database_url, closed_port) as shop:
        assert await shop.sticker() == first
        second = await shop.renew(request_id="renew-2")
        assert second.code != first.code
        assert await shop.renew(request_id="renew-1") == second  # as it is now
        other = await shop.renew("lane-2")
        assert len({first.code, second.code, other.code}) == 3
        with refused(CommonReason.REQUEST_ID_REUSED):
            await shop.renew("lane-2", "renew-1")


def test_only_so_many_lanes_have_stickers(transaction: Transaction) -> None:
    for number in range(LANES_MAX):
        operations.renew_sticker(transaction, lane=f"lane-{number}", rng=SYSTEM_RNG, now_ms=NOW_MS)
    with refused(Reason.LANES_EXHAUSTED):
        operations.renew_sticker(transaction, lane="one-more", rng=SYSTEM_RNG, now_ms=NOW_MS)
    renewed = operations.renew_sticker(transaction, lane="lane-7", rng=SYSTEM_RNG, now_ms=NOW_MS + 1)
    assert operations.get_sticker(transaction, "lane-7") == renewed


def test_another_database_derives_other_secrets() -> None:
    seals = [Seal(bytes([number]) * KEY_BYTES) for number in (1, 2)]
    secrets = {seal.derive(purpose, 16) for seal in seals for purpose in ("a", "b")}
    assert {len(secret) for secret in secrets} == {16}
    assert len(secrets) == 4
    assert seals[0].derive("a", 16) == Seal(bytes([1]) * KEY_BYTES).derive("a", 16)
