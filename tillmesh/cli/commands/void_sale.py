"""`tillmesh void-sale`."""

from tillmesh.cli.at_till import at_till
from tillmesh.cli.display import say, show_json
from tillmesh.cli.options import DEFAULT, Json, Note, RefundId, SoldOrder, Terminal, repeat_with, run_async
from tillmesh.client import Failure, Outcome, Refusal, Undone
from tillmesh.client.followed_sale import NOT_THERE
from tillmesh.runtime.foreign_text import named
from tillmesh.runtime.ids import new_request_id


def void_sale(
    order: SoldOrder,
    note: Note = "",
    refund_id: RefundId = "",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Undo a sale, however far it is: cancel it, or give back all that is left of what was paid."""
    chosen_id = refund_id or new_request_id()

    async def act() -> Undone:
        async with at_till(terminal) as till:
            return await till.void(order, note=note, refund_id=chosen_id)

    try:
        undone = run_async(act(), repeat_with("--refund-id", chosen_id))
    except Refusal as refusal:
        if refusal.reason != NOT_THERE:
            raise
        raise Failure(f"{refusal.text} Nothing was sold under that number here, and nothing will be.") from refusal
    if show_json([undone.answer]):
        return
    number = undone.answer.checkout.checkout_id
    match undone.outcome:
        case Outcome.CANCELED:
            say(f"Order {named(number)} is CANCELED: it can no longer be paid.")
        case Outcome.REFUNDED if undone.refunded:
            say(f"Order {named(number)} was paid and is REFUNDED: {undone.refunded} were given back.")
        case Outcome.REFUNDED:
            say(f"Order {named(number)} is REFUNDED: nothing was left to give back.")
        case _:
            again = f"repeat the command with --refund-id {chosen_id}"
            say(f"Order {named(number)} is being undone. To ask how far it is, {again}")
