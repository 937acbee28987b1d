"""Up to which limits a wallet pays without a confirmation: options, and a sentence for people."""

from typing import TYPE_CHECKING, Annotated, Final

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from tillmesh.api.payment.v1 import wallet_pb2
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallet_api
from tillmesh.cli.display import amount
from tillmesh.cli.options import money
from tillmesh.client.connections import Connections
from tillmesh.runtime.ids import new_request_id

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.payment.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub
NONE = "none"
THRESHOLD: Final = "confirmation_threshold"
PER_DAY_MAX: Final = "unconfirmed_payments_per_day_max"
ConfirmAbove = Annotated[
    str | None,
    typer.Option(
        "--confirm-above",
        metavar="AMOUNT",
        help="Payments up to this amount need no confirmation. [default: the payer confirms every payment]",
    ),
]
PerDayMax = Annotated[
    int | None,
    typer.Option(
        "--per-day-max",
        min=0,
        max=10_000,
        help="So many payments a day at most go without a confirmation. [default: any number]",
    ),
]
NewConfirmAbove = Annotated[
    str | None,
    typer.Option(
        "--confirm-above",
        metavar="AMOUNT",
        help="Payments up to this amount need no confirmation; none: every payment needs one.",
    ),
]
NewPerDayMax = Annotated[
    str | None,
    typer.Option(
        "--per-day-max",
        metavar="NUMBER",
        help="So many payments a day at most go without a confirmation; none: any number.",
    ),
]


async def set_limits(
    connections: Connections,
    wallets: "WalletServiceAsyncStub",
    found: wallet_pb2.Wallet,
    confirm_above: str | None,
    per_day_max: str | None,
) -> wallet_pb2.Wallet:
    """Sets those limits that are given; `none` removes one."""
    new = wallet_pb2.Wallet(identity_id=found.identity_id, currency_code=found.currency_code)
    if confirm_above not in (None, NONE):
        new.confirmation_threshold.CopyFrom(money(confirm_above, found.currency_code))
    if per_day_max not in (None, NONE):
        new.unconfirmed_payments_per_day_max = _number(per_day_max)
    given = {THRESHOLD: confirm_above, PER_DAY_MAX: per_day_max}
    mask = FieldMask(paths=[name for name, value in given.items() if value is not None])
    if not mask.paths:
        return found
    request = wallet_api.UpdateWalletRequest(
        request_id=new_request_id(), wallet=new, update_mask=mask, version=found.version
    )
    return await connections.call(wallets.UpdateWallet, request)


def limits_sentence(of: wallet_pb2.Wallet) -> str:
    """The payments that the owner has to confirm."""
    if not of.HasField(THRESHOLD):
        return f"{of.identity_id} confirms every payment in {of.currency_code}."
    above = f"{of.identity_id} confirms every payment above {amount(of.confirmation_threshold)}."
    if not of.HasField(PER_DAY_MAX):
        return f"{above} Others need no confirmation."
    return f"{above} Of the others, {of.unconfirmed_payments_per_day_max} a day need no confirmation."


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise typer.BadParameter(f"{text!r} is neither a whole number nor {NONE}", param_hint="--per-day-max")
    return int(text)
