import base64
import json

import pytest

from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.paging import (
    LINES_A_PAGE_MAX,
    PAGE_SIZE_DEFAULT,
    PAGE_SIZE_MAX,
    Page,
    page_key,
    page_size,
    page_token,
)

FILTERS = ["store-1", ["OPEN"]]


@pytest.mark.parametrize(
    ("requested", "rows"),
    [(0, PAGE_SIZE_DEFAULT), (1, 1), (200, 200), (201, PAGE_SIZE_MAX), (2**31 - 1, PAGE_SIZE_MAX)],
)
def test_page_size_has_a_default_and_a_limit(requested: int, rows: int) -> None:
    assert page_size(requested) == rows


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(Refusal, match=r"page_size must not be negative, was -1"):
        page_size(-1)


def test_a_token_leads_back_to_its_key() -> None:
    assert page_key(page_token([17, "order-9"], FILTERS), FILTERS, [int, str]) == [17, "order-9"]


def test_the_first_page_needs_no_token() -> None:
    assert page_key("", FILTERS, [int, str]) is None


@pytest.mark.parametrize(
    "token",
    [
        page_token([17, "order-9"], ["store-2", ["OPEN"]]),
        page_token(["17", "order-9"], FILTERS),
        page_token([17], FILTERS),
        page_token([True, "order-9"], FILTERS),
        page_token([17, "order-9"], FILTERS)[:-5],
        base64.urlsafe_b64encode(json.dumps([1, 2]).encode()).decode(),
        base64.urlsafe_b64encode(b"17").decode(),
        "not base 64 \N{POUND SIGN}",
        "=",
        # Tokens are not secret: who makes one gets no further than who has got one.
        page_token([2**63, "order-9"], FILTERS),
        page_token([-(2**63) - 1, "order-9"], FILTERS),
        page_token([10**400, "order-9"], FILTERS),
        page_token([17, "order\0"], FILTERS),
        page_token([17, "\ud800"], FILTERS),
        base64.urlsafe_b64encode(b"[" * 1_400).decode(),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
def test_a_token_of_other_filters_or_none_at_all_is_refused(token: str) -> None:
    with pytest.raises(Refusal) as raised:
        page_key(token, FILTERS, [int, str])
    assert [violation.field for violation in raised.value.violations] == ["page_token"]


def test_pages_together_are_the_whole_list_and_the_last_has_no_token() -> None:
    rows, pages, token = list(range(7)), [], ""
    while True:
        page: Page[int] = Page(3, token, FILTERS, [int])
        start = page.after[0] + 1 if page.after else 0
        found, token = page.cut(rows[start : start + page.at_most], lambda row: [row])
        pages.append(list(found))
        if not token:
            break
    assert pages == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_full_last_page_is_known_to_be_the_last() -> None:
    page: Page[int] = Page(3, "", FILTERS, [int])
    assert page.cut([0, 1, 2], lambda row: [row]) == ([0, 1, 2], "")


def test_rows_of_many_lines_make_a_shorter_page_and_none_is_lost() -> None:
    rows = [(number, 1_000) for number in range(8)]
    seen: list[int] = []
    token = ""
    while True:
        page = Page[tuple[int, int]](200, token, FILTERS, [int])
        after = page.after[0] if page.after else -1
        left = [row for row in rows if row[0] > after][: page.at_most]
        shown, token = page.cut(left, lambda row: [row[0]], lambda row: row[1])
        assert sum(lines for _, lines in shown) <= LINES_A_PAGE_MAX
        seen += [number for number, _ in shown]
        if not token:
            break
    assert seen == [number for number, _ in rows]
