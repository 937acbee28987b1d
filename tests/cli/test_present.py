"""The shop's QR code on the command line: a till presents, a phone claims, sees and pays."""

import json
import re
from pathlib import Path

from tests.cli.command_line import Person, found, tillmesh
from tests.cli.test_phone import enrolled
from tests.cli.watching import Watching
from tests.trust.secrets import PIN, keep
from tillmesh import claim_code


def signed_in(person: Person, identity: str) -> tuple[str, str]:
    """A phone on which somebody is signed in, as an option."""
    enrolled(person, identity, "--confirm-above", "1")
    own = ("--phone", identity)
    person.does("phone", "sign-in", *own, types=PIN)
    return own


def raised(person: Person) -> str:
    """An order for nobody in particular."""
    return found(r"Order (\S+):", person.does("sell", "-", "PLATE=2@6.50", "RICE=432g@12.90"))


def presented(person: Person, order_id: str, *options: str) -> str:
    """The code that the till shows."""
    code = person.does("present", order_id, *options).splitlines()[0]
    assert claim_code.parse(code)
    return keep(code)


def test_a_phone_sees_and_pays_what_the_till_presents_and_the_display_hears_of_it(
    person: Person, tmp_path: Path
) -> None:
    own, order_id = signed_in(person, "paula"), raised(person)
    watch = ("watch", "checkouts", "--checkout", order_id, "--from", "oldest")
    with Watching(person.mesh.addresses, tmp_path, *watch) as watching:
        shown = person.does("phone", "claim", "-", *own, types=presented(person, order_id, "--qr"))
        assert f"Order {order_id}\n" in shown
        assert re.search(r"PLATE +2 +13\.00", shown)
        assert re.search(r"RICE +432 g +5\.57", shown)
        assert re.search(r"18\.57 GBP are due to store-1\. The order is yours for \d+ seconds\.", shown)
        paid = person.does("phone", "pay", order_id, *own)
        assert re.fullmatch(rf"Payment \S+ of 18\.57 GBP for {order_id}: CAPTURED\.\n", paid)
        watching.until(lambda lines: any("PAID" in line and "till says HAND OVER GOODS" in line for line in lines))
    assert "paula paid 18.57 GBP to store-1, who has it." in person.does("explain", order_id)


def test_a_claim_pays_at_once_after_a_yes(person: Person) -> None:
    own, order_id = signed_in(person, "petra"), raised(person)
    code = presented(person, order_id)
    no = person.fails("phone", "claim", code, "--pay", *own, types="n\n")
    assert no.endswith("Pay 18.57 GBP to store-1? [y/N]:tillmesh phone: Nothing was changed.")
    assert "CAPTURED" in person.does("phone", "claim", code, "--pay", "--yes", *own)
    done = tillmesh("phone", "claim", code, "--yes", *own, mesh=person.mesh.addresses)
    assert (done.returncode, "needs --pay" in done.stderr) == (2, True)


def test_one_phone_has_an_order_until_it_gives_it_back(person: Person) -> None:
    own, other, order_id = signed_in(person, "pia"), signed_in(person, "pit"), raised(person)
    code = presented(person, order_id)
    (claimed,) = person.does("phone", "claim", code, *own, "--json").splitlines()
    assert json.loads(claimed)["order"]["order_id"] == order_id
    assert "Somebody else has claimed the order" in person.fails("phone", "claim", code, *other)
    assert "pit has no order" in person.fails("phone", "pay", order_id, *other)
    assert person.does("phone", "release", order_id, *own) == f"Order {order_id} is free for another phone.\n"
    assert order_id in person.does("phone", "claim", code, *other)
    assert "CAPTURED" in person.does("phone", "pay", order_id, *other)
    assert "presents nothing under this code" in person.fails(
        "phone", "claim", keep(claim_code.make("store-1", bytes(16))), *own
    )


def test_a_sticker_leads_to_what_its_lane_presents(person: Person) -> None:
    own, order_id = signed_in(person, "pam"), raised(person)
    assert person.fails("sticker", "lane-9") == (
        "tillmesh sticker: Lane lane-9 has no sticker; make one: tillmesh sticker lane-9 --renew"
    )
    made, *qr = person.does("sticker", "lane-9", "--renew", "--qr").splitlines()
    assert qr
    assert person.does("sticker", "lane-9") == f"{keep(made)}\n"
    assert "presents nothing under this code" in person.fails("phone", "claim", made, *own)
    presented(person, order_id, "--lane", "lane-9")
    assert order_id in person.does("phone", "claim", made, *own)
    renewed = keep(person.does("sticker", "lane-9", "--renew").strip())
    assert renewed != made
    (printed,) = person.does("sticker", "lane-9", "--json").splitlines()
    assert json.loads(printed)["code"] == renewed


def test_an_order_that_names_its_payer_is_not_presented(person: Person) -> None:
    person.does("identity", "polly", "--confirm-above", "1")
    order_id = found(r"Order (\S+):", person.does("sell", "polly", "MUG@6.50"))
    assert "names its payer" in person.fails("present", order_id)
