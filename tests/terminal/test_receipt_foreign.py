"""Ten thousand texts that were typed to do harm, on receipts of every kind and in every format."""

import random
from dataclasses import replace
from typing import Any

from store_terminal.receipts.model import Decline, Kind, StoreRecord
from tests.foreign import foreign, hidden_in
from tests.terminal.receipts import AT_MS, KINDS, checkout, for_printer, html, refund, text
from tests.terminal.test_receipt_bytes import text_in
from tillmesh.lines import Adjustment, LineItem
from tillmesh.origin import Origin
from tillmesh.payer import identity
from tillmesh.runtime.money import Money

TEXTS = 10_000
TEXTS_OF_A_SALE = 13


def test_no_format_of_a_receipt_lets_a_hidden_character_out() -> None:
    rng = random.Random(2026)
    for number in range(TEXTS // TEXTS_OF_A_SALE + 1):
        typed = iter([foreign(rng) for _ in range(TEXTS_OF_A_SALE)])
        item = LineItem("SKU", next(typed), 2, 125, note=next(typed), adjustments=(Adjustment("OFF", next(typed), -5),))
        sold = replace(
            checkout(item),
            payer=identity(next(typed)),
            payer_display_name=next(typed),
            origin=Origin("till-1", next(typed), next(typed)),
        )
        made: dict[str, Any] = {
            "kind": KINDS[number % len(KINDS)],
            "store": StoreRecord("store-1", next(typed), (next(typed), next(typed)), next(typed)),
            "decline": Decline("pay-9", Money("GBP", 250), next(typed), AT_MS),
        }
        back = [replace(refund(10, item), note=next(typed))]
        assert hidden_in(text(sold, back, **made)) == []
        assert hidden_in(html(sold, back, **made)) == []
        qr_text = "" if made["kind"] is Kind.RETURN else "TILLMESH1/"
        for line in text_in(for_printer(sold, back, **made), qr_text):
            assert all(byte >= 0x20 and byte != 0x7F for byte in line)
