"""An order that a till presents as a QR code: a phone pays it, and the till hears of it."""

from pathlib import Path

import pytest

from tests.client.sales import PRICE, TEA
from tests.trust.secrets import PIN
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import claim_service_pb2 as claims_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import Role
from tillmesh.cli.phone.client import PhoneClient, enroll, set_pin
from tillmesh.client import Till, Verdict
from tillmesh.client.connections import Client
from tillmesh.client.requests import payment_for
from tillmesh.local.mesh import Mesh
from tillmesh.rpc.messages import to_money
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

pytestmark = pytest.mark.process

SHOPPER = "ada"


async def test_a_till_that_presents_an_order_hears_that_a_phone_paid_it(tmp_path: Path) -> None:
    told = []
    with Mesh(tmp_path / "mesh") as mesh:
        device = mesh.authority.folder_of(Role.DEVICE, mesh.store.store_id, "cli")
        journal = tmp_path / "till.journal"
        async with Till.connect(mesh.addresses.terminal, certificates=device, journal=journal) as till:
            sale = await till.open([TEA])
            await sale.submit()
            assert (await sale.ended()).verdict is Verdict.NOT_TRIED  # nobody is waited for yet
            shown = await sale.present()
            async for said in sale.follow():
                told.append(said.verdict)
                if len(told) == 1:
                    await pay_by_phone(mesh, shown.code)
            assert await till.resume() == []
    assert told[0] is Verdict.NOT_TRIED
    assert told[-1] is Verdict.HAND_OVER_GOODS


async def pay_by_phone(mesh: Mesh, code: str) -> None:
    """The shopper's phone claims what is presented, and pays it."""
    async with Client(mesh.addresses) as client:
        create = identities_api.CreateIdentityRequest(identity_id=SHOPPER, display_name="Ada", currency_code="GBP")
        await client.call(client.identities.CreateIdentity, create)
        deposit = accounts_api.CreateDepositRequest(
            deposit_id=new_request_id(), identity_id=SHOPPER, amount=to_money(PRICE)
        )
        await client.call(client.accounts.CreateDeposit, deposit)
        phone = await enroll(client, mesh.addresses, SHOPPER, "phone-of-ada")
        pin = Secret(PIN.encode())
        await set_pin(client, SHOPPER, pin)
        async with PhoneClient(mesh.addresses, phone) as line:
            phone = await line.sign_in(pin)
    async with PhoneClient(mesh.addresses, phone) as line:
        claim = claims_api.ClaimOrderRequest(request_id=new_request_id(), code=code)
        order = (await line.call(line.claims.ClaimOrder, claim)).order
        await line.call(line.payments.CreatePayment, payment_for(order, Payer(identity_id=SHOPPER)), timeout_s=30)
