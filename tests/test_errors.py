"""Every reason of every server is mapped, told with all its facts, and used."""

import ast
import base64
import importlib
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode

from tests.sources import ROOT, SERVICES, SHARED_FOLDERS, files, tree
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.peers import UNDECIDED
from tillmesh.runtime.errors import CommonReason, ErrorReason, FieldViolation, Refusal, invalid
from tillmesh.storage.requests import NOT_REMEMBERED

TESTS = {"order_service": "tests/orders", "thirdparty_server": "tests/payments", "store_terminal": "tests/terminal"}
KINDS = {
    # A line that a refund names is a fault of the refund where the order's lines are fixed.
    "LINE_NOT_FOUND": {StatusCode.NOT_FOUND, StatusCode.FAILED_PRECONDITION},
    "_NOT_FOUND": {StatusCode.NOT_FOUND},
    "_PRUNED": {StatusCode.NOT_FOUND},
    "_EXISTS": {StatusCode.ALREADY_EXISTS},
    "_REUSED": {StatusCode.ALREADY_EXISTS},
    "_UNAVAILABLE": {StatusCode.UNAVAILABLE},
    "_NOT_SETTLED": {StatusCode.UNAVAILABLE},
    "VERSION_MISMATCH": {StatusCode.ABORTED},
    "CONCURRENT_CHANGE": {StatusCode.ABORTED, StatusCode.UNAVAILABLE},
    "AMOUNT_MISMATCH": {StatusCode.ABORTED},
    "CURRENCY_MISMATCH": {StatusCode.INVALID_ARGUMENT},
    "CODE_UNREADABLE": {StatusCode.INVALID_ARGUMENT},
    "CODE_LENGTH_WRONG": {StatusCode.INVALID_ARGUMENT},
    "CHECK_DIGIT_WRONG": {StatusCode.INVALID_ARGUMENT},
    "CODE_MISMATCH": {StatusCode.INVALID_ARGUMENT},
    "INVALID_FIELD": {StatusCode.INVALID_ARGUMENT},
    "_MALFORMED": {StatusCode.INVALID_ARGUMENT},
    "CURSOR_EXPIRED": {StatusCode.OUT_OF_RANGE},
    "DEADLINE_REQUIRED": {StatusCode.INVALID_ARGUMENT},
    "_CAPPED": {StatusCode.DEADLINE_EXCEEDED},
    "_LIMITED": {StatusCode.RESOURCE_EXHAUSTED},
    "OVERLOADED": {StatusCode.RESOURCE_EXHAUSTED},
    "_EXHAUSTED": {StatusCode.RESOURCE_EXHAUSTED},
    "UNAUTHENTICATED": {StatusCode.UNAUTHENTICATED},
    "SIGN_IN_REQUIRED": {StatusCode.UNAUTHENTICATED},
    "_DENIED": {StatusCode.PERMISSION_DENIED},
    "INTERNAL": {StatusCode.INTERNAL},
    "": {StatusCode.FAILED_PRECONDITION, StatusCode.ABORTED},
}
"""Statuses by how a reason's name ends; the first that fits counts, the last is for illegal transitions."""
BODIES = {
    "order_service": ("OrderPayment.reason", "order/v1/order_payment.proto"),
    "thirdparty_server": ("Payment.reason", "payment/v1/payment.proto"),
    "store_terminal": ("Checkout.verdict_reason", "terminal/v1/checkout.proto"),
}
"""The field of each server in whose body a reason stands that is no error, and the contract that explains it."""


def catalogue(service: str) -> type[ErrorReason]:
    reason: type[ErrorReason] = importlib.import_module(f"{service}.errors").Reason
    return reason


def every_reason() -> list[ErrorReason]:
    return [reason for service in SERVICES for reason in catalogue(service)] + list(CommonReason)


def named(reason: ErrorReason) -> str:
    return f"{type(reason).__module__}.{reason.name}"


def placeholders(reason: ErrorReason) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(reason.text) if field}


@pytest.mark.parametrize("reason", every_reason(), ids=named)
def test_a_reason_has_the_status_of_its_kind_and_a_sentence_for_people(reason: ErrorReason) -> None:
    kind = next(kind for kind in KINDS if reason.name.endswith(kind))
    assert reason.code in KINDS[kind]
    assert reason.text[0].isupper() or reason.text[0] == "{"
    assert reason.text.endswith(".")


@pytest.mark.parametrize("service", SERVICES)
def test_a_reason_of_a_service_is_a_definite_answer(service: str) -> None:
    """A peer takes statuses such as UNKNOWN for no answer and asks again; these two say just that."""
    undecided = UNDECIDED - {StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED}
    assert [reason.name for reason in catalogue(service) if reason.code in undecided] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_does_not_give_a_common_reason_a_second_meaning(service: str) -> None:
    assert {reason.name for reason in catalogue(service)} & {reason.name for reason in CommonReason} == set()


