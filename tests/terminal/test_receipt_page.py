"""A receipt as a page: it needs nothing else, and no text leaves its place in it."""

import re
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from store_terminal.receipts.model import Kind, StoreRecord
from tests.terminal.receipts import KINDS, TEA, checkout, html, refund
from tillmesh.lines import Adjustment, LineItem
from tillmesh.origin import Origin
from tillmesh.payer import identity

Tag = tuple[str, tuple[tuple[str, str | None], ...]]


class Page(HTMLParser):
    """A page taken apart: its tags with their attributes, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[Tag] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [dict(attributes) for name, attributes in self.tags if name == tag]


def page(text: str, kind: Kind) -> str:
    """A page with that text wherever somebody may write one."""
    item = LineItem("TEA", text, 2, 125, note=text, adjustments=(Adjustment("STAFF", text, -1),))
    sold = replace(checkout(item), payer=identity(text), origin=Origin("till-1", "lane-1", text))
    store = StoreRecord("store-1", text, (text,), text)
    back = replace(refund(10, item), note=text)
    return html(sold, [back], kind=kind, store=store, exchanged=back)


def test_a_page_has_language_title_rows_and_code_and_loads_nothing() -> None:
    whole = html(checkout(TEA), language="de")
    made = Page(whole)
    assert made.named("html") == [{"lang": "de"}]
    assert made.named("meta")[0] == {"charset": "utf-8"}
    assert "Kassenbon" in made.texts
    assert "SUMME GBP" in made.texts
    assert "2,50\n" in made.texts
    (drawing,) = made.named("svg")
    assert drawing["class"] == "segno"
    assert re.findall(r"\b(?:src|href|url)\b|https?:", whole) == []
    assert Page(html(checkout(TEA), kind=Kind.RETURN)).named("svg") == []


def test_a_text_may_be_of_any_script_and_goes_in_its_own_direction() -> None:
    made = Page(html(checkout(LineItem("X", "תה <b>", 2, 125, note="שלום"))))
    assert "תה <b>\n" in made.texts
    assert "שלום\n" in made.texts
    cells = made.named("td")
    assert all("dir" in cell for cell in cells if "colspan" in cell)


TEXTS = st.text(min_size=1, max_size=64) | st.text("<>&\"'/!-=abdistylecrp ]\x00\u2066\u202e", min_size=1, max_size=64)


@given(TEXTS, st.sampled_from(KINDS))
def test_no_text_breaks_out_of_its_element(text: str, kind: Kind) -> None:
    made = Page(page(f"a{text}", kind))
    assert made.tags == Page(page("a", kind)).tags
    shown = "".join(made.texts)
    assert all(mark.isprintable() or mark in "\n\u00a0" for mark in shown)
