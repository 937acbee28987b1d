"""The simulated payers of a sandbox: one table, which the sandbox plays, the tests check and docs/sandbox.md shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

ORDERS, PAYMENTS, TERMINAL = "order_service", "thirdparty_server", "store_terminal"
PIN = "2580"
LATER_S = 3.0
"""After how long a payer acts who does not act at once."""


class Answer(Enum):
    """What a payer does with a payment that waits for a yes."""

    YES = "says yes at once"
    YES_LATER = "says yes after a while"
    NO_LATER = "says no after a while"
    NONE = "does not answer"


class Deed(Enum):
    """What happens to the orders of a payer beside the till."""

    CHANGED = "somebody changes the order"
    CANCELED = "somebody cancels the order"
    PAID_BY_PHONE = "the payer pays with the phone"
    REFUNDED = "the platform gives the money back"


class Code(Enum):
    """Which pay code the payer's phone shows."""

    FRESH = "one that counts"
    USED = "one that was used before"
    WRONG = "one that was made up"
    LOCKED = "one of a phone whose codes are locked"
    LOST = "one during whose payment the terminal crashes"


class How(Enum):
    """How calls about a payer go wrong."""

    AWAY = "the server does not answer for some time, from the first of these calls on"
    ANSWER_LOST = "the server does what is asked, and its first answer is lost"
    SLOW = "the server takes its time"
    CUT = "the stream is cut after each answer"
    BRIEF = "the order is locked for a short time only"
    CRASH = "the server ends with kill -9 after some time"


@dataclass(frozen=True)
class Fault:
    """A fault of one server in calls about one payer; `calls` empty is all of them."""

    server: str
    how: How
    seconds: float = 0.0
    calls: frozenset[str] = frozenset()


class By(StrEnum):
    """How a till finds the payer."""

    ID = "id"
    CODE = "code"


@dataclass(frozen=True)
class SimulatedPayer:
    """One row of the table: what the payer does, and what a till sees in the end."""

    identity_id: str
    story: str
    verdict: str
    reason: str = ""
    meanwhile: str = ""
    """A verdict that the till sees before it."""
    by: tuple[By, ...] = (By.ID, By.CODE)
    """How the row works; under the id a till names a payer, and under a code it scans one."""
    by_code: str = ""
    """The reason where a code was scanned, if it is another one."""
    answer: Answer = Answer.YES
    deed: Deed | None = None
    code: Code = Code.FRESH
    faults: tuple[Fault, ...] = ()
    pin: str = ""
    is_known: bool = True
    has_wallet: bool = True
    is_rich: bool = True


GOODS, RETRY, CLOSED = "HAND_OVER_GOODS", "SAFE_TO_RETRY", "CLOSED"
ABOUT_PAYMENTS = frozenset({"CreatePayment", "GetPayment", "ConfirmPayment", "CancelPayment"})
LOCKING = frozenset({"LockOrder"})
COMPLETING = frozenset({"CompleteOrderPayment"})
CANCELING = frozenset({"CancelOrderPayment"})
REFUNDING = frozenset({"RefundCheckout", "VoidCheckout"})

