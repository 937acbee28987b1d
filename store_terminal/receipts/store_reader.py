"""Reads the record of the store from the payment server, so that receipts can be printed while that is away."""

import structlog
from grpc import aio

from store_terminal.receipts.model import StoreRecord
from store_terminal.receipts.queries import keep_store_record
from tillmesh.api.payment.v1 import store_service_pb2 as api
from tillmesh.api.payment.v1.store_service_pb2_grpc import StoreServiceStub
from tillmesh.auth.callers import act_as
from tillmesh.rpc.peers import Peer
from tillmesh.runtime.errors import Refusal, Unanswered
from tillmesh.runtime.rounds import go_round
from tillmesh.storage.database import Database

READ_EVERY_S = 300.0
AGAIN_S = 10.0
"""How soon it asks again where it got no record."""
log = structlog.get_logger()


class StoreReader:
    """Keeps the record of one store; `server` is the URI in whose name it acts."""

    def __init__(self, database: Database, payments: aio.Channel, server: str, store_id: str) -> None:
        self._database = database
        self._peer = Peer()  # with a budget of its own: no payment goes without a retry because of it
        self._stores = StoreServiceStub(payments)
        self._server = server
        self._store_id = store_id

    async def run(self) -> None:
        """Reads until it is cancelled; soon again until there is a record."""
        act_as(self._server)
        await go_round("store reader", self._round)

    async def _round(self) -> float:
        return READ_EVERY_S if await self.read() else AGAIN_S

    async def read(self) -> bool:
        """Asks for the record once; False where there was none to keep."""
        request = api.GetStoreRequest(store_id=self._store_id)
        try:
            store = await self._peer.call(self._stores.GetStore, request)
            record = StoreRecord(
                store.store_id, store.name, tuple(store.address_lines), store.tax_number, store.time_zone
            )
            await self._database.run(keep_store_record, record)
        except (Refusal, Unanswered) as error:
            log.info("store_not_read", store_id=self._store_id, error=str(error))
            return False
        return True
