"""Orders as a device names them: by the transaction number, or by the QR code of a receipt."""

from dataclasses import dataclass

from store_terminal.checkouts.model import Checkout
from store_terminal.checkouts.queries import event_from
from store_terminal.errors import Reason
from tillmesh import receipt_code
from tillmesh.receipt_code import ReceiptCode
from tillmesh.rpc.fields import Fields
from tillmesh.runtime.ids import IDENTIFIER, IDENTIFIER_RULE
from tillmesh.storage.statements import Transaction


@dataclass(frozen=True, slots=True)
class NamedOrder:
    """An order, and the code of the receipt that named it, if one did."""

    order_id: str
    code: ReceiptCode | None = None


def named_order(fields: Fields, name: str, text: str) -> NamedOrder:
    """An order of this store, by a transaction number or the text of a receipt's code."""
    code = receipt_code.parse(text)
    ok = code is not None or bool(IDENTIFIER.fullmatch(text))
    fields.require(ok, name, f"{IDENTIFIER_RULE}, or the text of a receipt's QR code", text)
    return NamedOrder(code.order_id if code else text, code)


def check_code(transaction: Transaction, checkout: Checkout, named: NamedOrder, terminal_id: str) -> None:
    """Refuses a receipt's code that does not fit the history from which this till prints receipts of that checkout.

    Each terminal of the store has a history of its own, and two may have the same name. So a code of this name is
    compared only where a payment of this terminal paid, and only with what happened since then.
    """
    code, attempt = named.code, checkout.attempt
    if code is None or code.terminal_id != terminal_id or attempt is None or checkout.paid_by != attempt.payment_id:
        return
    event = event_from(transaction, checkout.checkout_id, code.event_count)
    if event and (event["number"] > code.event_count or event["at_ms"] < checkout.paid_at_ms):
        return  # it was pruned, or it is no event that this till prints a receipt after
    if event is None or not code.is_of(event["chain_hash"]):
        raise Reason.RECEIPT_CODE_MISMATCH(checkout_id=checkout.checkout_id)
