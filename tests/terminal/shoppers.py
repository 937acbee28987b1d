"""Shoppers with wallets, and the store that they are in, as the payment server has them."""

import grpc

from tests.processes import DEADLINE_S
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_pb2, store_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import store_service_pb2 as stores_api
from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceStub
from tillmesh.api.payment.v1.identity_service_pb2_grpc import IdentityServiceStub
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.payment.v1.phone_service_pb2_grpc import PhoneServiceStub
from tillmesh.api.payment.v1.store_service_pb2_grpc import StoreServiceStub
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.ids import new_request_id

STORE = "store-1"
INSTANT = 10**12
"""A threshold below which every payment of a test is: nobody is asked."""


class Shoppers:
    """Who pays, and who is paid."""

    def __init__(self, payments: grpc.Channel) -> None:
        self.payments = PaymentServiceStub(payments)
        self.identities = IdentityServiceStub(payments)
        self.phones = PhoneServiceStub(payments)
        self._stores = StoreServiceStub(payments)
        self._accounts = AccountServiceStub(payments)

    def shopper(self, funds: int = 100_000, currency: str = "GBP", threshold: int = INSTANT) -> str:
        """A new identity with money in its wallet, who is asked for what exceeds the threshold."""
        identity_id = f"shopper-{new_request_id()}"
        self.identities.CreateIdentity(
            identities_api.CreateIdentityRequest(
                identity_id=identity_id,
                display_name="Ada",
                currency_code=currency,
                confirmation_threshold=Money(currency_code=currency, minor_units=threshold),
            ),
            timeout=DEADLINE_S,
        )
        if funds:
            amount = Money(currency_code=currency, minor_units=funds)
            self._accounts.CreateDeposit(
                accounts_api.CreateDepositRequest(deposit_id=new_request_id(), identity_id=identity_id, amount=amount),
                timeout=DEADLINE_S,
            )
        return identity_id

    def open_store(self, limit: int = 10_000) -> None:
        """Registers the store of the tests, which may give so much back without a sale."""
        store = store_pb2.Store(
            store_id=STORE,
            name="Corner shop",
            time_zone="Europe/London",
            currency_code="GBP",
            unreferenced_refund_limit=Money(currency_code="GBP", minor_units=limit),
        )
        self._stores.CreateStore(stores_api.CreateStoreRequest(store=store), timeout=DEADLINE_S)

    def wallet(self, identity_id: str, currency: str = "GBP") -> tuple[int, int]:
        """Posted and held, in minor units."""
        request = accounts_api.GetAccountRequest(account_id=f"wallet/{identity_id}/{currency}")
        account = self._accounts.GetAccount(request, timeout=DEADLINE_S)
        return account.posted.minor_units, account.held.minor_units

    def cancel_payment(self, payment_id: str) -> payment_pb2.Payment:
        """The payer, or the platform, gives it up."""
        request = payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment_id)
        return self.payments.CancelPayment(request, timeout=DEADLINE_S)

    def payment(self, payment_id: str) -> payment_pb2.Payment:
        return self.payments.GetPayment(payments_api.GetPaymentRequest(payment_id=payment_id), timeout=DEADLINE_S)
