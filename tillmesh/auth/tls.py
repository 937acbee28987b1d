"""Mutual TLS from three files that are read again when they change, without a restart.

A directory holds `ca.pem` (who is trusted), `cert.pem` and `key.pem` (who one is). A server is
recognised by the DNS name ROLE.MESH in its certificate, wherever it listens; a caller by its URI.
"""

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog
from cryptography import x509
from grpc import aio

from tillmesh.auth.callers import Role

Option = tuple[str, str | int]
CLOSE_GRACE_S = 30.0
LOOK_INTERVAL_S = 1.0  # how soon a channel takes over new files
NAMES = ("ca.pem", "cert.pem", "key.pem")

log = structlog.get_logger()


@dataclass(frozen=True)
class TlsFiles:
    """One's own certificate and those whom one trusts."""

    folder: Path
    mesh: str

    def read(self) -> tuple[bytes, bytes, bytes]:
        """Trusted certificates, own certificate, own key; OSError says which of them is of no use."""
        self.stamp()  # OpenSSL does not say which file is not there
        ca, cert, key = (self.folder / name for name in NAMES)
        try:
            trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            trial.load_verify_locations(ca)
            trial.load_cert_chain(cert, key, password="")  # or OpenSSL would ask the terminal for one
        except ssl.SSLError as error:
            raise OSError(f"{self.folder}: ca.pem, or cert.pem with key.pem, is of no use: {error}") from None
        return ca.read_bytes(), cert.read_bytes(), key.read_bytes()

    def own_uri(self) -> str:
        """The first URI in one's own certificate; OSError where there is none."""
        certificate = x509.load_pem_x509_certificate(self.read()[1])
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            return names.get_values_for_type(x509.UniformResourceIdentifier)[0]
        except (x509.ExtensionNotFound, IndexError):
            raise OSError(f"{self.folder}: cert.pem names nobody: it has no URI") from None

    @staticmethod
    def of(folder: Path) -> "TlsFiles":
        """The files in a folder, in the mesh that the certificate is of; OSError where it names none."""
        uri = TlsFiles(folder, "").own_uri()
        return TlsFiles(folder, uri.removeprefix("spiffe://").partition("/")[0])

    def stamp(self) -> tuple[int, ...]:
        """Changes when the files do."""
        return tuple(os.stat(f"{self.folder}/{name}").st_mtime_ns for name in NAMES)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Credentials of a server that lets nobody in without a certificate of its CA."""
        served = self.stamp()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal served
            try:
                stamp = self.stamp()
                if stamp == served:
                    return None
                fresh = self._configuration()
            except OSError as error:  # half written or gone: the old ones go on until they are whole
                log.error("certificates_not_read", error=str(error))
                return None
            served = stamp
            return fresh

        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            fetch,  # type: ignore[arg-type]  # None means: as before
            require_client_authentication=True,
        )

    def open_blocking_channel(self, address: str, role: Role, options: Sequence[Option] = ()) -> grpc.Channel:
        """The same for a client without an event loop."""
        ca, cert, key = self.read()
        credentials = grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)
        return grpc.secure_channel(address, credentials, options=[*options, self._server_name(role)])

    def open_channel(self, address: str, role: Role, options: Sequence[Option]) -> aio.Channel:
        """A channel to whoever has a certificate for that role."""
        ca, cert, key = self.read()
        credentials = grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)
        return aio.secure_channel(address, credentials, options=[*options, self._server_name(role)])

    def _server_name(self, role: Role) -> Option:
        return "grpc.ssl_target_name_override", f"{role}.{self.mesh}"

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        ca, cert, key = self.read()
        return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=ca)


class RenewedChannel:
    """A channel that is opened anew when the certificate files change: gRPC reads them once a channel."""

    def __init__(self, files: TlsFiles, open_channel: Callable[[], aio.Channel]) -> None:
        self._files = files
        self._open = open_channel
        self._stamp = files.stamp()
        self._next_look = 0.0
        self._channel = open_channel()
        self._methods: dict[str, Any] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """A callable that makes calls of `method` on the channel of the moment."""
        return self._callable(method, lambda channel: channel.unary_unary(method, *arguments, **options))

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """The same for a method with many answers. A stream ends some time after its channel was renewed."""
        return self._callable(method, lambda channel: channel.unary_stream(method, *arguments, **options))

    def _callable(self, method: str, make: Callable[[aio.Channel], Any]) -> Callable[..., Any]:
        def call(request: Any, **details: Any) -> Any:
            self._renew()
            made = self._methods.get(method)
            if made is None:
                made = self._methods[method] = make(self._channel)
            return made(request, **details)

        return call

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    def _renew(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_INTERVAL_S
        try:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return
            fresh = self._open()
        except OSError as error:  # half written or gone: the old ones go on until they are whole
            log.error("certificates_not_read", error=str(error))
            return
        old, self._stamp = self._channel, stamp
        self._channel, self._methods = fresh, {}
        task = asyncio.get_running_loop().create_task(old.close(CLOSE_GRACE_S))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
