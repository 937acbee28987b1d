"""`tillmesh phone`: a payer's own terminal, from enrolment to the yes."""

import re
import stat
from pathlib import Path

from tests.cli.command_line import Person, found, tillmesh
from tests.processes import wait_until
from tests.trust.secrets import PIN, WRONG_PIN, keep
from tillmesh import paycode
from tillmesh.runtime.secret import Secret

NOWHERE = "127.0.0.1:1"


def enrolled(person: Person, identity: str, *flags: str) -> Path:
    """Somebody with 50 pounds, a PIN and a phone of the same name; the phone's file."""
    person.does("identity", identity, "--name", "Ada L.", *flags)
    person.does("deposit", identity, "50")
    said = person.does("phone", "enroll", identity, "--pin", types=f"{PIN}\n")
    assert PIN not in said
    return Path(found(r"is (\S+\.json):", said))


def code(person: Person, device: str) -> str:
    """What the phone shows, blanks included."""
    shown = person.does("phone", "code", "--phone", device).strip()
    keep(shown.replace(" ", ""))
    return shown


def pays_by_code(person: Person, order_id: str, device: str) -> bool:
    """Pays at the till, unless it is still busy with the payment before."""
    shown = code(person, device)
    return tillmesh("pay", order_id, "--pay-code", mesh=person.mesh.addresses, types=shown).returncode == 0


def test_a_phone_shows_codes_offline_and_its_file_is_its_owners_alone(person: Person) -> None:
    kept = enrolled(person, "ida")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert PIN not in kept.read_text()
    shown = person.does("phone", "code", "--qr", "--phone", "ida", types="")
    digits, *qr = shown.splitlines()
    assert re.fullmatch(r"27\d\d( \d{4}){4}", digits)
    assert paycode.parse(Secret(keep(digits.replace(" ", "")).encode())) is not None
    assert "█" in qr[0]


def test_a_code_pays_at_the_till_up_to_the_limit_and_the_pin_pays_more(person: Person) -> None:
    enrolled(person, "lin", "--confirm-above", "5")
    small, large = (
        found(r"Order (\S+): whoever shows a pay code owes", person.does("sell", "-", item))
        for item in ("CARD@2.40", "MUG@6.50")
    )
    shown = code(person, "lin")
    paid = person.does("pay", small, "--pay-code", types=shown)
    assert paid == f"HAND OVER GOODS: order {small}, 2.40 GBP, “Ada L.”.\nThe order is paid. Hand over the goods.\n"
    assert "SAFE TO RETRY (PAY_CODE_USED)" in person.does("pay", large, "--pay-code", types=shown)
    person.does("phone", "sign-in", "--phone", "lin", types=PIN)
    person.does("phone", "new-key", "--phone", "lin")
    waits = person.does("pay", large, "--pay-code", types=code(person, "lin"))
    assert re.match(r"ASK PAYER: order \S+, 6\.50 GBP, “Ada L\.”\.\n", waits)
    assert "The shopper has to act: confirm on the phone, or key in the PIN." in waits
    assert person.fails("enter-pin", large, types=WRONG_PIN) == "tillmesh enter-pin: The PIN is wrong; tries left: 4."
    assert "HAND OVER GOODS" in person.does("enter-pin", large, types=PIN)
    story = person.does("explain", large)
    assert "6.50 GBP moved from lin to the store" in story
    assert re.search(r"payment, post .* -6\.50 GBP +41\.10 GBP", person.does("phone", "statement", "--phone", "lin"))


def test_a_signed_in_phone_says_yes_and_no_and_sets_its_own_limit(person: Person) -> None:
    enrolled(person, "eve", "--confirm-above", "1")
    own = ("--phone", "eve")
    assert person.fails("phone", "pending", *own).endswith("Sign in again. Do: tillmesh phone sign-in")
    assert "tries left: 4" in person.fails("phone", "sign-in", *own, types=WRONG_PIN)
    assert person.does("phone", "sign-in", *own, types=PIN) == "eve is signed in on eve.\n"
    order_id = found(r"Order (\S+): eve owes", person.does("sell", "eve", "MUG@6.50"))
    assert order_id in person.does("phone", "pending", *own)
    for answer, state in (("cancel", "VOIDED (PAYMENT_CANCELED)"), ("confirm", "CAPTURED")):
        person.does("phone", "new-key", *own)
        wait_until(lambda: pays_by_code(person, order_id, "eve"))  # the till has to hear of the phone's no first
        payment_id = found(r"(\S+) .*AWAITING_PAYER", person.does("phone", "payments", *own))
        assert state in person.does("phone", answer, payment_id, *own)
    second_id = found(r"Order (\S+): eve owes", person.does("sell", "eve", "CARD@2.40"))
    assert "CAPTURED" in person.does("phone", "pay", second_id, *own)
    assert "eve has no order" in person.fails("phone", "pay", second_id, *own)

    above = "eve confirms every payment above 1.00 GBP."
    assert person.does("phone", "limits", *own) == f"{above} Others need no confirmation.\n"
    limited = person.does("phone", "limits", "--per-day-max", "3", *own)
    assert limited == f"{above} Of the others, 3 a day need no confirmation.\n"
    every = person.does("phone", "limits", "--confirm-above", "none", *own)
    assert every == "eve confirms every payment in GBP.\n"
    assert "6.50 GBP" in person.does("phone", "statement", "--currency", "GBP", *own)
    person.does("phone", "sign-out", *own)
    assert person.fails("phone", "statement", *own).endswith("tillmesh phone sign-in")


def test_what_can_go_wrong_with_a_phone_is_one_plain_line(person: Person) -> None:
    assert person.fails("phone", "code", "--phone", "none-such") == (
        "tillmesh phone: There is no phone none-such; make one: tillmesh phone enroll IDENTITY"
    )
    assert "There is no identity nobody" in person.fails("phone", "enroll", "nobody")
    kept = enrolled(person, "fay")
    assert person.fails("phone", "sign-in", "--phone", "fay").endswith("pass it on standard input.")
    nowhere = person.fails("phone", "pending", "--phone", "fay", "--payments", NOWHERE)
    assert "The payment server at 127.0.0.1:1 cannot be reached." in nowhere
    kept.write_text("{}")
    assert "cannot be used" in person.fails("phone", "code", "--phone", "fay")
    (kept.parent / "second.json").write_text("{}")
    assert "Say --phone with one of:" in person.fails("phone", "code")
    kept.unlink()
