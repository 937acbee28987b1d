"""`python -m tests.client.lone_till ADDRESS JOURNAL WHAT PAYER CODE`: a till that a test ends with kill -9.

It prints a line once it has a connection, and waits for one before it does what it is told to. Then it prints one for
each try that had no answer, and one at the end.
"""

import asyncio
import sys

from tests.client.sales import CUP, PRICE, TEA
from tillmesh.client import Failure, Till

CONNECTED, UNANSWERED, ENDED = "connected", "unanswered", "ended"
TRY_S = 0.5


def say(word: str) -> None:
    print(word, flush=True)


async def main(address: str, journal: str, what: str, payer: str, code: str) -> None:
    def tell(_failure: Failure) -> None:
        say(UNANSWERED)

    async with Till.connect(address, certificates=None, journal=journal, timeout_s=TRY_S, on_unanswered=tell) as till:
        basket = await till.open([TEA], payer=payer)
        if what != "basket":
            await basket.cancel()
        say(CONNECTED)
        await asyncio.to_thread(sys.stdin.readline)
        match what:
            case "sell":
                await till.sell([TEA], amount=PRICE, payer=payer, pay_code=code)
            case "basket":
                await basket.submit()
                await basket.pay(code)
            case "refund":
                await till.refund(payer)
            case "take back":
                await till.take_back([CUP], pay_code=code)
            case "void":
                await till.void(payer)
        say(ENDED)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