PAYERS = (
    SimulatedPayer("sandbox-paid", "Pays at once.", GOODS),
    SimulatedPayer(
        "sandbox-says-yes", f"Has to confirm, and says yes after {LATER_S:g} seconds.", GOODS, meanwhile="ASK_PAYER",
        answer=Answer.YES_LATER,
    ),
    SimulatedPayer(
        "sandbox-says-no", f"Has to confirm, and says no after {LATER_S:g} seconds.", RETRY, "PAYMENT_CANCELED",
        meanwhile="ASK_PAYER", answer=Answer.NO_LATER,
    ),
    SimulatedPayer(
        "sandbox-silent", "Has to confirm, and never answers.", RETRY, "PAYER_TIMEOUT", meanwhile="ASK_PAYER",
        answer=Answer.NONE,
    ),
    SimulatedPayer(
        "sandbox-pin", f"Has to confirm, with the PIN {PIN} at the till. Five other PINs lock it until a reset.", GOODS,
        meanwhile="ASK_PAYER", answer=Answer.NONE, pin=PIN,
    ),
    SimulatedPayer(
        "sandbox-poor", "Says yes, and has no money.", RETRY, "DECLINED", by_code="INSUFFICIENT_FUNDS", is_rich=False
    ),
    SimulatedPayer(
        "sandbox-no-wallet", "Has no wallet in the currency of the sandbox.", RETRY, "DECLINED",
        by_code="WALLET_NOT_FOUND", has_wallet=False,
    ),
    SimulatedPayer("sandbox-nobody", "Does not exist.", RETRY, "DECLINED", by=(By.ID,), is_known=False),
    SimulatedPayer(
        "sandbox-code-used", "Shows a pay code that was used before.", RETRY, "PAY_CODE_USED", by=(By.CODE,),
        code=Code.USED,
    ),
    SimulatedPayer(
        "sandbox-code-wrong", "Shows a pay code that was made up.", RETRY, "PAY_CODE_INVALID", by=(By.CODE,),
        code=Code.WRONG,
    ),
    SimulatedPayer(
        "sandbox-code-locked", "Shows a pay code after five wrong ones of the same phone.", RETRY, "PAY_CODE_LOCKED",
        by=(By.CODE,), code=Code.LOCKED,
    ),
    SimulatedPayer(
        "sandbox-code-lost", "The terminal crashes before the payment server has the code, and starts again.", RETRY,
        "PAY_CODE_LOST", by=(By.CODE,), code=Code.LOST,
    ),
    SimulatedPayer(
        "sandbox-phone-pays",
        "Pays with the phone once the order is submitted. Call SubmitCheckout, and neither PayCheckout nor Sell.",
        GOODS,
        "PAID_BY_ANOTHER_PAYMENT", by=(By.ID,), deed=Deed.PAID_BY_PHONE,
    ),
    SimulatedPayer(
        "sandbox-changed-meanwhile", "Somebody changes the order before it is locked.", RETRY, "VERSION_MISMATCH",
        by=(By.ID,), deed=Deed.CHANGED, faults=(Fault(ORDERS, How.SLOW, 2, LOCKING),),
    ),
    SimulatedPayer(
        "sandbox-canceled-meanwhile", "Somebody cancels the order before it is locked.", CLOSED, by=(By.ID,),
        deed=Deed.CANCELED, faults=(Fault(ORDERS, How.SLOW, 2, LOCKING),),
    ),
    SimulatedPayer(
        "sandbox-payments-away", "The payment server is away for 5 seconds.", GOODS, by=(By.ID,),
        faults=(Fault(PAYMENTS, How.AWAY, 5, ABOUT_PAYMENTS),),
    ),
    SimulatedPayer(
        "sandbox-payments-gone", "The payment server is away for longer than the till waits.", RETRY,
        "PAYMENT_TIMEOUT", by=(By.ID,), faults=(Fault(PAYMENTS, How.AWAY, 300, ABOUT_PAYMENTS),),
    ),
    SimulatedPayer(
        "sandbox-orders-away", "The order service is away for 5 seconds, when the order is to be locked.", GOODS,
        by=(By.ID,), faults=(Fault(ORDERS, How.AWAY, 5, LOCKING),),
    ),
    SimulatedPayer(
        "sandbox-orders-gone", "The order service is away for longer than the payment server tries to lock the order.",
        RETRY, "ORDER_UNREACHABLE", by=(By.ID,), faults=(Fault(ORDERS, How.AWAY, 300, LOCKING),),
    ),
    SimulatedPayer(
        "sandbox-unknown",
        "The payment server is gone, and the order service is away for 20 seconds when the till gives up.", RETRY,
        "PAYMENT_TIMEOUT", meanwhile="DO_NOT_RETRY", by=(By.ID,),
        faults=(Fault(PAYMENTS, How.AWAY, 300, ABOUT_PAYMENTS), Fault(ORDERS, How.AWAY, 20, CANCELING)),
    ),
    SimulatedPayer(
        "sandbox-lease-over", "The order's lock ends after 2 seconds, before the payment can complete it.", RETRY,
        "LEASE_EXPIRED", by=(By.ID,),
        faults=(Fault(ORDERS, How.BRIEF, 2, LOCKING), Fault(ORDERS, How.AWAY, 5, COMPLETING)),
    ),
    SimulatedPayer(
        "sandbox-answer-lost", "Pays. The terminal's first answer to each request is lost.", GOODS, by=(By.ID,),
        faults=(Fault(TERMINAL, How.ANSWER_LOST),),
    ),
    SimulatedPayer(
        "sandbox-slow", "Pays. The terminal takes 2 seconds for each answer.", GOODS, by=(By.ID,),
        faults=(Fault(TERMINAL, How.SLOW, 2),),
    ),
    SimulatedPayer(
        "sandbox-stream-cut", "Pays. The terminal's streams are cut after each answer about it.", GOODS, by=(By.ID,),
        faults=(Fault(TERMINAL, How.CUT),),
    ),
    SimulatedPayer(
        "sandbox-refund-refused", "Pays, and the platform gives the money back: PAYMENT_ALREADY_REFUNDED at the till.",
        GOODS, by=(By.ID,), deed=Deed.REFUNDED, faults=(Fault(TERMINAL, How.SLOW, 2, REFUNDING),),
    ),
)  # fmt: skip
"""In the order in which they are shown."""

BY_IDENTITY: Mapping[str, SimulatedPayer] = {payer.identity_id: payer for payer in PAYERS}
