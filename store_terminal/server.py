"""Wiring; `python -m store_terminal` starts it."""

import random
import sys
from dataclasses import replace

from grpc import aio
from pydantic import Field, field_validator

from store_terminal.access import ACCESS
from store_terminal.catalogue.servicer import CatalogueServicer
from store_terminal.catalogue.worker import CatalogueWorker
from store_terminal.checkouts.housekeeping import Housekeeping
from store_terminal.checkouts.model import Till
from store_terminal.checkouts.queries import FEED
from store_terminal.checkouts.servicer import CheckoutServicer
from store_terminal.errors import DOMAIN
from store_terminal.outbox.order_watch import OrderWatch
from store_terminal.outbox.peers import Peers
from store_terminal.outbox.queries import BACKLOGS
from store_terminal.outbox.worker import Outbox
from store_terminal.presenting.servicer import PresentationServicer
from store_terminal.receipts.language import LANGUAGE_RULE, is_known
from store_terminal.receipts.messages import CodePage, Look
from store_terminal.receipts.servicer import ReceiptServicer
from store_terminal.receipts.store_reader import StoreReader
from store_terminal.receipts.text import COLUMNS
from store_terminal.refunds.servicer import TillRefundServicer
from store_terminal.scanning.servicer import ScanServicer
from store_terminal.tables import METADATA
from tillmesh.auth.callers import Role
from tillmesh.rpc.peers import open_channel
from tillmesh.rpc.server import Wiring, run
from tillmesh.rpc.settings import ServerSettings, load_settings
from tillmesh.rpc.streams import Streams
from tillmesh.runtime.clock import DAY_MS, HOUR_MS, Clock
from tillmesh.runtime.ids import IDENTIFIER, SYSTEM_RNG
from tillmesh.runtime.money import CURRENCY_RULE, MINOR_DIGITS
from tillmesh.storage.backlogs import read_backlogs
from tillmesh.storage.database import Database, answer, open_database


class TerminalSettings(ServerSettings, cli_prog_name="store_terminal", env_prefix="TILLMESH_TERMINAL_"):
    """The till of a store. Each flag may also be set as TILLMESH_TERMINAL_NAME."""

    listen: str = Field("127.0.0.1:7003", description="address to serve on; port 0 takes a free one")
    database_url: str = Field(
        "sqlite:///store_terminal.db",
        description="this server's own database: sqlite:///FILE or postgresql://USER@HOST/NAME",
    )
    store_id: str = Field(pattern=f"^{IDENTIFIER.pattern}$", description="the store that it stands in")
    terminal_id: str = Field("till-1", pattern=f"^{IDENTIFIER.pattern}$", description="what its receipts call it")
    currency: str = Field("GBP", description="ISO 4217 code of checkouts that do not name another")
    prices_include_tax: bool = Field(
        True, description="whether prices include their taxes, in checkouts that do not say it"
    )
    orders: str = Field("127.0.0.1:7001", description="address of the order service")
    payments: str = Field("127.0.0.1:7002", description="address of the payment server")
    payment_wait_s: float = Field(
        60, gt=0, description="how long to wait for a payment's outcome before it is canceled, in seconds"
    )
    basket_days: float = Field(
        7, ge=0, description="after how many days without a change a basket is canceled; 0 is never"
    )
    names_days: float = Field(
        30, ge=0, description="how many days after payment the payer's name is dropped; 0 is never"
    )
    receipt_language: str = Field("en", description="language of receipts, of requests that do not name another")
    receipt_columns: int = Field(42, description="columns of its printer's paper: 32, 42 or 48")
    code_page: CodePage = Field("cp858", description="code page of its printer")

    parked_hours: float = Field(24, ge=0, description="after how many hours a parked checkout is canceled; 0 is never")

    @field_validator("currency")
    @classmethod
    def _known(cls, code: str) -> str:
        if code not in MINOR_DIGITS:
            raise ValueError(CURRENCY_RULE)
        return code

    @field_validator("receipt_language")
    @classmethod
    def _spoken(cls, language: str) -> str:
        if not is_known(language):
            raise ValueError(LANGUAGE_RULE)
        return language

    @field_validator("receipt_columns")
    @classmethod
    def _wide(cls, columns: int) -> int:
        if columns not in COLUMNS:
            raise ValueError("must be 32, 42 or 48")
        return columns

    def addresses(self) -> list[str]:
        """Every address that is served on or called."""
        return [self.listen, self.orders, self.payments]

    def till(self) -> Till:
        """The identity of this till."""
        wait_ms, parked_ms = int(self.payment_wait_s * 1000), int(self.parked_hours * HOUR_MS)
        return Till(self.store_id, self.terminal_id, self.currency, self.prices_include_tax, wait_ms, parked_ms)

    def look(self) -> Look:
        """How its receipts are shown."""
        return Look(self.receipt_language, self.receipt_columns, self.code_page)


def assemble(
    settings: TerminalSettings,
    database: Database,
    orders_channel: aio.Channel,
    payments_channel: aio.Channel,
    clock: Clock,
    rng: random.Random,
) -> Wiring:
    """Puts the service together."""
    till, own_uri = settings.till(), settings.own_uri(Role.TERMINAL)
    outbox = Outbox(database, Peers.over(orders_channel, payments_channel), clock, rng, till, own_uri)
    basket_ms, names_ms = int(settings.basket_days * DAY_MS), int(settings.names_days * DAY_MS)
    housekeeping = Housekeeping(database, clock, own_uri, basket_ms, names_ms, rng)
    catalogue = CatalogueWorker(database, clock, own_uri)
    streams = Streams(database, FEED, clock, rng)
    watch = OrderWatch(database, Peers.over(orders_channel, payments_channel), outbox, rng, own_uri, settings.store_id)
    store = StoreReader(database, payments_channel, own_uri, till.store_id)
    api = "tillmesh.api.terminal.v1"
    return Wiring(
        domain=DOMAIN,
        servicers={
            f"{api}.CheckoutService": CheckoutServicer(database, clock, outbox, rng, till, streams),
            f"{api}.TillRefundService": TillRefundServicer(database, clock, outbox, till),
            f"{api}.ReceiptService": ReceiptServicer(database, clock, till, settings.look()),
            f"{api}.PresentationService": PresentationServicer(database, clock, outbox.peers, rng, till),
            f"{api}.ScanService": ScanServicer(database, clock, outbox, rng, till),
            f"{api}.CatalogueService": CatalogueServicer(database, clock, catalogue),
        },
        access=ACCESS,
        gate=replace(gate, store_id=settings.store_id) if (gate := settings.gate()) else None,
        probe=lambda: database.run(answer),
        backlogs=lambda: database.run(read_backlogs, BACKLOGS, clock.now_ms()),
        loops=[outbox.run, housekeeping.run, catalogue.run, store.run, watch.run, streams.run],
        on_stop=[outbox.stop, orders_channel.close, payments_channel.close, database.close],
    )


async def wire(settings: TerminalSettings) -> Wiring:
    """The service as a process runs it."""
    database = open_database(settings.database_url, METADATA)
    orders = open_channel(settings.orders, Role.ORDERS, settings.tls())
    payments = open_channel(settings.payments, Role.PAYMENTS, settings.tls())
    return assemble(settings, database, orders, payments, settings.clock(), SYSTEM_RNG)


def main() -> None:
    """Starts the server with the flags of the command line."""
    settings = load_settings(TerminalSettings, sys.argv[1:])
    run("store_terminal", settings, lambda: wire(settings))
