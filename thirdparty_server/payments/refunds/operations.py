"""Refunds: one function for each RPC, each one transaction."""

from collections.abc import Mapping

from thirdparty_server.errors import Reason
from thirdparty_server.ledger import accounts, entries
from thirdparty_server.ledger.model import ACCOUNTS, Purpose, Transfer, store_returns
from thirdparty_server.payers import queries as payer_queries
from thirdparty_server.payers.model import Phone, Wallet
from thirdparty_server.payers.operations import get_identity, get_wallet
from thirdparty_server.payers.pay_codes import ShownCode, find_code, take_code
from thirdparty_server.payments import operations as payment_operations
from thirdparty_server.payments.lifecycle import PAYMENT, PaymentEvent
from thirdparty_server.payments.model import PaidVersion, Payment
from thirdparty_server.payments.refunds import queries
from thirdparty_server.payments.refunds.model import Everything, GivenBack, NewRefund, Refund, RefundLine, Wanted
from thirdparty_server.stores import queries as store_queries
from thirdparty_server.stores.model import StoreState
from tillmesh.auth.callers import Role, acting_role, require_store
from tillmesh.lines import Returned, limited, returned
from tillmesh.payer import identity
from tillmesh.runtime.errors import Refusal, found
from tillmesh.runtime.money import Money
from tillmesh.storage.batches import takes_turns
from tillmesh.storage.statements import Transaction


@takes_turns(ACCOUNTS)
def refund_payment(
    transaction: Transaction, new: NewRefund, payment_id: str, wanted: Wanted, paid: PaidVersion | None
) -> Refund:
    """Gives back money of a payment; `paid` is what it paid for, which an amount alone does not need.

    Everything is computed from what is read after the payment was taken: two refunds at once give no piece and no
    penny back twice.
    """
    payment = payment_operations.take_payment(transaction, payment_id)
    if isinstance(wanted, Money) and wanted.currency != payment.amount.currency:
        currency = payment.amount.currency
        raise Reason.CURRENCY_MISMATCH(payment_id=payment_id, currency=currency, wanted=wanted.currency)
    if not PAYMENT.is_legal(payment.state, PaymentEvent.REFUNDED):
        raise Reason.PAYMENT_NOT_CAPTURED(payment_id=payment_id, state=payment.state)
    if isinstance(wanted, Money):
        given = _amount_within(payment, wanted)
    elif paid is None:  # it was not captured when its lines were to be read
        raise Reason.PAYMENT_NOT_SETTLED(payment_id=payment_id, state=payment.state)
    else:
        given = lines_given_back(transaction, payment, wanted, paid)
    refund = new.made(payment.store_id, payment.payer, given, payment_id=payment_id)
    payment_operations.give_back(transaction, payment, new.refund_id, given.amount, new.created_at_ms)
    queries.insert_refund(transaction, refund)
    return refund


def lines_given_back(
    transaction: Transaction, payment: Payment, wanted: Mapping[int, int] | Everything, paid: PaidVersion
) -> GivenBack:
    """Computes the refund of lines from the lines that came back before. The payment must be taken.

    It is never more than what is left of the payment, of which amounts may have been refunded without lines.
    """
    before = queries.given_back(transaction, payment.payment_id)
    has = [line.quantity - before.get(number, 0) for number, line in enumerate(paid.lines, 1)]
    if isinstance(wanted, Everything):
        coming_back = {index: quantity for index, quantity in enumerate(has) if quantity}
    else:
        coming_back = _within(payment, wanted, has)
    worth = returned(paid.lines, has, coming_back, prices_include_tax=paid.prices_include_tax)
    left = payment.left
    if not left.minor and (worth.amount_minor or isinstance(wanted, Everything)):
        raise Reason.PAYMENT_ALREADY_REFUNDED(payment_id=payment.payment_id)
    amount = left if isinstance(wanted, Everything) else Money(left.currency, min(worth.amount_minor, left.minor))
    if amount.minor < worth.amount_minor:
        worth = limited(paid.lines, worth, amount.minor, prices_include_tax=paid.prices_include_tax)
    return GivenBack(amount, worth.taxes, _refund_lines(coming_back, worth))


