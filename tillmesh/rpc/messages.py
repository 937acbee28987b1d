"""Small conversions between protobuf and Python that all servicers share."""

from collections.abc import Sequence
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2

from tillmesh.api.type.v1 import money_pb2, payer_pb2
from tillmesh.payer import Payer, PayerKind
from tillmesh.rpc.fields import Fields
from tillmesh.runtime.money import Money


def to_timestamp(at_ms: int) -> timestamp_pb2.Timestamp:
    """A point in time from milliseconds since 1970 UTC."""
    return timestamp_pb2.Timestamp(seconds=at_ms // 1000, nanos=at_ms % 1000 * 1_000_000)


def to_duration(span_ms: int) -> duration_pb2.Duration:
    """A duration from milliseconds."""
    return duration_pb2.Duration(seconds=span_ms // 1000, nanos=span_ms % 1000 * 1_000_000)


def from_duration(message: duration_pb2.Duration) -> int:
    """Whole milliseconds of a duration."""
    return message.seconds * 1000 + message.nanos // 1_000_000


def to_money(money: Money) -> money_pb2.Money:
    """An amount on the wire."""
    return money_pb2.Money(currency_code=money.currency, minor_units=money.minor)


def to_payer(payer: Payer) -> payer_pb2.Payer:
    """A payer on the wire."""
    if payer.kind is PayerKind.IDENTITY:
        return payer_pb2.Payer(identity_id=payer.value)
    return payer_pb2.Payer(reference=payer.value)


def state_names(enum: Any, numbers: Sequence[int]) -> list[str]:
    """Names without "STATE_" of the states in a filter; INVALID_ARGUMENT for what is none."""
    return _names(enum, "STATE_", "states", numbers)


def type_names(enum: Any, numbers: Sequence[int]) -> list[str]:
    """Names without "TYPE_" of the types of events in a filter; INVALID_ARGUMENT for what is none."""
    return _names(enum, "TYPE_", "types", numbers)


def _names(enum: Any, prefix: str, field: str, numbers: Sequence[int]) -> list[str]:
    with Fields() as fields:
        names = {number: name.removeprefix(prefix) for name, number in enum.items() if number}
        fields.require(len(numbers) <= len(names), field, f"must be at most {len(names)}, were {len(numbers)}")
        for index, number in enumerate(numbers[: len(names)]):
            fields.require(
                number in names, f"{field}[{index}]", f"must be one of {', '.join(names.values())}, was {number}"
            )
    return [names[number] for number in numbers]
