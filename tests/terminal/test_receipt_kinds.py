"""What a till prints of checkouts and refunds, as the terminal says over the wire."""

from dataclasses import replace
from typing import Any

import pytest
from grpc import StatusCode

from store_terminal.server import TerminalSettings
from tests.clocks import ManualClock
from tests.processes import DEADLINE_S
from tests.terminal.inside import terminal
from tests.terminal.phones import shopper_with_phone
from tests.terminal.till import COFFEE, TEA, TEA_MINOR, Behind, Till, gbp, goods, payer, refused
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkouts_api
from tillmesh.api.terminal.v1 import receipt_pb2
from tillmesh.api.terminal.v1 import receipt_service_pb2 as api
from tillmesh.receipt_code import parse
from tillmesh.rpc.settings import load_settings
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import MINOR_UNITS_MAX

Receipt = receipt_pb2.Receipt
ESC_POS: dict[str, Any] = {"format": Receipt.FORMAT_ESC_POS}


def test_a_basket_and_a_pending_transaction_get_an_interim_bill(till: Till) -> None:
    basket = till.create(lines=[TEA, COFFEE], lane="lane-3", cashier_id="c-17")
    bill = till.receipt(basket)
    assert (bill.kind, bill.checkout_id, bill.amount) == (Receipt.KIND_BILL, basket.checkout_id, gbp(650))
    assert (bill.terminal_id, bill.lane, bill.cashier_id) == ("till-1", "lane-3", "c-17")
    assert list(bill.lines) == list(basket.lines)
    assert not bill.HasField("payment")
    assert bill.receipt_time.ToMilliseconds() >= basket.create_time.ToMilliseconds()
    pending = till.submit(basket)
    assert "This is not a receipt\n" in till.receipt(pending).text
    code = parse(till.receipt(pending).qr_text)
    assert code
    assert (code.order_id, code.event_count) == (pending.checkout_id, len(till.history(pending)))
    with refused("NOT_DECLINED", StatusCode.FAILED_PRECONDITION):
        till.receipt(pending, kind=Receipt.KIND_DECLINE)


def test_a_failed_payment_gets_a_slip_of_what_was_to_be_paid_and_why_it_was_not(till: Till, behind: Behind) -> None:
    declined = till.pay(till.submitted(behind.shopper(funds=0)))
    dearer = till.add(declined, COFFEE)
    for checkout in (declined, dearer, till.cancel(dearer)):
        slip = till.receipt(checkout)
        assert (slip.kind, slip.amount, len(slip.lines)) == (Receipt.KIND_DECLINE, gbp(TEA_MINOR), 0)
        assert slip.payment == receipt_pb2.ReceiptPayment(
            payment_id=declined.payment_id, amount=gbp(TEA_MINOR), reason="INSUFFICIENT_FUNDS"
        )
        ended = next(event for event in till.history(checkout) if event.reason == "INSUFFICIENT_FUNDS")
        assert slip.receipt_time == ended.event_time
    with refused("CHECKOUT_CANCELED", StatusCode.FAILED_PRECONDITION):
        till.receipt(dearer, kind=Receipt.KIND_BILL)


def test_a_paid_checkout_has_one_receipt_also_if_a_payment_failed_before(till: Till, behind: Behind) -> None:
    shopper = behind.shopper(funds=TEA_MINOR - 1)
    declined = till.pay(till.submitted(shopper))
    assert till.receipt(declined, kind=Receipt.KIND_BILL).amount == gbp(TEA_MINOR)
    paid = till.pay(till.update(declined, 1, quantity=1))
    sale = till.receipt(paid)
    assert (sale.kind, sale.amount, sale.reprint) == (Receipt.KIND_SALE, gbp(125), False)
    assert sale.payment == receipt_pb2.ReceiptPayment(
        payment_id=paid.paid_by_payment_id, payer_display_name=shopper, amount=gbp(125)
    )
    assert "COPY\n" in till.receipt(paid, reprint=True).text
    with refused("CHECKOUT_PAID", StatusCode.FAILED_PRECONDITION):
        till.receipt(paid, kind=Receipt.KIND_BILL)
    with refused("NOT_DECLINED", StatusCode.FAILED_PRECONDITION):
        till.receipt(paid, kind=Receipt.KIND_DECLINE)