@takes_turns(ACCOUNTS)
def create_unreferenced_refund(
    transaction: Transaction, new: NewRefund, store_id: str, payee: str | ShownCode, amount: Money
) -> Refund:
    """Gives money back without a sale, to an identity or whoever showed a pay code, within the store's limit."""
    require_store(store_id)
    if not payee:
        raise Reason.PAY_CODE_REQUIRED(refund_id=new.refund_id)
    shop = store_queries.STORES.find(transaction, store_id)
    if shop and shop.state is StoreState.SUSPENDED:
        raise Reason.STORE_SUSPENDED(store_id=store_id)
    if isinstance(payee, str):
        made, wallet = None, _wallet_of(transaction, payee, amount.currency)
    else:
        made = _made(transaction, payee, new.created_at_ms)
        wallet = _wallet_of(transaction, made[0], amount.currency)
    debit = store_returns(store_id, amount.currency)
    account = accounts.find_account(transaction, debit.account_id) if shop else None
    left = account.left if account else Money(amount.currency, 0)
    if left.minor < amount.minor:
        raise _exceeds_limit(store_id, left, amount)
    if made and (reason := take_code(transaction, *made, new.created_at_ms)):
        raise Reason[reason]()
    back = Transfer(debit, wallet.account, amount, Purpose.UNREFERENCED_REFUND, new.refund_id)
    try:
        entries.transfer(transaction, back, new.created_at_ms)
    except accounts.Overdrawn:  # another process gave money back meanwhile
        raise _exceeds_limit(store_id, left, amount) from None
    by_code = isinstance(payee, ShownCode)
    refund = new.made(store_id, identity(wallet.identity_id), GivenBack(amount), by_code=by_code)
    queries.insert_refund(transaction, refund)
    return refund


def get_refund(transaction: Transaction, refund_id: str) -> Refund:
    """The refund of that id."""
    refund = queries.find_refund(transaction, refund_id)
    require_store(refund.store_id if refund else None)
    return found(refund, Reason.REFUND_NOT_FOUND, refund_id=refund_id)


def _exceeds_limit(store_id: str, left: Money, wanted: Money) -> Refusal:
    return Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED(store_id=store_id, left=left, wanted=wanted)


def _amount_within(payment: Payment, wanted: Money) -> GivenBack:
    left = payment.left
    if not left.minor:
        raise Reason.PAYMENT_ALREADY_REFUNDED(payment_id=payment.payment_id)
    if wanted.minor > left.minor:
        raise Reason.REFUND_EXCEEDS_PAYMENT(payment_id=payment.payment_id, left=left, wanted=wanted)
    return GivenBack(wanted)


def _within(payment: Payment, wanted: Mapping[int, int], has: list[int]) -> dict[int, int]:
    """Quantities by position from 0, each at most what is left of its line."""
    order_id, coming_back = payment.order_id, {}
    for number, quantity in wanted.items():
        if number > len(has):
            raise Reason.LINE_NOT_FOUND(order_id=order_id, line_number=number, lines=len(has))
        if quantity > has[number - 1]:
            left = has[number - 1]
            raise Reason.REFUND_EXCEEDS_LINE(order_id=order_id, line_number=number, left=left, wanted=quantity)
        coming_back[number - 1] = quantity
    return coming_back


def _refund_lines(coming_back: Mapping[int, int], worth: Returned) -> tuple[RefundLine, ...]:
    amounts = worth.line_amounts
    return tuple(RefundLine(index + 1, quantity, amounts[index]) for index, quantity in sorted(coming_back.items()))


def _made(transaction: Transaction, shown: ShownCode, now_ms: int) -> tuple[Phone, int]:
    """The phone that made a code, and for which step. A wrong code was counted before, where no refusal undoes it."""
    phone, step = find_code(transaction, shown, now_ms)
    if phone is None or step is None:
        raise Reason.PAY_CODE_INVALID()
    return phone, step


def _wallet_of(transaction: Transaction, payee: Phone | str, currency: str) -> Wallet:
    """Where the money goes. No store terminal learns who there is, nor who showed it a code."""
    if isinstance(payee, Phone):
        wallet = payer_queries.WALLETS.find(transaction, payee.identity_id, currency)
        return found(wallet, Reason.NO_WALLET_IN_CURRENCY, currency=currency)
    try:
        get_identity(transaction, payee)
        return get_wallet(transaction, payee, currency)
    except Refusal:
        if acting_role() is Role.TERMINAL:
            raise Reason.DECLINED() from None
        raise
