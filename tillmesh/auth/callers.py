"""The caller of an RPC: a role and a name from the one URI in its certificate."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from cryptography import x509

from tillmesh.runtime.deadlines import set_deadline
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.ids import IDENTIFIER


class Role(StrEnum):
    """The roles of certificates: spiffe://MESH/ROLE/NAME, in a store spiffe://MESH/ROLE/STORE/NAME."""

    ORDERS = "orders"
    PAYMENTS = "payments"
    TERMINAL = "terminal"
    """The server in a store, which speaks for its store."""
    DEVICE = "device"
    """Hardware and software of a store that uses the store's terminal."""
    PLATFORM = "platform"
    """The online platform and its internal services."""
    PHONE = "phone"
    """A payer's own. Whose it is, is known only once it is signed in."""


MESH = "tillmesh"
"""The name of a mesh that nobody named."""
SANDBOX = "sandbox"
"""The name of every sandbox, and of no other mesh."""

STORE_ROLES = (Role.TERMINAL, Role.DEVICE)
_NAME = IDENTIFIER.pattern
_URI = re.compile(rf"spiffe://({_NAME})/([a-z]+)/({_NAME})(?:/({_NAME}))?")


@dataclass(frozen=True, slots=True)
class Caller:
    """The other end of a connection."""

    uri: str
    role: Role
    store_id: str | None
    """The one store that it may act for; None for those who act for all."""
    identity_id: str | None = None
    """The one identity that a phone acts for; None until it is signed in."""


caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""The caller of the RPC in progress. None in a server without certificates."""

_acting_server: ContextVar[str] = ContextVar("acting_server", default="")


def parse_uri(uri: str, mesh: str) -> Caller:
    """The caller that a URI names; ValueError says why it names none."""
    match = _URI.fullmatch(uri)
    if match is None or match.group(1) != mesh or match.group(2) not in list(Role):
        roles = ", ".join(Role)
        raise ValueError(f"{uri[:200]!r} is not spiffe://{mesh}/ROLE/NAME with a ROLE of {roles}")
    role, has_store = Role(match.group(2)), match.group(4) is not None
    if has_store != (role in STORE_ROLES):
        form = "STORE/NAME" if role in STORE_ROLES else "NAME"
        raise ValueError(f"{uri[:200]!r} must end in {role}/{form}")
    return Caller(uri, role, match.group(3) if has_store else None)


class DenyList:
    """URIs whose certificates no longer count: a file of one a line, read again when it changes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._uris: frozenset[str] = frozenset()

    def __contains__(self, uri: str) -> bool:
        self._refresh()
        return uri in self._uris

    def _refresh(self) -> None:
        if self._path is None:
            return
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._uris = None, frozenset()
            return
        stamp = (found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            lines = self._path.read_text().splitlines()
            self._stamp, self._uris = stamp, frozenset(line.strip() for line in lines if line.strip())


@dataclass(frozen=True)
class Gate:
    """Decides who gets in, before anything of the request is looked at."""

    mesh: str
    denied: DenyList
    store_id: str | None = None
    """The store that this server belongs to, if it belongs to one."""
    now_s: Callable[[], float] = time.time

    def admit(self, auth_context: Mapping[str, Iterable[bytes]], method: str, allowed: frozenset[Role]) -> None:
        """Sets who calls, also for the log of a refusal; raises UNAUTHENTICATED or PERMISSION_DENIED."""
        uris = [uri.decode(errors="replace") for uri in auth_context.get("peer_uri", ())]
        if len(uris) != 1:
            raise CommonReason.UNAUTHENTICATED(why=f"its certificate has {len(uris)} URIs instead of one")
        try:
            found = parse_uri(uris[0], self.mesh)
        except ValueError as error:
            raise CommonReason.UNAUTHENTICATED(why=str(error)) from None
        for certificate in auth_context.get("x509_pem_cert", ()):  # its connection may be older than its end
            if self.now_s() >= expires_at_s(certificate):
                raise CommonReason.UNAUTHENTICATED(why="it has expired")
        if found.uri in self.denied:
            raise CommonReason.UNAUTHENTICATED(why=f"{found.uri} is revoked")
        caller.set(found)
        if found.role not in allowed:
            raise CommonReason.ROLE_DENIED(role=found.role, method=method)
        if self.store_id and found.store_id not in (None, self.store_id):
            raise CommonReason.STORE_DENIED(store_id=found.store_id)


@lru_cache(maxsize=4_096)
def expires_at_s(certificate: bytes) -> float:
    """The end of a certificate in PEM, in seconds since 1970."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()


def require_store(store_id: str | None) -> None:
    """Raises STORE_DENIED if the caller acts for another store than that of the record.

    None is the store of a record that does not exist: it is refused alike, so that nobody learns
    from a refusal what other stores have (AIP-211).
    """
    own = acting_store()
    if own not in (None, store_id):
        raise CommonReason.STORE_DENIED(store_id=own)


def acting_store() -> str | None:
    """The one store that the caller acts for; None for those who act for all."""
    acting = caller.get()
    return acting.store_id if acting else None


def require_payer(identity_id: str | None) -> None:
    """Raises PAYER_DENIED if the caller is a payer and not the one of the record; None as for `require_store`."""
    acting = caller.get()
    if acting and acting.role is Role.PHONE and (identity_id is None or identity_id != acting.identity_id):
        raise CommonReason.PAYER_DENIED(identity_id=acting.identity_id)


def acting_payer() -> str | None:
    """The one identity that the caller acts for; None for those who are no payers."""
    acting = caller.get()
    return acting.identity_id if acting else None


def acting_phone() -> Caller:
    """The phone that calls; UNAUTHENTICATED in a server without certificates, on which nobody can sign in."""
    phone = caller.get()
    if phone is None or phone.role is not Role.PHONE:
        raise CommonReason.UNAUTHENTICATED(why="this server asks for no certificates, so no payer can sign in")
    return phone


def acting_role() -> Role | None:
    """The caller's role. None in a server without certificates."""
    acting = caller.get()
    return acting.role if acting else None


def act_as(server: str) -> None:
    """From here on this task acts for nobody but the server itself, and has no deadline."""
    set_deadline(None)
    caller.set(None)
    _acting_server.set(server)


def actor() -> str:
    """The actor of the present operation: the caller's URI, or the server's own URI in its own tasks.

    Empty in a server without certificates, which knows nobody.
    """
    acting = caller.get()
    return acting.uri if acting else _acting_server.get()


def shown_actor(uri: str) -> str:
    """An actor as the caller may see it: a store learns nothing of a payer's phone."""
    acting = caller.get()
    is_phone = uri.split("/")[3:4] == [Role.PHONE]
    return "payer" if acting and acting.store_id and is_phone else uri


def principal() -> str:
    """Whom a request id belongs to.

    To the store, where a terminal with its journal may get a new name; to the payer, whose phone may be another.
    """
    acting = caller.get()
    if acting is None:
        return ""
    if acting.role is Role.PHONE:
        return f"{acting.role}/{acting.identity_id}"
    return f"{acting.role}/{acting.store_id}" if acting.role is Role.TERMINAL else acting.uri
