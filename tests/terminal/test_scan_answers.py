"""ScanItem: what is no article, what has to be decided first, and that nothing is added twice."""

from dataclasses import replace

import grpc
import pytest
from grpc import StatusCode

from store_terminal.receipts.model import StoreRecord
from store_terminal.receipts.queries import keep_store_record
from tests.processes import DEADLINE_S
from tests.terminal.scans import EAN, FNC1, GTIN, OTHER_EAN, WEIGHT_RULE, Answer, Kind, Scanner, says
from tests.terminal.shaky import Shaky
from tests.terminal.shoppers import STORE
from tests.terminal.test_baskets import import_items
from tests.terminal.test_catalogue import bottled, item
from tests.terminal.till import Behind, Till, gbp, refused, said, skus
from tests.trust.secrets import keep
from tillmesh import paycode, receipt_code
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import scan_service_pb2 as api
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

HOUR_MS = 3_600_000
PAY_CODE = keep(paycode.make("48213377", Secret(b"k" * 32), 59_000_000).value.decode())
MISREAD = keep(f"{PAY_CODE[:9]}{(int(PAY_CODE[9]) + 1) % 10}{PAY_CODE[10:]}")
AGE, BEST_BEFORE, EXPIRED = Kind.KIND_AGE, Kind.KIND_BEST_BEFORE, Kind.KIND_EXPIRED


def scan(
    till: Till,
    checkout: checkout_pb2.Checkout,
    scanned: str,
    *decided: Kind.ValueType,
    request_id: str = "",
    timeout: float = DEADLINE_S,
) -> api.ScanItemResponse:
    """Over the wire."""
    request = api.ScanItemRequest(
        request_id=request_id or new_request_id(),
        checkout_id=checkout.checkout_id,
        basket_version=checkout.basket_version,
        scanned=scanned,
        decided=decided,
    )
    return till.scans.ScanItem(request, timeout=timeout)


def test_a_pay_code_is_told_and_nothing_is_added(till: Till) -> None:
    """That it stands in no log and no database is searched for after each run of the tests."""
    basket = till.create()
    for shown in (PAY_CODE, f"]Q1{PAY_CODE}", f"]C0{PAY_CODE}\r\n"):
        answer = scan(till, basket, shown)
        assert answer.outcome == Answer.OUTCOME_PAY_CODE
        assert (answer.checkout, answer.line_number, answer.order_id) == (basket, 0, "")
    assert till.events(basket) == ["OPENED"]


@pytest.mark.parametrize(
    ("scanned", "reason"),
    [
        (MISREAD, "CHECK_DIGIT_WRONG"),
        (f"]C0{MISREAD}", "CHECK_DIGIT_WRONG"),
        (PAY_CODE[:-1], "CODE_LENGTH_WRONG"),
        (f"{PAY_CODE[:10]} {PAY_CODE[10:]}", "CODE_UNREADABLE"),
        (f"]C1{MISREAD}", "CODE_UNREADABLE"),
        (f"{FNC1}{PAY_CODE}", "CODE_UNREADABLE"),
    ],
)
def test_a_pay_code_that_was_misread_stands_in_no_refusal(till: Till, scanned: str, reason: str) -> None:
    keep(PAY_CODE[:-1])
    basket = till.create()
    with refused(reason, StatusCode.INVALID_ARGUMENT) as refusals:
        scan(till, basket, scanned)
    told = f"{refusals[0].text} {refusals[0].metadata} {refusals[0].violations}"
    assert not any(scanned[start : start + 5] in told for start in range(len(scanned) - 4))


def test_a_receipt_names_its_order(till: Till) -> None:
    basket = till.create()
    answer = scan(till, basket, f"]Q1{receipt_code.make('7K3M-9Q2X-VB4T', 'till-1', 9, bytes(32))}")
    assert (answer.outcome, answer.order_id) == (Answer.OUTCOME_RECEIPT, "7K3M-9Q2X-VB4T")
    assert answer.checkout == basket


def test_fnc1_passes_and_no_other_field_may_have_a_control_character(till: Till) -> None:
    import_items(till, item("RICE", 219, gtins=["4014500507361"]))
    answer = scan(till, till.create(lines=[]), f"]d20104014500507361{FNC1}10LOT{FNC1}21A\r\n")
    assert skus(answer.checkout) == [(1, "RICE")]
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        scan(till, till.create(), "4014500507361", request_id="a\x1d")


