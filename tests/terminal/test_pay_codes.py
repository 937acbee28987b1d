"""A shopper whom the till does not know: pays by pay code, and says yes by PIN."""

from grpc import StatusCode

from tests.processes import wait_until
from tests.terminal.phones import shopper_with_phone
from tests.terminal.shaky import Shaky
from tests.terminal.till import COFFEE, TEA_MINOR, Behind, Till, gbp, refused, said
from tests.trust.secrets import PIN, WRONG_PIN, files_with_secrets, keep
from tillmesh.runtime.ids import new_request_id

PIN_TRIES = 5
SHORT_S = 1.5
PAYMENTS = "payment.tillmesh"


def test_a_shopper_pays_by_pay_code_and_nobody_in_the_store_learns_who_it_is(till: Till, behind: Behind) -> None:
    phone = shopper_with_phone(behind)
    pending, other = till.submitted(""), till.submitted("")
    assert len({pending.payer.reference, other.payer.reference, phone.identity_id}) == 3
    assert behind.order(pending).payer == pending.payer
    assert pending.payer_display_name == ""
    paid = till.pay(pending, code=phone.code())
    assert (said(paid), paid.payer_display_name) == ("PAID HAND_OVER_GOODS", "Ada")
    assert behind.wallet(phone.identity_id) == (1000 - TEA_MINOR, 0)
    assert phone.identity_id not in str(paid)
    printed = till.receipt(paid).text
    assert "Paid by Ada\n" in printed
    assert paid.payer.reference not in printed


def test_a_basket_asked_for_twice_has_one_reference(till: Till) -> None:
    request_id = new_request_id()
    assert till.create("", request_id=request_id) == till.create("", request_id=request_id)


def test_a_code_that_does_not_count_is_safe_to_retry_with_another(till: Till, behind: Behind) -> None:
    phone = shopper_with_phone(behind)
    code = phone.code()
    till.pay(till.submitted(""), code=code)
    again = till.pay(till.submitted(""), code=code)
    assert (said(again), again.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "PAY_CODE_USED")
    assert again.payer_display_name == ""
    assert said(till.pay(again, code=shopper_with_phone(behind).code())) == "PAID HAND_OVER_GOODS"
    unknown = till.pay(till.submitted(""))
    assert (said(unknown), unknown.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "PAY_CODE_REQUIRED")


def test_the_same_payment_sent_twice_needs_no_code_the_second_time(till: Till, behind: Behind) -> None:
    phone, payment_id = shopper_with_phone(behind), new_request_id()
    pending = till.submitted("")
    paid = till.pay(pending, payment_id, code=phone.code())
    assert till.pay(pending, payment_id) == till.pay(pending, payment_id, code=phone.code()) == paid
    assert behind.wallet(phone.identity_id) == (1000 - TEA_MINOR, 0)


def test_a_misread_code_is_refused_before_anything_is_asked_and_not_repeated(till: Till, behind: Behind) -> None:
    code = shopper_with_phone(behind).code()
    misread = keep(code[:-1] + str((int(code[-1]) + 1) % 10))
    pending = till.submitted("")
    for digits in (misread, code[:-1], f"{code}0", "no code"):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as seen:
            till.pay(pending, code=digits)
        assert [violation.field for violation in seen[0].violations] == ["pay_code"]
        assert digits not in str(seen[0])
    assert till.events(pending) == ["OPENED", "SUBMITTED"]


def test_above_the_limit_the_till_knows_the_name_and_waits_for_the_pin(till: Till, behind: Behind) -> None:
    phone = shopper_with_phone(behind, threshold=TEA_MINOR - 1)
    waiting = till.pay(till.submitted(""), code=phone.code())
    assert (said(waiting), waiting.verdict_reason) == ("PAYING ASK_PAYER", "")
    assert waiting.payer_display_name == "Ada"
    with refused("PIN_WRONG", StatusCode.FAILED_PRECONDITION, PAYMENTS) as seen:
        till.enter_pin(waiting, WRONG_PIN)
    assert seen[0].metadata["tries_left"] == str(PIN_TRIES - 1)
    paid = till.enter_pin(waiting, PIN)
    assert (said(paid), paid.payer_display_name) == ("PAID HAND_OVER_GOODS", "Ada")
    assert behind.wallet(phone.identity_id) == (1000 - TEA_MINOR, 0)


def test_a_pin_is_for_exactly_the_amount_that_the_pin_pad_shows(till: Till, behind: Behind) -> None:
    phone = shopper_with_phone(behind, threshold=1)
    waiting = till.pay(till.submitted(""), code=phone.code())
    with refused("CONSENT_MISMATCH", StatusCode.FAILED_PRECONDITION, PAYMENTS):
        till.enter_pin(waiting, PIN, amount=gbp(TEA_MINOR - 1))
    assert said(till.get(waiting)) == "PAYING ASK_PAYER"
    assert said(till.enter_pin(waiting, PIN)) == "PAID HAND_OVER_GOODS"


def test_too_many_wrong_pins_lock_it_for_the_right_one_too(till: Till, behind: Behind) -> None:
    phone = shopper_with_phone(behind, threshold=1)
    waiting = till.pay(till.submitted(""), code=phone.code())
    for _ in range(PIN_TRIES - 1):
        with refused("PIN_WRONG", StatusCode.FAILED_PRECONDITION, PAYMENTS):
            till.enter_pin(waiting, WRONG_PIN)
    for pin in (WRONG_PIN, PIN):
        with refused("PIN_LOCKED", StatusCode.FAILED_PRECONDITION, PAYMENTS):
            till.enter_pin(waiting, pin)
    assert said(till.cancel_payment(waiting)) == "SUBMITTED SAFE_TO_RETRY"
    assert behind.wallet(phone.identity_id) == (1000, 0)


