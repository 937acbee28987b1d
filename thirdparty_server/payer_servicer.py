"""Payers on their own terminals: protobuf to model and back, nothing else."""

from thirdparty_server.errors import Reason
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payers_api


class PayerServicer:
    """tillmesh.api.payment.v1.PayerService."""

    async def SignIn(self, request: payers_api.SignInRequest) -> payers_api.Session:
        """Signs in whoever the device is bound to."""
        raise Reason.SECRET_MISSING()

    async def SignOut(self, request: payers_api.SignOutRequest) -> payers_api.SignOutResponse:
        """Ends the session."""
        raise Reason.SECRET_MISSING()

    async def RenewPayCodeKey(self, request: payers_api.RenewPayCodeKeyRequest) -> identities_api.PayCodeKey:
        """Makes a new key for pay codes."""
        raise Reason.SECRET_MISSING()

    async def ListPendingTransactions(
        self, request: payers_api.ListPendingTransactionsRequest
    ) -> payers_api.ListPendingTransactionsResponse:
        """Lists the payer's pending transactions at all shops."""
        raise Reason.SECRET_MISSING()
