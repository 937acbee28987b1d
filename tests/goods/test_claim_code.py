"""The text of the shop's QR code."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillmesh import claim_code, paycode, receipt_code
from tillmesh.runtime.secret import Secret

SECRET = bytes(range(16))
CODE = "TILLMESH-CLAIM1/AAAQEAYEAUDAOCAJBIFQYDIOB4"


def test_a_code_is_spelled_with_capitals_and_digits() -> None:
    assert claim_code.make(SECRET) == CODE
    assert claim_code.parse(CODE) == CODE


def test_all_that_is_kept_of_a_code_is_the_hash_of_its_text() -> None:
    assert claim_code.digest(CODE) == hashlib.sha256(CODE.encode()).digest()


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_every_secret_has_a_code_of_its_own(one: bytes, other: bytes) -> None:
    codes = claim_code.make(one), claim_code.make(other)
    assert [claim_code.parse(code) for code in codes] == list(codes)
    assert (codes[0] == codes[1]) == (one == other)


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_a_secret_has_one_length(length: int) -> None:
    with pytest.raises(ValueError, match=f"has 16 bytes, not {length}"):
        claim_code.make(bytes(length))


@pytest.mark.parametrize(
    "text",
    [
        "",
        CODE.lower(),
        CODE[:-1],
        f"{CODE}A",
        f"{CODE}\n",
        f" {CODE}",
        CODE.replace("A", "1"),
        CODE.replace("CLAIM1", "CLAIM2"),
        CODE.replace("AAAQ", "ÄAAQ"),
        receipt_code.make("7K3M-9Q2X-VB4T", "till-1", 9, bytes(32)),
    ],
)
def test_other_texts_are_no_code(text: str) -> None:
    assert claim_code.parse(text) is None


def test_a_code_is_no_code_of_another_kind() -> None:
    assert receipt_code.parse(CODE) is None
    assert paycode.parse(Secret(CODE.encode())) is None