def test_a_pin_for_nothing_that_waits_is_refused(till: Till, behind: Behind) -> None:
    phone = shopper_with_phone(behind, threshold=1)
    pending = till.submitted("")
    with refused("NO_PAYMENT", StatusCode.FAILED_PRECONDITION):
        till.enter_pin(pending, PIN)
    waiting = till.pay(pending, code=phone.code())
    for pin in ("", "12", "12345678901234", "abcd"):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as seen:
            till.enter_pin(waiting, pin)
        assert [violation.field for violation in seen[0].violations] == ["pin"]
    freed = till.cancel_payment(waiting)
    with refused("PAYMENT_NOT_WAITING", StatusCode.FAILED_PRECONDITION, PAYMENTS):
        till.enter_pin(freed, PIN)
    with refused("CHECKOUT_NOT_FOUND", StatusCode.NOT_FOUND):
        till.enter_pin(type(freed)(checkout_id="NO-SUCH", amount=gbp(1)), PIN)


def test_a_pin_that_is_not_answered_is_repeated_and_counts_once(shaky: Shaky, behind: Behind) -> None:
    phone, request_id = shopper_with_phone(behind, threshold=1), new_request_id()
    with shaky.till() as till:
        waiting = till.pay(till.submitted(""), code=phone.code())
        shaky.payments.lose_requests()
        with refused("PEER_UNAVAILABLE", StatusCode.UNAVAILABLE):
            till.enter_pin(waiting, PIN, request_id=request_id, timeout=SHORT_S)
        shaky.payments.heal()
        with refused("PIN_WRONG", StatusCode.FAILED_PRECONDITION, PAYMENTS) as seen:
            till.enter_pin(waiting, WRONG_PIN)
        assert seen[0].metadata["tries_left"] == str(PIN_TRIES - 1)
        shaky.payments.lose_answers()
        with refused("PEER_UNAVAILABLE", StatusCode.UNAVAILABLE):
            till.enter_pin(waiting, PIN, request_id=request_id, timeout=SHORT_S)
        shaky.payments.heal()
        wait_until(lambda: behind.payment_states(waiting) == ["CAPTURED"])
        assert said(till.enter_pin(waiting, PIN, request_id=request_id)) == "PAID HAND_OVER_GOODS"
    assert files_with_secrets(shaky.folder) == []


def test_a_code_is_sent_again_until_it_is_answered_and_stored_nowhere(shaky: Shaky, behind: Behind) -> None:
    phone = shopper_with_phone(behind)
    with shaky.till() as till:
        pending = till.submitted("")
        shaky.payments.lose_requests()
        assert said(till.pay(pending, code=phone.code(), timeout=SHORT_S)) == "PAYING WAIT"
        assert files_with_secrets(shaky.folder) == []
        shaky.payments.heal()
        wait_until(lambda: said(till.get(pending)) == "PAID HAND_OVER_GOODS")
    assert behind.wallet(phone.identity_id) == (1000 - TEA_MINOR, 0)


def test_a_till_that_dies_before_the_code_was_sent_needs_a_new_one(shaky: Shaky, behind: Behind) -> None:
    phone, payment_id = shopper_with_phone(behind), new_request_id()
    with shaky.till() as till:
        pending = till.submitted("")
        shaky.payments.lose_requests()
        till.pay(pending, payment_id, code=phone.code(), timeout=SHORT_S)
    shaky.server.kill()
    shaky.payments.heal()
    shaky.restart()
    with shaky.till() as till:
        wait_until(lambda: said(till.get(pending)) == "SUBMITTED SAFE_TO_RETRY")
        assert till.get(pending).verdict_reason == "PAY_CODE_LOST"
        assert said(till.pay(pending, payment_id, code=phone.code())) == "SUBMITTED SAFE_TO_RETRY"
        changed = till.add(till.get(pending), COFFEE)
        assert said(till.pay(changed, code=phone.code())) == "PAID HAND_OVER_GOODS"
    assert behind.payment_states(pending) == ["CAPTURED"]  # what had lost its code was never sent


def test_a_till_that_dies_after_the_code_was_sent_needs_it_no_more(shaky: Shaky, behind: Behind) -> None:
    phone = shopper_with_phone(behind)
    with shaky.till() as till:
        till.pay(till.submitted(behind.shopper()))  # the connection is there
        pending = till.submitted("")
        shaky.payments.lose_answers()
        shaky.orders.lose_answers()
        assert said(till.pay(pending, code=phone.code(), timeout=SHORT_S)) == "PAYING WAIT"
        wait_until(lambda: behind.payment_states(pending) == ["CAPTURED"])
    shaky.server.kill()
    shaky.payments.heal()
    shaky.orders.heal()
    shaky.restart()
    with shaky.till() as till:
        wait_until(lambda: said(till.get(pending)) == "PAID HAND_OVER_GOODS")
        assert till.get(pending).payer_display_name == "Ada"
    assert behind.wallet(phone.identity_id) == (1000 - TEA_MINOR, 0)
