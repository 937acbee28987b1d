"""Wallets: protobuf to model and back, nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thirdparty_server.ledger.model import wallet
from thirdparty_server.payers import messages, operations, queries
from thirdparty_server.updates import Update
from tillmesh.api.payment.v1 import wallet_pb2
from tillmesh.api.payment.v1 import wallet_service_pb2 as api
from tillmesh.auth.callers import require_payer
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.servicer import Servicer, masked

CHANGEABLE: dict[str, Callable[[Fields, wallet_pb2.Wallet], Any]] = {
    "confirmation_threshold": lambda fields, new: messages.threshold(fields, new, "wallet."),
    "unconfirmed_payments_per_day_max": lambda fields, new: messages.unconfirmed_max(fields, new, "wallet."),
}


@dataclass(frozen=True)
class WalletServicer(Servicer):
    """tillmesh.api.payment.v1.WalletService."""

    async def OpenWallet(self, request: api.OpenWalletRequest) -> wallet_pb2.Wallet:
        """Opens a wallet in another currency."""
        with Fields() as fields:
            request_id = fields.identifier("request_id", request.request_id)
            new = messages.new_wallet(fields, request, self.clock.now_ms())
        opened = await self._once(
            request,
            request_id,
            new.account.account_id,
            lambda transaction, _account_id: operations.get_wallet(
                transaction, request.identity_id, request.currency_code
            ),
            operations.open_wallet,
            new,
        )
        return messages.to_wallet(opened)

    async def GetWallet(self, request: api.GetWalletRequest) -> wallet_pb2.Wallet:
        """Reads one wallet."""
        found = await self.database.run(operations.get_wallet, request.identity_id, request.currency_code)
        return messages.to_wallet(found)

    async def ListWallets(self, request: api.ListWalletsRequest) -> api.ListWalletsResponse:
        """Lists an identity's wallets by currency."""
        require_payer(request.identity_id)
        shown, token = await self._listed(
            request, queries.list_wallets, lambda found: (found.currency,), messages.to_wallet, request.identity_id
        )
        return api.ListWalletsResponse(wallets=shown, next_page_token=token)

    async def UpdateWallet(self, request: api.UpdateWalletRequest) -> wallet_pb2.Wallet:
        """Changes what the mask names."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            identity_id = fields.identity("wallet.identity_id", request.wallet.identity_id)
            currency = fields.currency("wallet.currency_code", request.wallet.currency_code)
            changes = masked(fields, request.update_mask, CHANGEABLE, request.wallet)
        changed = await self._once(
            request,
            request.request_id,
            wallet(identity_id, currency).account_id,
            lambda transaction, _account_id: operations.get_wallet(transaction, identity_id, currency),
            operations.update_wallet,
            identity_id,
            currency,
            Update(request.version, changes),
        )
        return messages.to_wallet(changed)
