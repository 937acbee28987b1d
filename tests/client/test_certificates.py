"""A till's certificate that is renewed on its disk is taken up without a restart."""

import asyncio
from pathlib import Path

import pytest

from tests.client.sales import PRICE, TEA
from tests.processes import DEADLINE_S
from tillmesh.auth.callers import Role
from tillmesh.client import Failure, NotAllowed, NotLetIn, Sale, Till, Verdict
from tillmesh.local.mesh import Mesh

pytestmark = pytest.mark.process


async def test_a_till_that_was_shut_out_goes_on_with_the_certificate_that_it_gets(tmp_path: Path) -> None:
    with Mesh(tmp_path / "mesh") as mesh:
        authority, store = mesh.authority, mesh.store.store_id
        folder = authority.issue(Role.DEVICE, store, "lane-1")
        journal = tmp_path / "till.journal"
        async with Till.connect(mesh.addresses.terminal, certificates=folder, journal=journal) as till:
            sale = await till.open()
            assert sale.said.checkout.lane == "lane-1"
            authority.deny(f"spiffe://tillmesh/device/{store}/lane-1")
            with pytest.raises(NotLetIn, match="revoked"):
                await sale.read()
            with pytest.raises(NotLetIn):
                await sale.cancel()
            fresh = authority.issue(Role.DEVICE, store, "lane-2")
            for name in ("cert.pem", "key.pem"):
                (folder / name).write_bytes((fresh / name).read_bytes())
            async with asyncio.timeout(DEADLINE_S):
                while not await is_let_in(till):
                    pass
            sale = await till.open()
            assert sale.said.checkout.lane == "lane-2"


async def test_what_is_refused_as_the_caller_may_not_ask_stays_to_be_asked_by_one_who_may(tmp_path: Path) -> None:
    with Mesh(tmp_path / "mesh") as mesh:
        authority, store, journal = mesh.authority, mesh.store.store_id, tmp_path / "till.journal"
        wrong = authority.folder_of(Role.PLATFORM, "cli")
        async with Till.connect(mesh.addresses.terminal, certificates=wrong, journal=journal) as till:
            with pytest.raises(NotAllowed) as refused:
                await till.open([TEA])
            assert refused.value.refusal.reason == "ROLE_DENIED"
        right = authority.folder_of(Role.DEVICE, store, "cli")
        async with Till.connect(mesh.addresses.terminal, certificates=right, journal=journal) as till:
            (sale,) = await till.resume()
            assert isinstance(sale, Sale)
            await sale.ended()
            assert (sale.outcome, sale.said.amount) == (Verdict.NOT_TRIED, PRICE)


async def is_let_in(till: Till) -> bool:
    try:
        await till.open()
    except NotLetIn:
        return False
    return True


async def test_a_folder_without_certificates_is_one_plain_sentence(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"certificates cannot be read: .*ca\.pem"):
        async with Till.connect("127.0.0.1:1", certificates=tmp_path, journal=tmp_path / "till.journal"):
            pass