def test_a_receipt_comes_as_text_as_bytes_for_a_printer_and_as_a_page(till: Till, behind: Behind) -> None:
    paid = till.pay(till.submitted(behind.shopper()))
    narrow = till.receipt(paid, columns=32, language="de-AT")
    assert narrow.language == "de-AT"
    assert "SUMME GBP                   2,50\n" in narrow.text
    printer = till.receipt(paid, **ESC_POS, code_page="cp437")
    assert (printer.text, printer.printer_bytes[:5]) == ("", b"\x1b@\x1bt\x00")
    assert b"  2 x 1.25                            2.50\n" in printer.printer_bytes
    assert printer.qr_text.encode() in printer.printer_bytes
    page = till.receipt(paid, format=Receipt.FORMAT_HTML)
    assert page.text.startswith('<!doctype html>\n<html lang="en">')
    for receipt in (narrow, printer, page):
        receipt.ClearField("text")
        receipt.ClearField("printer_bytes")
        receipt.ClearField("language")
    assert narrow == printer == page


def test_a_refund_has_a_slip_of_its_own(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    paid = till.pay(till.submitted(shopper, [TEA, COFFEE]))
    first, second = till.refund(paid, lines={1: 1}, note="cold"), till.refund(paid, lines={2: 1})
    slip = till.receipt(refund_id=first.refund_id)
    assert (slip.kind, slip.checkout_id) == (Receipt.KIND_REFUND, paid.checkout_id)
    assert (slip.lane, slip.cashier_id) == ("lane-9", "returns")
    (back,) = slip.refunds
    assert (back.refund_id, back.amount, back.note) == (first.refund_id, gbp(125), "cold")
    assert list(back.lines) == list(first.lines)
    assert not slip.HasField("amount")
    assert slip.receipt_time == back.refund_time == first.create_time
    assert [refund.refund_id for refund in till.receipt(paid).refunds] == [first.refund_id, second.refund_id]
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        till.receipt(refund_id=first.refund_id, kind=Receipt.KIND_RETURN)
    assert [violation.field for violation in refusals[0].violations] == ["kind"]


def test_goods_that_come_back_without_their_sale_have_a_slip(till: Till, behind: Behind) -> None:
    shopper = behind.shopper(funds=0)
    returned = till.give_back(shopper, goods(30))
    slip = till.receipt(refund_id=returned.refund_id)
    assert (slip.kind, slip.checkout_id, slip.qr_text) == (Receipt.KIND_RETURN, "", "")
    assert slip.payment.payer_display_name == payer(shopper).identity_id
    assert "RETURN GBP                           -0.30\n" in slip.text
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        till.receipt(refund_id=returned.refund_id, kind=Receipt.KIND_REFUND)


@pytest.mark.parametrize("back", [100, 600])
def test_an_exchange_is_one_receipt_of_what_came_back_and_what_was_sold(till: Till, behind: Behind, back: int) -> None:
    shopper = behind.shopper()
    returned = till.give_back(shopper, goods(back))
    request = checkouts_api.CreateCheckoutRequest(
        request_id=new_request_id(), identity_id=shopper, lines=[TEA], exchanged_refund_id=returned.refund_id
    )
    basket = till.service.CreateCheckout(request, timeout=DEADLINE_S)
    for checkout in (basket, till.pay(till.submit(basket))):
        receipt = till.receipt(checkout)
        assert receipt.exchanged.refund_id == returned.refund_id
        assert receipt.exchange_difference == gbp(TEA_MINOR - back)
        assert f"DIFFERENCE GBP{(TEA_MINOR - back) / 100:>28.2f}\n" in receipt.text


def test_a_sale_in_exchange_for_what_was_not_given_back_is_no_exchange(till: Till, behind: Behind) -> None:
    refused_id = new_request_id()
    with refused("UNREFERENCED_REFUND_LIMIT_EXCEEDED", StatusCode.FAILED_PRECONDITION, "payment.tillmesh"):
        till.give_back(behind.shopper(), goods(MINOR_UNITS_MAX), refund_id=refused_id)
    request = checkouts_api.CreateCheckoutRequest(
        request_id=new_request_id(), identity_id="ada", lines=[TEA], exchanged_refund_id=refused_id
    )
    bill = till.receipt(till.service.CreateCheckout(request, timeout=DEADLINE_S))
    assert not bill.HasField("exchanged")
    assert not bill.HasField("exchange_difference")


async def test_a_refund_that_is_not_done_has_no_slip(
    till: Till, behind: Behind, database_url: str, closed_port: str, clock: ManualClock
) -> None:
    refused_id, pending_id = new_request_id(), new_request_id()
    with refused("UNREFERENCED_REFUND_LIMIT_EXCEEDED", StatusCode.FAILED_PRECONDITION, "payment.tillmesh"):
        till.give_back(behind.shopper(), goods(MINOR_UNITS_MAX), refund_id=refused_id)
    with refused("REFUND_NOT_DONE", StatusCode.FAILED_PRECONDITION) as refusals:
        till.receipt(refund_id=refused_id)
    assert refusals[0].metadata["state"] == "REFUSED"
    async with terminal(database_url, closed_port, closed_port, clock) as inside:
        code = shopper_with_phone(behind).code()
        await inside.give_back(goods(1), code=code, refund_id=pending_id, within_s=0.2)
        with pytest.raises(Refusal) as raised:
            await inside.receipts.GetReceipt(api.GetReceiptRequest(refund_id=pending_id))
    assert (raised.value.reason, raised.value.metadata["state"]) == ("REFUND_NOT_DONE", "PENDING")


def test_what_is_not_there_is_not_printed(till: Till) -> None:
    with refused("REFUND_NOT_FOUND", StatusCode.NOT_FOUND):
        till.receipt(refund_id="no-such-refund")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, "subject"),
        ({"checkout_id": "c", "kind": Receipt.KIND_REFUND}, "kind"),
        ({"refund_id": "r", "kind": Receipt.KIND_SALE}, "kind"),
        ({"checkout_id": "c", "kind": 99}, "kind"),
        ({"checkout_id": "c", "format": 99}, "format"),
        ({"checkout_id": "c", "columns": 40}, "columns"),
        ({"checkout_id": "c", "columns": -1}, "columns"),
        ({"checkout_id": "c", "language": "tlh"}, "language"),
        ({"checkout_id": "c", "language": "ja", **ESC_POS}, "language"),
        ({"checkout_id": "c", "code_page": "cp1252"}, "code_page"),
    ],
)
def test_a_receipt_that_makes_no_sense_is_refused(till: Till, fields: dict[str, Any], wrong: str) -> None:
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        till.receipts.GetReceipt(api.GetReceiptRequest(**fields), timeout=DEADLINE_S)
    assert [violation.field for violation in refusals[0].violations] == [wrong]


def test_an_unknown_language_is_told_those_that_are_known(till: Till) -> None:
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        till.receipt(till.create(), language="tlh")
    assert "de, en, es, fr, it, ja, nl, pl, pt" in refusals[0].text
    assert "'tlh'" in refusals[0].text


async def test_a_terminal_prints_as_its_settings_say(database_url: str, closed_port: str, clock: ManualClock) -> None:
    flags = ["--insecure", "--store-id", "store-1", "--receipt-language", "de", "--receipt-columns", "48"]
    usual = load_settings(TerminalSettings, [*flags, "--code-page", "cp437"]).look()
    async with terminal(database_url, closed_port, closed_port, clock) as inside:
        basket = await inside.create()
        receipts = replace(inside.receipts, usual=usual)
        bill = await receipts.GetReceipt(api.GetReceiptRequest(checkout_id=basket.checkout_id))
        printer = await receipts.GetReceipt(api.GetReceiptRequest(checkout_id=basket.checkout_id, **ESC_POS))
    assert "SUMME GBP                                   2,50\n" in bill.text
    assert bill.language == "de"
    assert printer.printer_bytes.startswith(b"\x1b@\x1bt\x00")
