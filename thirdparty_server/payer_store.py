"""Queries about PINs, devices and pay codes. What counts tries is one conditional UPDATE each."""

from typing import Any

from sqlalchemy import and_, bindparam, case, delete, insert, or_, select, update

from thirdparty_server.model import CODE_TRIES, PIN_TRIES, Device, Reference
from thirdparty_server.tables import identities, payer_devices, payer_references
from tillmesh.runtime.database import require_one_row
from tillmesh.runtime.statements import Connection, Row

_DEVICE = (
    payer_devices.c.device_uri,
    payer_devices.c.identity_id,
    payer_devices.c.handle,
    payer_devices.c.key_id,
    payer_devices.c.code_locked_until_ms,
    payer_devices.c.created_at_ms,
)
_FIND_DEVICE = select(*_DEVICE).where(payer_devices.c.device_uri == bindparam("key"))
_FIND_HANDLE = select(*_DEVICE).where(payer_devices.c.handle == bindparam("key"))
_FIND_SESSION = select(payer_devices.c.identity_id).where(
    payer_devices.c.device_uri == bindparam("key"),
    payer_devices.c.token_hash == bindparam("hash"),
    payer_devices.c.token_expires_at_ms > bindparam("now_ms"),
)
_OF_IDENTITY = identities.c.identity_id == bindparam("key")
_COUNT_PIN_TRY = (
    update(identities)
    .where(_OF_IDENTITY, identities.c.pin_hash.is_not(None), identities.c.pin_failures < PIN_TRIES)
    .values(pin_failures=identities.c.pin_failures + 1)
)
_RESET_PIN_TRIES = (
    update(identities).where(_OF_IDENTITY, identities.c.pin_hash == bindparam("hash")).values(pin_failures=0)
)
# A day that is over is never counted anew: a clock that stepped back gives nobody more.
_NEW_DAY = identities.c.instant_day < bindparam("day")
_COUNT_INSTANT = (
    update(identities)
    .where(
        _OF_IDENTITY,
        or_(
            identities.c.instant_count_max.is_(None),
            and_(_NEW_DAY, identities.c.instant_count_max > 0),
            and_(~_NEW_DAY, identities.c.instant_count < identities.c.instant_count_max),
        ),
    )
    .values(
        instant_count=case((_NEW_DAY, 1), else_=identities.c.instant_count + 1),
        instant_day=case((_NEW_DAY, bindparam("day")), else_=identities.c.instant_day),
    )
)
_TAKE_STEP = (
    update(payer_devices)
    .where(
        payer_devices.c.handle == bindparam("key"),
        payer_devices.c.last_step < bindparam("step"),
        payer_devices.c.code_locked_until_ms <= bindparam("now_ms"),
    )
    .values(last_step=bindparam("step"), code_failures=0)
)
_LAST_TRY = payer_devices.c.code_failures >= CODE_TRIES - 1
_COUNT_CODE_FAILURE = (
    update(payer_devices)
    .where(payer_devices.c.handle == bindparam("key"), payer_devices.c.code_locked_until_ms <= bindparam("now_ms"))
    .values(
        code_failures=case((_LAST_TRY, 0), else_=payer_devices.c.code_failures + 1),
        code_locked_until_ms=case((_LAST_TRY, bindparam("until_ms")), else_=payer_devices.c.code_locked_until_ms),
    )
)
_INSERT_DEVICE = insert(payer_devices)
_INSERT_REFERENCE = insert(payer_references)
_FIND_REFERENCE = select(payer_references).where(payer_references.c.payer_reference == bindparam("key"))
_NO_SESSION: dict[str, None] = {"token_hash": None, "token_expires_at_ms": None}
_START_SESSION = update(payer_devices).where(
    payer_devices.c.device_uri == bindparam("key"), payer_devices.c.identity_id == bindparam("owner")
)
_END_SESSION = update(payer_devices).where(payer_devices.c.device_uri == bindparam("key")).values(_NO_SESSION)


def set_pin(connection: Connection, identity_id: str, pin_hash: str) -> None:
    """Sets a PIN that nobody has tried yet, and ends the identity's sessions."""
    connection.execute(update(payer_devices).where(payer_devices.c.identity_id == identity_id).values(_NO_SESSION))
    change = update(identities).where(identities.c.identity_id == identity_id)
    connection.execute(change.values(pin_hash=pin_hash, pin_failures=0))


def find_pin(connection: Connection, identity_id: str) -> tuple[str | None, int]:
    """The PIN's hash, if one is set, and how many tries in a row were wrong."""
    row = connection.execute(
        select(identities.c.pin_hash, identities.c.pin_failures).where(identities.c.identity_id == identity_id)
    ).one()
    return row["pin_hash"], row["pin_failures"]