def mentions(path: Path) -> Iterator[tuple[str, str, ast.AST]]:
    """(catalogue, reason, parent) of each Reason.X and CommonReason.X in a file."""
    for parent in ast.walk(tree(path)):
        for node in ast.iter_child_nodes(parent):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id.endswith("Reason")
            ):
                yield node.value.id, node.attr, parent


@pytest.mark.parametrize("folder", [*SHARED_FOLDERS, *SERVICES])
def test_every_refusal_is_raised_with_what_its_text_needs(folder: str) -> None:
    catalogues: dict[str, type[ErrorReason]] = {"CommonReason": CommonReason}
    if folder in SERVICES:
        catalogues["Reason"] = catalogue(folder)
    wrong = []
    for path in files(folder):
        for kind, name, parent in mentions(path):
            if (
                kind not in catalogues
                or not isinstance(parent, ast.Call)
                or ast.unparse(parent.func) != f"{kind}.{name}"
            ):
                continue
            given = {keyword.arg for keyword in parent.keywords}
            missing = placeholders(catalogues[kind][name]) - given
            if missing and None not in given:  # None: **facts, which only running it can tell
                wrong.append(f"{path.relative_to(ROOT)}:{parent.lineno}: {name} without {', '.join(sorted(missing))}")
    assert wrong == []


