"""Shoppers with a phone that shows pay codes, and a PIN."""

import time
from dataclasses import dataclass

from tests.terminal.till import DEADLINE_S, Behind
from tests.trust.secrets import PIN, keep, keep_bytes
from tillmesh import paycode
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret


@dataclass(frozen=True)
class Phone:
    """A payer's own terminal."""

    identity_id: str
    handle: str
    key: Secret

    def code(self) -> str:
        """What it shows now; good for one payment."""
        step = paycode.step_at(time.time_ns() // 1_000_000)
        return keep(paycode.make(self.handle, self.key, step).value.decode())


def shopper_with_phone(behind: Behind, *, funds: int = 1000, instant_limit: int | None = None) -> Phone:
    """A new identity with money and the PIN of all tests, and its phone."""
    identity_id = behind.shopper(funds=funds, instant_limit=instant_limit)
    set_pin = identities_api.SetPinRequest(request_id=new_request_id(), identity_id=identity_id, pin=PIN)
    behind.identities.SetPin(set_pin, timeout=DEADLINE_S)
    bind = identities_api.BindDeviceRequest(
        request_id=new_request_id(), identity_id=identity_id, device_id=new_request_id()
    )
    key = behind.identities.BindDevice(bind, timeout=DEADLINE_S).pay_code_key
    return Phone(identity_id, key.handle, keep_bytes(key.key))
