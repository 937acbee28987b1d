"""Wallets: protobuf to model and back, nothing else."""

from typing import Any

from thirdparty_server import updates
from thirdparty_server.ledger.model import wallet
from thirdparty_server.once import run_once
from thirdparty_server.payers import messages, operations, queries
from thirdparty_server.payers.model import Wallet
from tillmesh.api.payment.v1 import wallet_pb2
from tillmesh.api.payment.v1 import wallet_service_pb2 as api
from tillmesh.auth.callers import require_payer
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.paging import Page
from tillmesh.runtime.clock import Clock
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey

THRESHOLD = "confirmation_threshold"
PER_DAY_MAX = "unconfirmed_payments_per_day_max"


class WalletServicer:
    """tillmesh.api.payment.v1.WalletService."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def OpenWallet(self, request: api.OpenWalletRequest) -> wallet_pb2.Wallet:
        """Opens a wallet in another currency."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.currency("currency_code", request.currency_code)
        now_ms = self._clock.now_ms()
        new = Wallet(
            identity_id=request.identity_id,
            currency=request.currency_code,
            threshold_minor=messages.threshold(fields, "", request),
            unconfirmed_per_day_max=messages.unconfirmed_max(fields, "", request),
            version=1,
            created_at_ms=now_ms,
        )
        fields.check()
        opened = await run_once(
            self._database,
            IdempotencyKey.of(request, request.request_id, now_ms),
            new.account.account_id,
            effect=lambda transaction: operations.open_wallet(transaction, wallet=new),
            read=lambda transaction: operations.get_wallet(transaction, new.identity_id, new.currency),
        )
        return messages.to_wallet(opened)

    async def GetWallet(self, request: api.GetWalletRequest) -> wallet_pb2.Wallet:
        """Reads one wallet."""
        found = await self._database.run(
            lambda transaction: operations.get_wallet(transaction, request.identity_id, request.currency_code)
        )
        return messages.to_wallet(found)

    async def ListWallets(self, request: api.ListWalletsRequest) -> api.ListWalletsResponse:
        """Lists an identity's wallets by currency."""
        identity_id = request.identity_id
        require_payer(identity_id)
        filters = ["ListWallets", identity_id]
        page = Page[Wallet](self._database.seal, request.page_size, request.page_token, filters)
        after = page.after[0] if page.after else ""
        rows = await self._database.run(
            lambda transaction: queries.list_wallets(transaction, identity_id, after, page.at_most)
        )
        shown, token = page.cut(rows, lambda row: [row.currency], messages.to_wallet)
        return api.ListWalletsResponse(wallets=shown, next_page_token=token)

    async def UpdateWallet(self, request: api.UpdateWalletRequest) -> wallet_pb2.Wallet:
        """Changes what the mask names."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        new, changes = request.wallet, dict[str, Any]()
        identity_id = fields.identity("wallet.identity_id", new.identity_id)
        currency = fields.currency("wallet.currency_code", new.currency_code)
        mask = updates.update_mask(fields, request.update_mask, [THRESHOLD, PER_DAY_MAX])
        if THRESHOLD in mask:
            changes["threshold_minor"] = messages.threshold(fields, "wallet.", new)
        if PER_DAY_MAX in mask:
            changes["unconfirmed_per_day_max"] = messages.unconfirmed_max(fields, "wallet.", new)
        fields.check()
        changed = await run_once(
            self._database,
            IdempotencyKey.of(request, request.request_id, self._clock.now_ms()),
            wallet(identity_id, currency).account_id,
            effect=lambda transaction: operations.update_wallet(
                transaction, identity_id=identity_id, currency=currency, version=request.version, changes=changes
            ),
            read=lambda transaction: operations.get_wallet(transaction, identity_id, currency),
        )
        return messages.to_wallet(changed)
