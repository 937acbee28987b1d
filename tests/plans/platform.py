"""What the platform does on the tour: stores, and payers with their phones."""

import asyncio
from itertools import count
from typing import Any

from tests.plans.callers import ADA, ADAS_PHONE, PHONE, PLATFORM, SHOP, STORE
from tests.plans.mesh import Mesh
from tests.simulation.network import PAYMENTS
from tests.trust.secrets import NEW_PIN, PIN, WRONG_PIN
from tillmesh import paycode
from tillmesh.runtime.secret import Secret


def gbp(minor: int) -> dict[str, Any]:
    return {"currency_code": "GBP", "minor_units": minor}


class Platform:
    """Whoever goes round, with ids of their own."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.ask = mesh.ask
        self.numbers = count(1)
        self.key: Any = None
        self.shown_step = 0

    def new(self, kind: str = "request") -> str:
        return f"{kind}-{next(self.numbers)}"

    async def stores(self) -> None:
        store: dict[str, Any] = {
            "store_id": STORE,
            "name": "Corner",
            "address_lines": ["1 High Street"],
            "time_zone": "Europe/London",
        }
        store |= {"currency_code": "GBP", "unreferenced_refund_limit": gbp(5_000)}
        await self.ask(PLATFORM, "StoreService.CreateStore", store=store)
        await self.ask(PLATFORM, "StoreService.CreateStore", store=store | {"store_id": "store-2"})
        await self.ask(SHOP, "StoreService.GetStore", store_id=STORE)

    async def lower_limit(self) -> None:
        """Changes what a store may give back, to more and to less than it gave back already."""
        for limit in (9_000, 1):
            store = await self.ask(PLATFORM, "StoreService.GetStore", store_id=STORE)
            await self.ask(
                PLATFORM,
                "StoreService.UpdateStore",
                request_id=self.new(),
                store={"store_id": STORE, "unreferenced_refund_limit": gbp(limit)},
                update_mask={"paths": ["unreferenced_refund_limit"]},
                version=store.version,
            )

    async def payers(self) -> None:
        for identity_id in (ADA, "bob", "cleo"):
            await self.ask(
                PLATFORM,
                "IdentityService.CreateIdentity",
                identity_id=identity_id,
                display_name=identity_id,
                currency_code="GBP",
                confirmation_threshold=gbp(3_000),
            )
            await self.deposit(identity_id)
        await self.ask(PLATFORM, "IdentityService.GetIdentity", identity_id=ADA)
        await self.ask(
            PLATFORM,
            "IdentityService.UpdateIdentity",
            request_id=self.new(),
            identity={"identity_id": ADA, "display_name": "Ada"},
            update_mask={"paths": ["display_name"]},
            version=1,
        )
        await self.ask(PLATFORM, "IdentityService.SetPin", request_id=self.new(), identity_id=ADA, pin=NEW_PIN)
        await self.ask(PLATFORM, "IdentityService.SetPin", request_id=self.new(), identity_id=ADA, pin=PIN)
        await self.ask(
            PLATFORM, "WalletService.OpenWallet", request_id=self.new(), identity_id=ADA, currency_code="EUR"
        )
        await self.ask(PLATFORM, "WalletService.GetWallet", identity_id=ADA, currency_code="EUR")
        await self.ask(
            PLATFORM,
            "WalletService.UpdateWallet",
            request_id=self.new(),
            wallet={"identity_id": ADA, "currency_code": "EUR", "unconfirmed_payments_per_day_max": 3},
            update_mask={"paths": ["unconfirmed_payments_per_day_max"]},
            version=1,
        )
        await self.phones()

    async def deposit(self, identity_id: str) -> None:
        deposit = {"deposit_id": self.new("deposit"), "identity_id": identity_id, "amount": gbp(1_000_000)}
        for _ in range(2):
            await self.ask(PLATFORM, "AccountService.CreateDeposit", **deposit)

    async def phones(self) -> None:
        for phone_id in (ADA, "lost", "second"):
            bind = {"request_id": self.new(), "identity_id": ADA, "phone_id": phone_id}
            await self.ask(PLATFORM, "PhoneService.BindPhone", **bind)
        await self.ask(PLATFORM, "PhoneService.UnbindPhone", request_id=self.new(), phone_id="lost")
        session = await self.ask(PHONE, "PayerService.SignIn", pin=PIN)
        token = Secret(session.access_token.encode())
        await self.mesh.wirings[PAYMENTS].sign_in(PHONE, "GetPayment", token)
        self.key = await self.ask(ADAS_PHONE, "PayerService.RenewPayCodeKey", request_id=self.new())
        await self.ask(PHONE, "PayerService.SignIn", pin=WRONG_PIN)
        await self.ask(PHONE, "PayerService.SignIn", pin=PIN)

    async def sign_out(self) -> None:
        await self.ask(ADAS_PHONE, "PayerService.ListPendingOrders")
        await self.ask(ADAS_PHONE, "PayerService.SignOut")

    async def pay_code(self) -> str:
        """A code of Ada's phone that nobody has seen; waits for one."""
        step = self._step()
        while step <= self.shown_step:
            await asyncio.sleep(5)
            step = self._step()
        self.shown_step = step
        return paycode.make(self.key.handle, Secret(self.key.key), step).value.decode()

    def wrong_pay_code(self) -> str:
        return paycode.make(self.key.handle, Secret(bytes(32)), self._step()).value.decode()

    def _step(self) -> int:
        return paycode.step_at(self.mesh.world.nodes[PAYMENTS].now_ms())
