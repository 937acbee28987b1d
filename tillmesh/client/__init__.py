"""A client in Python: `Till` for makers of till software, `Connections` for everybody else.

A till, whole:

    from tillmesh.client import Line, Money, Refusal, Till, Verdict

    async with Till.connect("127.0.0.1:7003", certificates=FOLDER, journal="till.journal") as till:
        for unfinished in await till.resume():           # a crash is over: nothing is charged twice or forgotten
            try:
                print(await unfinished.ended())
            except Refusal as refusal:                   # nothing of it was done, and nothing will be
                print(refusal.text)

        lines = [Line(sku="MUG", title="Mug", quantity=2, unit_price_minor=650)]
        sale = await till.sell(lines, amount=Money("GBP", 1300), pay_code=scanned)
        async for said in sale.follow():                 # each change as it happens, to the end
            print(said.verdict, said.reason)
            if said.verdict is Verdict.ASK_PAYER and (pin := keyed_in()):
                await sale.enter_pin(pin)
            if said.verdict is Verdict.SAFE_TO_RETRY and (code := another_code()):
                await sale.pay(code)                     # or: await sale.cancel()
        if sale.said.hands_over:
            print("here are your mugs")

Where `sell` raises `Refusal`, nothing was sold, and nothing will be: `refusal.reason` says why. A till that shows
nothing while it resumes does so in tasks, and serves the next shopper meanwhile.

A basket that grows instead: `till.open`, `sale.scan` or `sale.add`, `sale.submit`, `sale.pay`, then `sale.follow`.
`sale.void` undoes a sale however far it is, and `till.refund` gives back a part.
"""

from tillmesh.api.terminal.v1.receipt_pb2 import Receipt
from tillmesh.client.desk import NotAllowed
from tillmesh.client.failures import Failure, NotLetIn, Unreachable
from tillmesh.client.refund import Item, Refund
from tillmesh.client.sale import Line, MayNotPay, Sale, Scanned
from tillmesh.client.till import Till
from tillmesh.client.verdicts import Outcome, Repaid, Said, Undone, Verdict
from tillmesh.runtime.errors import FieldViolation, Refusal
from tillmesh.runtime.money import Money

__all__ = [
    "Failure",
    "FieldViolation",
    "Item",
    "Line",
    "MayNotPay",
    "Money",
    "NotAllowed",
    "NotLetIn",
    "Outcome",
    "Receipt",
    "Refund",
    "Refusal",
    "Repaid",
    "Said",
    "Sale",
    "Scanned",
    "Till",
    "Undone",
    "Unreachable",
    "Verdict",
]
