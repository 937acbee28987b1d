"""The data a phone keeps: its owner, the key of its pay codes, and its session."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tillmesh import paycode
from tillmesh.client.failures import Failure
from tillmesh.runtime.foreign_text import named
from tillmesh.runtime.secret import Secret


@dataclass(frozen=True)
class Phone:
    """One phone."""

    phone_id: str
    identity_id: str
    handle: str
    key: Secret
    token: Secret | None = None
    """Of its session; None while nobody is signed in."""

    def code(self, now_ms: int) -> Secret:
        """The pay code of the moment; nobody has to be asked for it."""
        return paycode.make(self.handle, self.key, paycode.step_at(now_ms))


def seconds_left(now_ms: int) -> int:
    """For how long the code of the moment is good: the payment server accepts it for one step longer."""
    return ((paycode.step_at(now_ms) + 2) * paycode.STEP_MS - now_ms) // 1000


class SavedPhones:
    """A folder of phones, a file for each that only its owner can read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, phone: Phone) -> Path:
        """Writes a phone down; a file is there as a whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = {
            "phone_id": phone.phone_id,
            "identity_id": phone.identity_id,
            "handle": phone.handle,
            "key": phone.key.value.hex(),
            "token": phone.token.value.decode() if phone.token else "",
        }
        path = self._path(phone.phone_id)
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=2)
        return fresh.replace(path)

    def take(self, phone_id: str = "") -> Phone:
        """That phone; without a name the only one there is."""
        path = self._path(phone_id) if phone_id else self._only_one()
        try:
            content = json.loads(path.read_text())
            token = content["token"]
            return Phone(
                content["phone_id"],
                content["identity_id"],
                content["handle"],
                Secret(bytes.fromhex(content["key"])),
                Secret(token.encode()) if token else None,
            )
        except FileNotFoundError:
            raise Failure(f"There is no phone {named(phone_id)}; make one: tillmesh phone enroll IDENTITY") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failure(f"The phone in {named(path)} cannot be used ({error!r}); enroll it again.") from None

    def _only_one(self) -> Path:
        found = sorted(self._folder.glob("*.json"))
        if not found:
            raise Failure("There is no phone yet; make one: tillmesh phone enroll IDENTITY")
        if len(found) > 1:
            raise Failure(f"Which phone? Say --phone with one of: {', '.join(path.stem for path in found)}")
        return found[0]

    def _path(self, phone_id: str) -> Path:
        return self._folder / f"{phone_id}.json"