def count_pin_try(connection: Connection, identity_id: str) -> bool:
    """Counts a try as wrong before it is known; False if there is none left, or no PIN."""
    return connection.execute(_COUNT_PIN_TRY, {"key": identity_id}).rowcount == 1


def reset_pin_tries(connection: Connection, identity_id: str, pin_hash: str) -> bool:
    """Forgets wrong tries; False if that is no longer the PIN."""
    return connection.execute(_RESET_PIN_TRIES, {"key": identity_id, "hash": pin_hash}).rowcount == 1


def count_instant_payment(connection: Connection, identity_id: str, day: int) -> bool:
    """Counts a payment without the payer's yes; False if the day (since 1970, UTC) has had all of them."""
    return connection.execute(_COUNT_INSTANT, {"key": identity_id, "day": day}).rowcount == 1


def find_device(connection: Connection, device_uri: str) -> Device | None:
    """The device with that certificate."""
    return _device(connection.execute(_FIND_DEVICE, {"key": device_uri}).one_or_none())


def find_device_of_handle(connection: Connection, handle: str) -> Device | None:
    """The device with that handle in its pay codes."""
    return _device(connection.execute(_FIND_HANDLE, {"key": handle}).one_or_none())


def insert_device(connection: Connection, device: Device) -> None:
    """Binds a device on which nobody is signed in."""
    values = {
        "device_uri": device.device_uri,
        "identity_id": device.identity_id,
        "created_at_ms": device.created_at_ms,
        **_fresh_key(device),
    }
    connection.execute(_INSERT_DEVICE, values)


def change_key(connection: Connection, device: Device) -> None:
    """Replaces the device's handle and key, none of whose codes was shown yet."""
    change = update(payer_devices).where(payer_devices.c.device_uri == device.device_uri)
    require_one_row(connection.execute(change.values(_fresh_key(device))))


def delete_device(connection: Connection, device_uri: str) -> None:
    """Unbinds a device, with its session."""
    connection.execute(delete(payer_devices).where(payer_devices.c.device_uri == device_uri))


def start_session(
    connection: Connection, device_uri: str, identity_id: str, token_hash: bytes, expires_at_ms: int
) -> bool:
    """Replaces the session of a device; False if it is no longer bound to that identity."""
    values = {
        "key": device_uri,
        "owner": identity_id,
        "token_hash": token_hash,
        "token_expires_at_ms": expires_at_ms,
    }
    return connection.execute(_START_SESSION, values).rowcount == 1


def end_session(connection: Connection, device_uri: str) -> None:
    """Ends the session of a device, if it has one."""
    connection.execute(_END_SESSION, {"key": device_uri})


def find_session(connection: Connection, device_uri: str, token_hash: bytes, now_ms: int) -> str | None:
    """The identity that is signed in on that device with that token."""
    values = {"key": device_uri, "hash": token_hash, "now_ms": now_ms}
    row = connection.execute(_FIND_SESSION, values).one_or_none()
    return None if row is None else row["identity_id"]


def take_step(connection: Connection, handle: str, step: int, now_ms: int) -> bool:
    """Accepts the code of a step; False if that or a later one was accepted before, or the device is locked."""
    return connection.execute(_TAKE_STEP, {"key": handle, "step": step, "now_ms": now_ms}).rowcount == 1


def count_code_failure(connection: Connection, handle: str, now_ms: int, locked_until_ms: int) -> None:
    """Counts a wrong code of a known device that is not locked; the last one that may be wrong locks it."""
    connection.execute(_COUNT_CODE_FAILURE, {"key": handle, "now_ms": now_ms, "until_ms": locked_until_ms})


def find_reference(connection: Connection, payer_reference: str) -> Reference | None:
    """Whom a reference stands for."""
    row = connection.execute(_FIND_REFERENCE, {"key": payer_reference}).one_or_none()
    return None if row is None else Reference(**row)


def insert_reference(connection: Connection, reference: Reference) -> None:
    """Remembers for ever whom a reference stands for."""
    values = {
        "payer_reference": reference.payer_reference,
        "identity_id": reference.identity_id,
        "store_id": reference.store_id,
        "order_id": reference.order_id,
        "created_at_ms": reference.created_at_ms,
    }
    connection.execute(_INSERT_REFERENCE, values)


def _fresh_key(device: Device) -> dict[str, Any]:
    return {
        "handle": device.handle,
        "key_id": device.key_id,
        "last_step": 0,
        "code_failures": 0,
        "code_locked_until_ms": 0,
    }


def _device(row: Row | None) -> Device | None:
    return None if row is None else Device(**row)
