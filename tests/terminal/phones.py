"""Shoppers with a phone that shows pay codes, and a PIN."""

import time
from dataclasses import dataclass

from tests.processes import DEADLINE_S
from tests.terminal.shoppers import INSTANT
from tests.terminal.till import Behind
from tests.trust.secrets import PIN, keep, keep_bytes
from tillmesh import paycode
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import phone_service_pb2 as phones_api
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret


@dataclass(frozen=True)
class Phone:
    """A payer's own phone."""

    identity_id: str
    handle: str
    key: Secret

    def code(self) -> str:
        """What it shows now; good for one payment."""
        step = paycode.step_at(time.time_ns() // 1_000_000)
        return keep(paycode.make(self.handle, self.key, step).value.decode())


def shopper_with_phone(behind: Behind, *, funds: int = 1000, threshold: int = INSTANT) -> Phone:
    """A new identity with money and the PIN of all tests, and its phone."""
    identity_id = behind.shopper(funds=funds, threshold=threshold)
    set_pin = identities_api.SetPinRequest(request_id=new_request_id(), identity_id=identity_id, pin=PIN)
    behind.identities.SetPin(set_pin, timeout=DEADLINE_S)
    bind = phones_api.BindPhoneRequest(request_id=new_request_id(), identity_id=identity_id, phone_id=new_request_id())
    key = behind.phones.BindPhone(bind, timeout=DEADLINE_S).pay_code_key
    return Phone(identity_id, key.handle, keep_bytes(key.key))
