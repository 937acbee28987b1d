import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillmesh.api.order.v1 import order_pb2
from tillmesh.rpc.paging import PAGE_BYTES_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Page, page_size
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.database import open_database
from tillmesh.storage.schema import versioned
from tillmesh.storage.seal import BLOCK_BYTES, KEY_BYTES, Seal

FILTERS: list[Any] = ["ListOrders", "store-1", ["OPEN"]]
SEAL, OTHER_SEAL = Seal(bytes(range(KEY_BYTES))), Seal(bytes(KEY_BYTES))
METADATA = versioned("0001")


@pytest.mark.parametrize(
    ("requested", "rows"),
    [(0, PAGE_SIZE_DEFAULT), (1, 1), (200, 200), (201, PAGE_SIZE_MAX), (2**31 - 1, PAGE_SIZE_MAX)],
)
def test_page_size_has_a_default_and_a_limit(requested: int, rows: int) -> None:
    assert page_size(requested) == rows


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(Refusal, match=r"page_size must not be negative, was -1"):
        page_size(-1)


def order(number: int, title_length: int = 0) -> order_pb2.Order:
    return order_pb2.Order(version=number, order_id="x" * title_length)


def token_for(key: list[Any], filters: list[Any] = FILTERS, seal: Seal = SEAL) -> str:
    """The token of the page after the row with that key."""
    page: Page[int] = Page(seal, 1, "", filters)
    return page.cut([1, 2], lambda _row: key, order)[1]


def after(token: str, filters: list[Any] = FILTERS, seal: Seal = SEAL) -> list[Any] | None:
    return Page[int](seal, 1, token, filters).after


def test_a_token_leads_back_to_its_key() -> None:
    assert after(token_for([17, "order-9"])) == [17, "order-9"]


def test_the_first_page_needs_no_token() -> None:
    assert after("") is None


GOOD = token_for([17, "order-9"])


def flipped(token: str, position: int) -> str:
    """With another letter at one position."""
    return token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]


@pytest.mark.parametrize(
    "token",
    [
        token_for([17, "order-9"], ["ListOrders", "store-2", ["OPEN"]]),
        token_for([17, "order-9"], ["ListOrders", "store-1", []]),
        token_for([17, "order-9"], ["ListRefunds", "store-1", ["OPEN"]]),
        token_for([17, "order-9"], seal=OTHER_SEAL),
        *(flipped(GOOD, position) for position in range(len(GOOD) - 1)),  # of the last letter not every bit counts
        GOOD[:-5],
        GOOD[5:],
        GOOD + GOOD,
        base64.urlsafe_b64encode(json.dumps([17, "order-9"]).encode()).decode(),
        "not base 64 \N{POUND SIGN}",
        "=",
        "A",
        "A" * 22,
        "A" * 5_000,
        "\ud800",
    ],
)
def test_a_token_that_was_not_given_out_for_this_list_is_refused(token: str) -> None:
    """Another list's, one for other filters, one from another database, one that somebody changed or made up."""
    with pytest.raises(Refusal) as raised:
        after(token)
    assert [violation.field for violation in raised.value.violations] == ["page_token"]
    assert after(GOOD) is not None


@given(st.integers(0, 10**18), st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64))
def test_nothing_of_a_key_can_be_read_in_a_token(number: int, text: str) -> None:
    token = token_for([number, text])
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert after(token) == [number, text]
    assert str(number).encode() not in raw or number < 1_000
    assert text.encode() not in raw or len(text) < 4
    assert (len(raw) - 16) % BLOCK_BYTES == 0


def test_the_length_of_a_position_does_not_tell_how_much_there_is() -> None:
    assert {len(token_for([number])) for number in (1, 10**6, 10**12)} == {len(token_for([7]))}


@given(st.text(min_size=1, max_size=500).filter(lambda text: not text.endswith("\0")), st.text(max_size=50))
def test_what_is_sealed_opens_with_its_context_alone(text: str, context: str) -> None:
    sealed = SEAL.close(text, context)
    assert SEAL.open(sealed, context) == text
    assert SEAL.open(sealed, context + " ") is None
    assert OTHER_SEAL.open(sealed, context) is None
    assert SEAL.close(text, context) == sealed, "a position has one name"


async def test_a_token_is_good_in_every_process_of_its_database_and_in_no_other(
    database_url: str, new_database: Callable[[], str]
) -> None:
    first = open_database(database_url, METADATA)
    token = token_for([17], seal=first.seal)
    await first.close()
    again, other = open_database(database_url, METADATA), open_database(new_database(), METADATA)
    assert after(token, seal=again.seal) == [17]
    with pytest.raises(Refusal, match="page_token"):
        after(token, seal=other.seal)
    await again.close()
    await other.close()


def pages_of(rows: list[order_pb2.Order], size: int) -> list[list[order_pb2.Order]]:
    """All pages of a list, each read as a service reads it."""
    pages, token = [], ""
    while True:
        page: Page[order_pb2.Order] = Page(SEAL, size, token, FILTERS)
        last = page.after[0] if page.after else -1
        found = [row for row in rows if row.version > last][: page.at_most]
        shown, token = page.cut(found, lambda row: [row.version], lambda row: row)
        pages.append(shown)
        if not token:
            return pages


def test_pages_together_are_the_whole_list_and_the_last_has_no_token() -> None:
    pages = pages_of([order(number) for number in range(7)], 3)
    assert [[row.version for row in page] for page in pages] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("count", [0, 3])
def test_a_full_last_page_is_known_to_be_the_last(count: int) -> None:
    assert len(pages_of([order(number) for number in range(count)], 3)) == 1


def test_large_rows_make_a_shorter_page_and_none_is_lost() -> None:
    rows = [order(number, 700_000) for number in range(11)]
    pages = pages_of(rows, 200)
    assert [row for page in pages for row in page] == rows
    assert [len(page) for page in pages] == [4, 4, 3]
    assert max(sum(row.ByteSize() for row in page) for page in pages) <= PAGE_BYTES_MAX


def test_a_row_that_is_larger_than_a_page_is_a_page() -> None:
    rows = [order(1), order(2, PAGE_BYTES_MAX + 1), order(3)]
    assert [[row.version for row in page] for page in pages_of(rows, 200)] == [[1], [2], [3]]
