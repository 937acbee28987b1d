"""Wiring; `python -m thirdparty_server` starts it."""

import random
import sys
from pathlib import Path
from typing import Self

from grpc import aio
from pydantic import Field, model_validator

from thirdparty_server.access import ACCESS
from thirdparty_server.claims.servicer import ClaimServicer
from thirdparty_server.errors import DOMAIN
from thirdparty_server.ledger.servicer import AccountServicer
from thirdparty_server.ledger.upkeep import Upkeep
from thirdparty_server.payers import operations as payer_operations
from thirdparty_server.payers.identity_servicer import IdentityServicer
from thirdparty_server.payers.payer_servicer import PayerServicer, Sessions
from thirdparty_server.payers.pending_orders import PendingOrders
from thirdparty_server.payers.phone_servicer import PhoneServicer
from thirdparty_server.payers.pin_tries import PinTries
from thirdparty_server.payers.vault import Vault
from thirdparty_server.payers.wallet_servicer import WalletServicer
from thirdparty_server.payments.model import Timing
from thirdparty_server.payments.orders import Orders
from thirdparty_server.payments.queries import BACKLOGS, FEED
from thirdparty_server.payments.refunds.servicer import RefundServicer
from thirdparty_server.payments.resolver import PaymentResolver
from thirdparty_server.payments.servicer import PaymentServicer
from thirdparty_server.stores.servicer import StoreServicer
from thirdparty_server.tables import METADATA
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.auth.callers import Role
from tillmesh.rpc.peers import Peer, open_channel
from tillmesh.rpc.server import Wiring, run
from tillmesh.rpc.settings import ServerSettings, load_settings
from tillmesh.rpc.streams import Streams
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.ids import SYSTEM_RNG
from tillmesh.storage.backlogs import read_backlogs
from tillmesh.storage.database import Database, answer, open_database


class PaymentSettings(ServerSettings, cli_prog_name="thirdparty_server", env_prefix="TILLMESH_PAYMENT_"):
    """Identities, accounts and payments. Each flag may also be set as TILLMESH_PAYMENT_NAME."""

    listen: str = Field("127.0.0.1:7002", description="address to serve on; port 0 takes a free one")
    database_url: str = Field(
        "sqlite:///thirdparty_server.db",
        description="this server's own database: sqlite:///FILE or postgresql://USER@HOST/NAME",
    )
    orders: str = Field("127.0.0.1:7001", description="address of the order service")
    payer_window_s: float = Field(90, gt=0, description="how long a payer may take to confirm, in seconds")
    lease_margin_s: float = Field(10, gt=0, description="by how much the order's lock outlasts that, in seconds")
    instant_lease_s: float = Field(30, gt=0, description="lock of a payment that nobody confirms, in seconds")
    lock_patience_s: float = Field(30, gt=0, description="how long to try to lock an order, in seconds")
    secret_file: Path | None = Field(
        None, description="file of 32 or more random bytes behind PINs, sessions and pay codes; needed with TLS"
    )
    session_s: float = Field(900, gt=0, description="how long a payer stays signed in, in seconds")
    pay_code_lock_s: float = Field(
        900, gt=0, description="how long a phone's pay codes do not count after five wrong ones, in seconds"
    )
    identity_guesses_per_hour: int = Field(
        100, gt=0, description="how many identities that cannot pay a store may name in an hour without a pay code"
    )

    @model_validator(mode="after")
    def _has_secret(self) -> Self:
        if self.tls_dir and self.secret_file is None:
            raise ValueError("--tls-dir needs --secret-file as well: 32 random bytes that are in no database")
        return self

    def addresses(self) -> list[str]:
        """Every address that is served on or called."""
        return [self.listen, self.orders]

    def vault(self) -> Vault:
        """The master secret, or its lack."""
        return Vault.open(self.secret_file) if self.secret_file else Vault(None)

    def timing(self) -> Timing:
        """The same in milliseconds."""
        return Timing(
            payer_window_ms=int(self.payer_window_s * 1000),
            lease_margin_ms=int(self.lease_margin_s * 1000),
            instant_lease_ms=int(self.instant_lease_s * 1000),
            lock_patience_ms=int(self.lock_patience_s * 1000),
        )


def assemble(
    settings: PaymentSettings, database: Database, orders_channel: aio.Channel, clock: Clock, rng: random.Random
) -> Wiring:
    """Puts the service together."""
    stub, peer = OrderServiceStub(orders_channel), Peer()
    orders, pending_orders = Orders(stub, peer), PendingOrders(stub, peer)
    server = settings.own_uri(Role.PAYMENTS)
    resolver = PaymentResolver(database, orders, clock, settings.timing(), rng, server)
    vault = settings.vault()
    tries = PinTries(database, vault, clock)
    code_lock_ms, session_ms = int(settings.pay_code_lock_s * 1000), int(settings.session_s * 1000)
    guesses_per_hour, streams = settings.identity_guesses_per_hour, Streams(database, FEED, clock, rng)
    api = "tillmesh.api.payment.v1"
    return Wiring(
        domain=DOMAIN,
        servicers={
            f"{api}.PaymentService": PaymentServicer(
                database, clock, resolver, orders, vault, tries, code_lock_ms, guesses_per_hour, streams
            ),
            f"{api}.RefundService": RefundServicer(database, clock, resolver, orders, vault, code_lock_ms),
            f"{api}.IdentityService": IdentityServicer(database, clock, vault),
            f"{api}.WalletService": WalletServicer(database, clock),
            f"{api}.PhoneService": PhoneServicer(database, clock, vault, settings.mesh),
            f"{api}.StoreService": StoreServicer(database, clock),
            f"{api}.AccountService": AccountServicer(database, clock, payer_operations.wallet_account),
            f"{api}.PayerService": PayerServicer(database, clock, pending_orders, vault, tries, session_ms),
            f"{api}.ClaimService": ClaimServicer(database, clock, pending_orders),
        },
        access=ACCESS,
        gate=settings.gate(),
        probe=lambda: database.run(answer),
        backlogs=lambda: database.run(read_backlogs, BACKLOGS, clock.now_ms()),
        loops=[resolver.run, Upkeep(database, clock, server).run, streams.run],
        on_stop=[tries.drain, resolver.stop, orders_channel.close, database.close],
        sign_in=Sessions(database, clock).sign_in,
    )


async def wire(settings: PaymentSettings) -> Wiring:
    """The service as a process runs it."""
    database = open_database(settings.database_url, METADATA)
    return assemble(
        settings, database, open_channel(settings.orders, Role.ORDERS, settings.tls()), settings.clock(), SYSTEM_RNG
    )


def main() -> None:
    """Starts the server with the flags of the command line."""
    settings = load_settings(PaymentSettings, sys.argv[1:])
    run("thirdparty_server", settings, lambda: wire(settings))
