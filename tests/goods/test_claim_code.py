"""The text of the shop's QR code."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillmesh import claim_code, paycode, receipt_code
from tillmesh.claim_code import ClaimCode
from tillmesh.runtime.secret import Secret

SECRET = bytes(range(16))
STORE = "Store.7"
CODE = f"TILLMESH-CLAIM1/{STORE}/AAAQEAYEAUDAOCAJBIFQYDIOB4"


def test_a_code_names_its_store_and_has_a_secret() -> None:
    assert claim_code.make(STORE, SECRET) == CODE
    assert claim_code.parse(CODE) == ClaimCode(STORE, claim_code.digest(CODE))


def test_all_that_is_kept_of_a_code_is_the_hash_of_its_text() -> None:
    assert claim_code.digest(CODE) == hashlib.sha256(CODE.encode()).digest()


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_every_secret_has_a_code_of_its_own(one: bytes, other: bytes) -> None:
    codes = [claim_code.parse(claim_code.make(STORE, secret)) for secret in (one, other)]
    assert all(codes)
    assert (codes[0] == codes[1]) == (one == other)


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_a_secret_has_one_length(length: int) -> None:
    with pytest.raises(ValueError, match=f"has 16 bytes, not {length}"):
        claim_code.make(STORE, bytes(length))


@pytest.mark.parametrize(
    "text",
    [
        "",
        CODE.lower(),
        CODE.replace(STORE, ""),
        CODE.replace(STORE, "a b"),
        CODE.replace(STORE, "a/b"),
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
