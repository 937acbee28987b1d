"""Who is to pay: an identity and a reference never take each other's place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillmesh.payer import Payer, PayerKind, identity, is_reference, looks_like_reference, reference

UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def test_kind_and_value_belong_together() -> None:
    assert identity("ada") == Payer(PayerKind.IDENTITY, "ada")
    assert reference(UUID) == Payer(PayerKind.REFERENCE, UUID)
    assert identity(UUID) != reference(UUID)
    assert (identity("ada").identity_id, reference(UUID).identity_id) == ("ada", None)


@given(st.uuids())
def test_every_uuid_is_a_reference_in_one_form_and_no_identity_in_any(value: object) -> None:
    text = str(value)
    assert is_reference(text)
    assert looks_like_reference(text)
    assert looks_like_reference(text.upper())
    assert is_reference(text.upper()) is (text.upper() == text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        UUID[:-1],
        f"{UUID}0",
        f"{UUID}\n",
        f" {UUID}",
        UUID.replace("-", ""),
        f"{{{UUID}}}",
        UUID.replace("0", "٠"),
    ],
)
def test_what_is_no_uuid_is_neither(text: str) -> None:
    assert not is_reference(text)
    assert not looks_like_reference(text)
