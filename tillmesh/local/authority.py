"""A private certificate authority, enough for one machine or a pilot.

Each certificate has exactly one URI, which says who its owner is, and lives shortly. A server's
also has the DNS name ROLE.MESH, by which it is recognised wherever it listens.
"""

import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tillmesh.auth.callers import MESH, Role, parse_uri
from tillmesh.client.failures import Failure
from tillmesh.runtime.foreign_text import named

CA_LIFETIME = timedelta(days=3650)
LIFETIME = timedelta(days=1)
CLOCK_SKEW = timedelta(minutes=5)
SERVING = (Role.ORDERS, Role.PAYMENTS, Role.TERMINAL)
SECRET_BYTES = 32
OF_A_CA = " private CA"
"""The end of a CA's name, after the mesh."""


class Authority:
    """The CA in a folder: `ca.pem`, `ca.key`, a folder for each certificate, and `denied`.

    With them the payment server's `payments.secret`: who starts a mesh needs one as well.
    """

    def __init__(self, folder: Path, mesh: str = MESH) -> None:
        self.folder = folder
        self.mesh = mesh
        self.denied = folder / "denied"
        self.secret = folder / "payments.secret"

    def create(self) -> None:
        """Makes key and certificate of the CA and the payment server's secret, unless they are there.

        Refuses the CA of another mesh: a sandbox and a mesh with real money never share data or certificates.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.secret.exists():  # another one would make every PIN wrong
            _write(self.secret, secrets.token_bytes(SECRET_BYTES), secret=True)
        if (self.folder / "ca.key").exists():
            self._require_own()
            return
        key = ec.generate_private_key(ec.SECP256R1())
        name = self._name()
        usage = x509.KeyUsage(
            digital_signature=False,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(name, name, key.public_key(), CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        # The key last: it says that the CA is complete.
        _write(self.folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM))
        _write(self.folder / "ca.key", _key_pem(key), secret=True)

    def issue(self, role: Role, *names: str, lifetime: timedelta = LIFETIME) -> Path:
        """Makes a certificate for spiffe://MESH/ROLE/NAMES and returns its folder; replaces an older one."""
        uri = f"spiffe://{self.mesh}/{role}/{'/'.join(names)}"
        try:
            parse_uri(uri, self.mesh)
        except ValueError as error:
            raise Failure(str(error)) from None
        self._require_own()
        issuer_key, issuer = self._load()
        key = ec.generate_private_key(ec.SECP256R1())
        others: list[x509.GeneralName] = [x509.DNSName(f"{role}.{self.mesh}")] if role in SERVING else []
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if role in SERVING else [])]
        certificate = (
            _builder(x509.Name([]), issuer.subject, key.public_key(), lifetime)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), *others]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        folder = self.folder_of(role, *names)
        folder.mkdir(exist_ok=True, mode=0o700)
        # The key last: who reads between finds an old pair or notices the new one at the next look.
        # All are written before the first is replaced: a full disk leaves the old pair, not half of each.
        fresh = [
            _write_beside(folder / "ca.pem", issuer.public_bytes(serialization.Encoding.PEM)),
            _write_beside(folder / "cert.pem", certificate.public_bytes(serialization.Encoding.PEM)),
            _write_beside(folder / "key.pem", _key_pem(key), secret=True),
        ]
        for written, path in fresh:
            written.replace(path)
        return folder

    def folder_of(self, role: Role, *names: str) -> Path:
        """Where a certificate is kept."""
        return self.folder / f"{role}-{'+'.join(names)}"  # no name has a plus, so no two share a folder

    def deny(self, uri: str) -> None:
        """Revokes whatever certificate has that URI: servers refuse it from its next call on."""
        try:
            parse_uri(uri, self.mesh)
        except ValueError as error:
            raise Failure(str(error)) from None
        known = self.denied.read_text().splitlines() if self.denied.exists() else []
        _write(self.denied, "".join(f"{line}\n" for line in (*known, uri)).encode())

    def _name(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{self.mesh}{OF_A_CA}")])

    def _require_own(self) -> None:
        _key, issuer = self._load()
        name = issuer.subject.rfc4514_string().removeprefix("CN=")
        held = name.removesuffix(OF_A_CA)
        if held not in (name, self.mesh):  # a CA from elsewhere has a name of its own, and signs for any mesh
            raise Failure(
                f"{named(self.folder)} has the CA of mesh {named(held)}, and not of mesh {self.mesh}. "
                f"Take another folder, or name the mesh: --mesh {named(held)}"
            )

    def _load(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        try:
            key = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), password=None)
            certificate = x509.load_pem_x509_certificate((self.folder / "ca.pem").read_bytes())
        except (OSError, ValueError) as error:
            where = named(self.folder)
            raise Failure(f"There is no usable CA in {where}: {error}. Make one: tillmesh cert init") from None
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key, certificate


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Replaces a file at once, so that nobody ever reads half of it."""
    written, path = _write_beside(path, content, secret=secret)
    written.replace(path)


def _write_beside(path: Path, content: bytes, *, secret: bool = False) -> tuple[Path, Path]:
    """Writes what is to replace a file; returns where, and the file."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if secret else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return fresh, path
