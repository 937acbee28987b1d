"""Keys and hashes made from the master secret. It has its own file: the database alone reveals no PIN and no key."""

import asyncio
import hashlib
import hmac
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from thirdparty_server.errors import Reason
from thirdparty_server.payers.model import PinTry
from tillmesh.runtime.secret import Secret

Result = TypeVar("Result")
MASTER_BYTES_MIN = 32
# What OWASP asks of argon2id at the least, about 40 ms; the library's default takes seven times as long.
_ARGON2 = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# However many PINs come at once, a core of two or more is left for everything else.
HASHES_MAX = max(1, (os.cpu_count() or 1) - 1)
_THREADS = ThreadPoolExecutor(max_workers=HASHES_MAX, thread_name_prefix="pin")


@dataclass(frozen=True)
class Vault:
    """Hashes PINs and derives keys."""

    master: Secret | None

    @staticmethod
    def open(path: Path) -> "Vault":
        """Reads the master secret; OSError or ValueError say what is wrong with the file."""
        mode = path.stat().st_mode
        if mode & 0o007:
            raise ValueError(f"everybody can read the secret file {path}; let its owner alone: chmod 600 {path}")
        master = path.read_bytes()
        if len(master) < MASTER_BYTES_MIN:
            raise ValueError(f"the secret file {path} needs {MASTER_BYTES_MIN} random bytes, it has {len(master)}")
        return Vault(Secret(master))

    def require(self) -> Secret:
        """The master secret, or SECRET_MISSING."""
        if self.master is None:
            raise Reason.SECRET_MISSING()
        return self.master

    async def hash_pin(self, identity_id: str, pin: Secret) -> str:
        """The stored form of a PIN."""
        return await _hashing(_ARGON2.hash, self._peppered(identity_id, pin))

    async def checked(self, pin_try: PinTry, pin: Secret) -> PinTry:
        """The try with its outcome. Takes its time, in a thread: never within a transaction."""
        right = await _hashing(_is_right, pin_try.pin_hash, self._peppered(pin_try.identity_id, pin))
        return replace(pin_try, right=right)

    def pay_code_key(self, handle: str, key_id: str) -> Secret:
        """The key that a phone makes its pay codes with; kept nowhere."""
        return self._derived("pay-code", handle, key_id)

    def _peppered(self, identity_id: str, pin: Secret) -> bytes:
        return self._derived("pin", identity_id, pin.value.decode()).value

    def _derived(self, *parts: str) -> Secret:
        return Secret(hmac.digest(self.require().value, "\0".join(parts).encode(), "sha256"))


async def _hashing(work: Callable[..., Result], *arguments: object) -> Result:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work, *arguments)


def token_hash(token: Secret) -> bytes:
    """The stored form of a session's token. It is random enough for a plain hash."""
    return hashlib.sha256(token.value).digest()


def _is_right(pin_hash: str, peppered: bytes) -> bool:
    try:
        return _ARGON2.verify(pin_hash, peppered)
    except VerifyMismatchError:
        return False