@pytest.mark.parametrize("scanned", ["", "1" * 513])
def test_a_scan_has_1_to_512_characters(till: Till, scanned: str) -> None:
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        scan(till, till.create(), scanned)
    assert [violation.field for violation in refusals[0].violations] == ["scanned"]


async def test_an_age_is_asked_for_and_the_answer_stands_in_the_history(scanner: Scanner) -> None:
    await scanner.sells(item("BEER", 119, gtins=[EAN], minimum_age_years=16))
    basket, request_id = await scanner.basket(), new_request_id()
    asked = await scanner.scan(basket, EAN, request_id=request_id)
    assert asked.outcome == Answer.OUTCOME_DECISION_REQUIRED
    assert [(each.kind, each.minimum_age_years) for each in asked.decisions] == [(AGE, 16)]
    assert (asked.checkout, asked.line_number) == (basket, 0)
    assert await scanner.events(basket) == [("OPENED", "")]
    added = await scanner.scan(basket, EAN, decided=[AGE, EXPIRED], request_id=request_id)
    assert (added.outcome, skus(added.checkout)) == (Answer.OUTCOME_ADDED, [(1, "BEER")])
    assert await scanner.events(basket) == [("OPENED", ""), ("CHANGED", "AGE")]


async def test_a_date_is_asked_for_once_its_day_is_over(scanner: Scanner) -> None:
    """The clock stands at 2027-01-15 08:00 UTC."""
    await scanner.sells(item("MILK", 99, gtins=[EAN], minimum_age_years=18))
    basket = await scanner.basket()
    code = f"]d201{GTIN}15270115{FNC1}17270116"
    asked = await scanner.scan(basket, code, decided=[AGE])
    assert asked.outcome == Answer.OUTCOME_ADDED
    for hours, kinds in ((15.99, [AGE]), (0.01, [AGE, BEST_BEFORE]), (24, [AGE, BEST_BEFORE, EXPIRED])):
        scanner.clock.advance(int(hours * HOUR_MS + 0.5))
        asked = await scanner.scan(asked.checkout, code)
        assert [each.kind for each in asked.decisions] == kinds
    passed = [each.passed_time.ToJsonString() for each in asked.decisions[1:]]
    assert passed == ["2027-01-16T00:00:00Z", "2027-01-17T00:00:00Z"]
    some = await scanner.scan(asked.checkout, code, decided=[EXPIRED])
    assert [each.kind for each in some.decisions] == [AGE, BEST_BEFORE]
    await scanner.scan(asked.checkout, code, decided=[AGE, BEST_BEFORE, EXPIRED])
    assert (await scanner.events(basket))[-1] == ("CHANGED", "AGE,BEST_BEFORE,EXPIRED")


async def test_a_day_ends_by_the_clock_on_the_stores_wall(scanner: Scanner) -> None:
    """At 15:30 UTC the 15th is over in Auckland, and not in UTC."""
    await scanner.sells(item("MILK", 99, gtins=[EAN]))
    scanner.clock.advance(int(7.5 * HOUR_MS))
    basket, code = await scanner.basket(), f"]d201{GTIN}15270115"
    record = StoreRecord(STORE, "Corner Shop", time_zone="Pacific/Auckland")
    await scanner.inside.database.run(keep_store_record, record)
    (decision,) = (await scanner.scan(basket, code)).decisions
    assert decision.passed_time.ToJsonString() == "2027-01-15T11:00:00Z"
    for unknown in ("Mars/Olympus", "UTC"):
        await scanner.inside.database.run(keep_store_record, replace(record, time_zone=unknown))
        answer = await scanner.scan(basket, code)
        assert answer.outcome == Answer.OUTCOME_ADDED
        basket = answer.checkout


async def test_what_cannot_be_decided_is_named(scanner: Scanner) -> None:
    for decided, fields in (([9], ["decided[0]"]), ([0], ["decided[0]"]), ([1] * 4, ["decided"])):
        with says("INVALID_FIELD", *fields):
            await scanner.scan(await scanner.basket(), EAN, decided=decided)  # type: ignore[arg-type]


