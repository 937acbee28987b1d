"""`tillmesh scan`."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import scan_service_pb2 as api
from tillmesh.api.terminal.v1.decision_pb2 import Decision
from tillmesh.api.type.v1 import money_pb2
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.cli.at_till import at_till
from tillmesh.cli.checkout_records import article_name
from tillmesh.cli.display import amount, date_time, say, show_json
from tillmesh.cli.options import DEFAULT, Json, Terminal, run_async
from tillmesh.client.failures import Failure
from tillmesh.runtime.foreign_text import quoted

STDIN = "-"
Answer = api.ScanItemResponse
_AGE = (Decision.KIND_AGE,)
_DATE = (Decision.KIND_BEST_BEFORE, Decision.KIND_EXPIRED)


def scan(
    checkout: Annotated[str, typer.Argument(help="The checkout: the number of its order.")],
    codes: Annotated[
        list[str],
        typer.Argument(
            help="What a scanner sends; - reads codes from stdin, one a line. A pay code belongs there: "
            "everybody on the machine can read the arguments of a process."
        ),
    ],
    quantity: Annotated[int, typer.Option("--quantity", min=0, help="How many of each. [default: 1]")] = 0,
    yes_age: Annotated[bool, typer.Option("--yes-age", help="The shopper is old enough.")] = False,
    yes_date: Annotated[bool, typer.Option("--yes-date", help="Sell it although its date is over.")] = False,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Add what a scanner read to a checkout, one code after the other."""
    decided = [*(_AGE if yes_age else ()), *(_DATE if yes_date else ())]

    async def act() -> None:
        async with at_till(terminal) as till:
            sale = await till.find(checkout)
            async for code in _codes(codes):
                _show(await sale.scan(code, quantity=quantity, decided=decided))

    run_async(act())


async def _codes(codes: Sequence[str]) -> AsyncIterator[str]:
    for code in codes:
        if code != STDIN:
            yield code
            continue
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip("\r\n"):
                yield line.rstrip("\r\n")


def _show(answer: Answer) -> None:
    told = show_json([answer])
    if answer.outcome == Answer.OUTCOME_DECISION_REQUIRED:
        raise Failure("; ".join(map(_asked, answer.decisions)))
    if told:
        return
    checkout = answer.checkout
    match answer.outcome:
        case Answer.OUTCOME_ADDED:
            lines = [line for line in checkout.lines if answer.line_number in (line.line_number, line.deposit_of)]
            for line in lines:
                say(_line(line, checkout.amount.currency_code))
            say(f"{checkout.checkout_id} comes to {amount(checkout.amount)}.")
        case Answer.OUTCOME_PAY_CODE:
            say(f"A pay code. To pay with it: tillmesh pay {checkout.checkout_id} --pay-code")
        case Answer.OUTCOME_RECEIPT:
            say(f"A receipt. Of its order: tillmesh explain {answer.order_id}")


def _line(line: checkout_pb2.CheckoutLine, currency: str) -> str:
    item = line.item
    unit = LineItem.Unit.Name(item.unit).removeprefix("UNIT_").lower()
    comes_to = amount(money_pb2.Money(currency_code=currency, minor_units=item.amount_minor))
    return f"{line.line_number}. {quoted(article_name(item))}: {item.quantity:,} {unit}, {comes_to}"


def _asked(decision: Decision) -> str:
    match decision.kind:
        case Decision.KIND_AGE:
            return f"the shopper must be {decision.minimum_age_years} or older: repeat it with --yes-age"
        case Decision.KIND_BEST_BEFORE:
            return f"it was best before {date_time(decision.passed_time)}: repeat it with --yes-date"
        case Decision.KIND_EXPIRED:
            return f"it was to be used before {date_time(decision.passed_time)}: repeat it with --yes-date"
    return f"decision {decision.kind} is missing, which this program does not know"
