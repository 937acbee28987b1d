"""Refusals: reason -> gRPC status, public text and google.rpc details.

Each service lists its reasons in an `ErrorReason` enum; calling a member makes
the exception to raise. The same `Refusal` comes out of a call to a peer, so
that passing a peer's refusal on is simply not catching it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import quote

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from tillmesh.runtime.foreign_text import visible

# A refusal travels in gRPC's trailers, which carry 8 KiB in all: a longer one would reach
# nobody. So it repeats no more of an overlong request than this.
FACT_LENGTH_MAX = 100
VIOLATIONS_MAX = 10
RETRY_AFTER_MS = 1_000
"""When to repeat what is UNAVAILABLE, unless somebody knows better."""
VIOLATIONS_BYTES_MAX = 6_000
UNQUOTED = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

STATUS_BY_NUMBER: dict[int, StatusCode] = {code.value[0]: code for code in StatusCode}


@dataclass(frozen=True)
class FieldViolation:
    """One invalid field of a request (google.rpc.BadRequest)."""

    field: str
    description: str


class Refusal(Exception):
    """A definite no: nothing was changed, or only what the reason says.

    The text is one line of visible characters, also where it repeats what a caller sent.
    """

    def __init__(
        self,
        code: StatusCode,
        reason: str,
        text: str,
        *,
        metadata: dict[str, str] | None = None,
        domain: str = "",
        violations: Sequence[FieldViolation] = (),
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(f"{reason}: {visible(text)}")
        self.code = code
        self.reason = reason
        self.text = visible(text)
        self.metadata = metadata or {}
        self.domain = domain
        self.violations = tuple(violations)
        self.retry_after_ms = retry_after_ms

    def to_status(self, default_domain: str) -> status_pb2.Status:
        """The refusal as it goes over the wire (AIP-193)."""
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain=self.domain or default_domain, metadata=self.metadata
        )
        details = [_packed(info)]
        if self.violations:
            bad = error_details_pb2.BadRequest()
            for violation in self.violations:
                bad.field_violations.add(field=violation.field, description=violation.description)
            details.append(_packed(bad))
        if self.retry_after_ms is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(self.retry_after_ms)
            details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
        return status_pb2.Status(code=self.code.value[0], message=self.text, details=details)

    @staticmethod
    def from_status(status: status_pb2.Status) -> "Refusal | None":
        """Reads what `to_status` wrote. None without an ErrorInfo of a tillmesh server."""
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        retry_after_ms = None
        for detail in status.details:
            detail.Unpack(info)
            detail.Unpack(bad)
            if detail.Unpack(retry):
                retry_after_ms = retry.retry_delay.ToMilliseconds()
        if not info.reason:
            return None
        return Refusal(
            STATUS_BY_NUMBER[status.code],
            info.reason,
            status.message,
            metadata=dict(info.metadata),
            domain=info.domain,
            violations=[FieldViolation(v.field, v.description) for v in bad.field_violations],
            retry_after_ms=retry_after_ms,
        )


def _packed(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


class Unanswered(Exception):
    """The peer's answer is not known: it may have acted or not, or may yet act.

    `said` is what the peer said instead of an answer, such as how long to wait; None where it said nothing.
    """

    def __init__(self, text: str, said: Refusal | None = None) -> None:
        super().__init__(text)
        self.said = said


class Failed(Unanswered):
    """The peer is there and failed over the request: asked again it may fail again, as often as it is asked."""


class ErrorReason(Enum):
    """A catalogue of refusals; each value is (status, text), the text formatted with metadata."""

    def __init__(self, code: StatusCode, text: str) -> None:
        self.code = code
        self.text = text

    def __call__(self, *, retry_after_ms: int | None = None, **metadata: object) -> Refusal:
        """The refusal to raise; `metadata` fills the text and goes into ErrorInfo."""
        values = {key: _shortened(str(value)) for key, value in metadata.items()}
        if self.code is StatusCode.UNAVAILABLE and retry_after_ms is None:
            retry_after_ms = RETRY_AFTER_MS
        return Refusal(self.code, self.name, self.text.format(**values), metadata=values, retry_after_ms=retry_after_ms)


Record = TypeVar("Record")


def found(record: Record | None, missing: ErrorReason, **metadata: Any) -> Record:
    """The record that was looked for; raises the reason for which there is none."""
    if record is None:
        raise missing(**metadata)
    return record


class CommonReason(ErrorReason):
    """Reasons that all servers share."""

    INVALID_FIELD = (StatusCode.INVALID_ARGUMENT, "The request has an invalid field: {problems}.")
    MESSAGE_MALFORMED = (StatusCode.INVALID_ARGUMENT, "The request is not one message of type {message}.")
    DEADLINE_REQUIRED = (
        StatusCode.INVALID_ARGUMENT,
        "Set a deadline. The server uses at most {seconds} s of it.",
    )
    DEADLINE_CAPPED = (
        StatusCode.DEADLINE_EXCEEDED,
        "The server ends a call after {seconds} seconds; repeat it with the same request id.",
    )
    RATE_LIMITED = (
        StatusCode.RESOURCE_EXHAUSTED,
        "This caller makes more than {calls_per_s} calls a second; repeat the call later.",
    )
    OVERLOADED = (
        StatusCode.RESOURCE_EXHAUSTED,
        "There are {of_all} calls in progress, or {of_holder} of this caller, the most there may be; repeat it later.",
    )
    REQUEST_ID_REUSED = (
        StatusCode.ALREADY_EXISTS,
        "The request id {request_id} was already used with other content; send a new request under a new id.",
    )
    UNAUTHENTICATED = (
        StatusCode.UNAUTHENTICATED,
        "The client certificate is not accepted: {why}. Use a certificate that this mesh issued.",
    )
    ROLE_DENIED = (StatusCode.PERMISSION_DENIED, "The role {role} may not call {method}.")
    STORE_DENIED = (
        StatusCode.PERMISSION_DENIED,
        "The record does not exist, or does not belong to store {store_id}. A store may use its own records only.",
    )
    SIGN_IN_REQUIRED = (
        StatusCode.UNAUTHENTICATED,
        "The session is missing or has expired. Sign in again.",
    )
    PAYER_DENIED = (
        StatusCode.PERMISSION_DENIED,
        "The record does not exist, or does not belong to payer {identity_id}. A payer may use their own records only.",
    )
    PEER_UNAVAILABLE = (
        StatusCode.UNAVAILABLE,
        "Another server has not answered yet; repeat the call with the same request id.",
    )
    STORAGE_UNAVAILABLE = (
        StatusCode.UNAVAILABLE,
        "The server cannot write to its database now; repeat the call with the same request id.",
    )
    STORAGE_OVERLOADED = (
        StatusCode.RESOURCE_EXHAUSTED,
        "{waiting} operations wait for the database; repeat the call with the same request id later.",
    )
    CURSOR_EXPIRED = (
        StatusCode.OUT_OF_RANGE,
        "Events after this cursor are no longer kept, or it is of another database; list the records, then watch from "
        "the cursor of the list.",
    )
    CONCURRENT_CHANGE = (
        StatusCode.UNAVAILABLE,
        "Somebody else changed the record meanwhile; repeat the call with the same request id.",
    )
    INTERNAL = (StatusCode.INTERNAL, "The server failed; its log has the details under trace {trace_id}.")


def invalid(violations: Sequence[FieldViolation]) -> Refusal:
    """INVALID_ARGUMENT with the violations, named in the text and in BadRequest."""
    shown = _fitting(violations)
    more = len(violations) - len(shown)
    problems = "; ".join(f"{v.field} {v.description}" for v in shown) + (f"; and {more} more" if more > 0 else "")
    reason = CommonReason.INVALID_FIELD
    return Refusal(reason.code, reason.name, reason.text.format(problems=problems), violations=shown)


def _fitting(violations: Sequence[FieldViolation]) -> Sequence[FieldViolation]:
    """The first ones, as many as get through.

    Each is in the text, which gRPC sends with %XX for all but printable ASCII, and in the details, which have it
    twice, in base64.
    """
    left = VIOLATIONS_BYTES_MAX
    for count, violation in enumerate(violations[:VIOLATIONS_MAX]):
        told = f"{violation.field} {violation.description}"
        left -= len(quote(told, safe=UNQUOTED)) + 2 * len(told.encode()) * 4 // 3
        if left < 0 and count:
            return violations[:count]
    return violations[:VIOLATIONS_MAX]


def _shortened(text: str) -> str:
    return text if len(text) <= FACT_LENGTH_MAX else f"{text[:FACT_LENGTH_MAX]}…"