async def test_a_repeated_scan_adds_nothing_and_another_one_needs_another_id(scanner: Scanner) -> None:
    await scanner.sells(item("TUNA", 199, gtins=[EAN]), item("PEAS", 99, gtins=[OTHER_EAN]))
    basket, request_id = await scanner.basket(), new_request_id()
    first = await scanner.scan(basket, EAN, request_id=request_id)
    again = await scanner.scan(basket, EAN, request_id=request_id)
    assert again == first
    later = (await scanner.scan(first.checkout, OTHER_EAN)).checkout
    again = await scanner.scan(basket, EAN, request_id=request_id)
    assert (again.outcome, again.line_number, again.checkout) == (Answer.OUTCOME_ADDED, 1, later)
    for scanned, quantity in ((OTHER_EAN, 0), (f"]E0{EAN}", 0), (EAN, 2)):
        with says("REQUEST_ID_REUSED"):
            await scanner.scan(basket, scanned, quantity=quantity, request_id=request_id)
    with says("BASKET_VERSION_MISMATCH"):
        await scanner.scan(basket, EAN)


async def test_a_refused_scan_stays_refused(scanner: Scanner) -> None:
    basket, request_id = await scanner.basket(), new_request_id()
    for _ in range(2):
        with says("GTIN_NOT_FOUND"):
            await scanner.scan(basket, EAN, request_id=request_id)
        await scanner.sells(item("TUNA", 199, gtins=[EAN]))
    assert (await scanner.scan(basket, EAN)).outcome == Answer.OUTCOME_ADDED


async def test_a_scan_needs_its_checkout(scanner: Scanner) -> None:
    await scanner.sells(item("TUNA", 199, gtins=[EAN]))
    nowhere = checkout_pb2.Checkout(checkout_id="7K3M-9Q2X-VB4T", basket_version=1)
    for scanned in (EAN, PAY_CODE):
        with says("CHECKOUT_NOT_FOUND"):
            await scanner.scan(nowhere, scanned)


async def test_rules_are_those_of_the_moment_of_the_scan(scanner: Scanner) -> None:
    await scanner.sells(item("00001", 399))
    basket = await scanner.basket()
    with says("RULE_MISSING"):
        await scanner.scan(basket, "2100001027506")
    await scanner.rules(WEIGHT_RULE)
    assert (await scanner.scan(basket, "2100001027506")).checkout.lines[0].item.quantity == 2_750


def test_a_scan_changes_the_order_in_place(till: Till, behind: Behind) -> None:
    cola, bottle = bottled("SODA", "GLASS")
    cola.gtins.append("4337185144981")
    cola.minimum_age_years = 12
    import_items(till, cola, bottle)
    pending = till.submitted(behind.shopper())
    request_id = new_request_id()
    assert scan(till, pending, "4337185144981").outcome == Answer.OUTCOME_DECISION_REQUIRED
    first = scan(till, pending, "4337185144981", AGE, request_id=request_id)
    assert (first.outcome, first.line_number) == (Answer.OUTCOME_ADDED, 2)
    assert skus(first.checkout) == [(1, "TEA"), (2, "SODA"), (3, "GLASS")]
    order = behind.order(pending)
    assert (order.version, order.amount) == (2, gbp(250 + 149 + 25))
    assert (till.history(pending)[-1].reason, till.events(pending)[-1]) == ("AGE", "CHANGED")
    again = scan(till, pending, "4337185144981", AGE, request_id=request_id)
    assert (again.line_number, again.checkout.order_version) == (2, 2)
    paid = till.pay(first.checkout)
    assert said(paid) == "PAID HAND_OVER_GOODS"
    with refused("CHECKOUT_PAID", StatusCode.FAILED_PRECONDITION):
        scan(till, paid, "4337185144981")
    assert scan(till, paid, PAY_CODE).outcome == Answer.OUTCOME_PAY_CODE


def test_a_scan_whose_answer_is_lost_is_added_once(shaky: Shaky, behind: Behind) -> None:
    request_id = new_request_id()
    with shaky.till() as till:
        import_items(till, item("RICE", 219, gtins=["4014500507361"], minimum_age_years=1))
        pending = till.submitted(behind.shopper())
        shaky.orders.lose_answers()
        with pytest.raises(grpc.RpcError):
            scan(till, pending, "4014500507361", AGE, request_id=request_id, timeout=1.5)
    shaky.server.kill()
    shaky.orders.heal()
    shaky.restart()
    with shaky.till() as till:
        answer = scan(till, pending, "4014500507361", AGE, request_id=request_id)
        assert (answer.line_number, skus(answer.checkout)) == (2, [(1, "TEA"), (2, "RICE")])
        assert [event.reason for event in till.history(pending)] == ["", "", "AGE"]
    assert behind.order_events(pending) == ["CREATED", "LINES_REPLACED"]