def retried(path: Path, catalogues: dict[str, type[ErrorReason]]) -> Iterator[tuple[int, str, StatusCode | None]]:
    """Line, what is called, and its status if that is known, of each call that is given a time to wait."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and any(keyword.arg == "retry_after_ms" for keyword in node.keywords):
            called = ast.unparse(node.func)
            kind, _, name = called.partition(".")
            known = kind in catalogues and name in catalogues[kind].__members__
            yield node.lineno, called, catalogues[kind][name].code if known else None


@pytest.mark.parametrize("service", SERVICES)
def test_nobody_is_told_to_repeat_what_is_refused_for_ever(service: str) -> None:
    """RetryInfo makes client libraries send the same request again; a remembered refusal is then the answer again."""
    catalogues: dict[str, type[ErrorReason]] = {"CommonReason": CommonReason, "Reason": catalogue(service)}
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {called}"
        for path in files(service)
        for line, called, code in retried(path, catalogues)
        if code not in NOT_REMEMBERED
    ]
    assert wrong == []


def test_a_reason_that_is_remembered_says_what_to_send_and_not_to_repeat_it() -> None:
    remembered = [reason for reason in every_reason() if reason.code not in (*NOT_REMEMBERED, *UNDECIDED)]
    again = re.compile(r"repeat|(try|send|call)[^.;]* again", re.IGNORECASE)
    wrong = [named(reason) for reason in remembered if again.search(reason.text) and "under a new" not in reason.text]
    assert len(remembered) > 30
    assert wrong == []


# Reasons in bodies


def section(title: str) -> str:
    """What docs/errors.md says under a heading."""
    document = (ROOT / "docs/errors.md").read_text()
    match = re.search(rf"^### `{re.escape(title)}`\n(.*?)(?=^#|\Z)", document, re.MULTILINE | re.DOTALL)
    assert match, f"docs/errors.md has no part about {title}"
    return match.group(1)


def rows(title: str) -> dict[str, str]:
    """Reason and sentence of each row in that part."""
    return dict(re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", section(title), re.MULTILINE))


@pytest.mark.parametrize("service", SERVICES)
def test_every_reason_that_stands_in_a_body_is_explained(service: str) -> None:
    constants = vars(importlib.import_module(f"{service}.errors")).items()
    in_bodies = {name for name, value in constants if name == value and re.fullmatch("[A-Z_]+", name)}
    told = rows(BODIES[service][0])
    assert in_bodies
    assert in_bodies - told.keys() == set()
    assert [reason for reason, sentence in told.items() if not sentence.endswith(".")] == []


@pytest.mark.parametrize("service", SERVICES)
def test_the_document_knows_every_reason_that_the_contract_names(service: str) -> None:
    title, proto = BODIES[service]
    comments = re.findall(r"((?:^ *//.*\n)+) *string (?:verdict_)?reason = ", *contract(proto))
    named_there = {word for comment in comments for word in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", comment)}
    not_reasons = {"UPPER_SNAKE_CASE", "SAFE_TO_RETRY", "HAND_OVER_GOODS"}
    assert named_there - not_reasons - rows(title).keys() == set()


def contract(proto: str) -> tuple[str, re.RegexFlag]:
    return (ROOT / "protos/tillmesh/api" / proto).read_text(), re.MULTILINE


@pytest.mark.parametrize("service", SERVICES)
def test_every_reason_of_a_service_is_given_somewhere(service: str) -> None:
    used = {name for path in files(service) for _, name, _ in mentions(path)}
    tables = [tree(path) for path in files(service) if path.name == "lifecycle.py"]
    in_table = {node.value for table in tables for node in ast.walk(table) if isinstance(node, ast.Constant)}
    assert {reason.name for reason in catalogue(service)} - used - in_table == set()


@pytest.mark.parametrize("service", SERVICES)
def test_every_reason_of_a_service_is_provoked_by_a_test_of_it(service: str) -> None:
    tested = "".join(path.read_text() for path in files(TESTS[service]))
    assert [reason.name for reason in catalogue(service) if not re.search(rf"\b{reason.name}\b", tested)] == []


def test_every_common_reason_is_given_somewhere() -> None:
    used = {name for folder in (*SHARED_FOLDERS, *SERVICES) for path in files(folder) for _, name, _ in mentions(path)}
    assert {reason.name for reason in CommonReason} - used == set()


@pytest.mark.parametrize("reason", every_reason(), ids=named)
def test_a_refusal_survives_the_wire(reason: ErrorReason) -> None:
    facts = {name: f"<{name}>" for name in placeholders(reason)}
    sent = reason(retry_after_ms=61_500, **facts)
    got = Refusal.from_status(sent.to_status("order.tillmesh"))
    assert got is not None
    assert (got.code, got.reason, got.text, got.metadata) == (reason.code, reason.name, sent.text, facts)
    assert all(value in got.text for value in facts.values())
    assert (got.domain, got.retry_after_ms) == ("order.tillmesh", 61_500)


def test_a_refusal_that_is_passed_on_keeps_its_domain() -> None:
    first = Refusal.from_status(CommonReason.CONCURRENT_CHANGE().to_status("order.tillmesh"))
    assert first is not None
    second = Refusal.from_status(first.to_status("terminal.tillmesh"))
    assert second is not None
    assert second.domain == "order.tillmesh"


def test_every_wrong_field_is_named_in_the_text_and_in_the_details() -> None:
    violations = [FieldViolation("lines", "must be 1 to 1000, were 0"), FieldViolation("store_id", "is empty")]
    status = invalid(violations).to_status("order.tillmesh")
    assert status.code == StatusCode.INVALID_ARGUMENT.value[0]
    assert status.message == "The request has an invalid field: lines must be 1 to 1000, were 0; store_id is empty."
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert [(field.field, field.description) for field in bad.field_violations] == [
        ("lines", "must be 1 to 1000, were 0"),
        ("store_id", "is empty"),
    ]
    got = Refusal.from_status(status)
    assert got is not None
    assert got.violations == tuple(violations)
    assert got.retry_after_ms is None


def test_a_refusal_repeats_no_more_of_an_overlong_request_than_gets_through() -> None:
    many = invalid([FieldViolation(f"lines[{number}]", "is wrong") for number in range(1000)])
    assert [violation.field for violation in many.violations] == [f"lines[{number}]" for number in range(10)]
    assert many.text.endswith("lines[9] is wrong; and 990 more.")
    long = CommonReason.REQUEST_ID_REUSED(request_id="\N{GRINNING FACE}" * 100_000)
    assert len(long.to_status("order.tillmesh").SerializeToString()) < 2_000


@pytest.mark.parametrize("value", ["x", "é", "\N{GRINNING FACE}", "\U000e0001", "%", "\0"], ids=ascii)
def test_ten_wrong_ids_of_whatever_characters_get_through(value: str) -> None:
    fields = Fields()
    for number in range(10):
        fields.identifier(f"identifier_{number}", value * 1_000)
    with pytest.raises(Refusal) as raised:
        fields.check()
    status = raised.value.to_status("order.tillmesh")
    text, details = (
        quote(status.message, safe=string.printable.replace("%", "")),
        base64.b64encode(status.SerializeToString()),
    )
    assert len(text) + len(details) < 7_500  # of 8 KiB for all trailers
    assert "identifier_0" in text
    assert raised.value.violations
    shown = len(raised.value.violations)
    assert shown == 10 or f"and {10 - shown} more" in status.message


def test_a_status_without_an_error_info_is_no_refusal() -> None:
    status = CommonReason.CONCURRENT_CHANGE().to_status("order.tillmesh")
    del status.details[:]
    assert Refusal.from_status(status) is None


@pytest.mark.parametrize("reason", [each for each in every_reason() if each.code is StatusCode.UNAVAILABLE], ids=named)
def test_what_is_unavailable_says_when_to_repeat_the_call(reason: ErrorReason) -> None:
    facts: dict[str, Any] = dict.fromkeys(placeholders(reason), "x")
    assert reason(**facts).retry_after_ms
