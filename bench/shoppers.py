"""Shoppers with money, and phones that show their pay codes."""

from dataclasses import dataclass

from bench.load import TIMEOUT_S, closed_loop, connect
from bench.servers import Target
from tillmesh import paycode
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import phone_service_pb2 as phones_api
from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceStub
from tillmesh.api.payment.v1.identity_service_pb2_grpc import IdentityServiceStub
from tillmesh.api.payment.v1.phone_service_pb2_grpc import PhoneServiceStub
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.runtime.clock import SystemClock
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

SHOPPERS = 64
"""More than calls at a time, so that no two of them are about the same wallet."""
AT_A_TIME = 16
CURRENCY = "GBP"
DEPOSIT = Money(currency_code=CURRENCY, minor_units=10_000_000_000)

LINES = (
    LineItem(sku="22423", title="REGENCY CAKESTAND 3 TIER", quantity=2, unit_price_minor=1275),
    LineItem(sku="85123A", title="WHITE HANGING HEART T-LIGHT HOLDER", quantity=6, unit_price_minor=255),
    LineItem(sku="47566", title="PARTY BUNTING", quantity=1, unit_price_minor=495),
)
AMOUNT = Money(currency_code=CURRENCY, minor_units=sum(line.quantity * line.unit_price_minor for line in LINES))


@dataclass(frozen=True)
class Phone:
    """A shopper's phone. It pays once: its key makes a new code only every half minute."""

    identity_id: str
    handle: str
    key: Secret

    def code(self) -> str:
        """The pay code of the moment: with it a till's payment has the shopper's yes."""
        return paycode.make(self.handle, self.key, paycode.step_at(SystemClock().now_ms())).value.decode()


async def open_wallets(payments: Target) -> None:
    """Registers all shoppers, each with more money than a run can spend; `payments` is called as the platform."""
    channel = await connect(payments)
    identities, accounts = IdentityServiceStub(channel), AccountServiceStub(channel)

    async def open_wallet(number: int) -> None:
        identity_id = shopper(number)
        create = identities_api.CreateIdentityRequest(
            identity_id=identity_id,
            display_name=identity_id,
            currency_code=CURRENCY,
            confirmation_threshold=DEPOSIT,
        )
        await identities.CreateIdentity(create, timeout=TIMEOUT_S)
        deposit = accounts_api.CreateDepositRequest(
            deposit_id=new_request_id(), identity_id=identity_id, amount=DEPOSIT
        )
        await accounts.CreateDeposit(deposit, timeout=TIMEOUT_S)

    await closed_loop(open_wallet, range(SHOPPERS), AT_A_TIME)
    await channel.close()


async def give_phones(payments: Target, count: int, shoppers: int) -> list[Phone]:
    """New phones, in turn to so many shoppers; `payments` is called as the platform, which binds them."""
    channel = await connect(payments)
    binder, phones = PhoneServiceStub(channel), []

    async def give(number: int) -> None:
        phone_id, identity_id = new_request_id(), shopper(number % shoppers)
        bind = phones_api.BindPhoneRequest(request_id=new_request_id(), identity_id=identity_id, phone_id=phone_id)
        key = (await binder.BindPhone(bind, timeout=TIMEOUT_S)).pay_code_key
        phones.append(Phone(identity_id, key.handle, Secret(key.key)))

    await closed_loop(give, range(count), AT_A_TIME)
    await channel.close()
    return phones


def shopper(number: int) -> str:
    """The identity of a shopper."""
    return f"shopper-{number % SHOPPERS}"


def payer(identity_id: str) -> Payer:
    """That shopper as the payer of an order."""
    return Payer(identity_id=identity_id)
