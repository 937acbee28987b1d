"""Why a server cannot be reached, from what gRPC says of a connection that failed."""

from datetime import UTC, datetime

from cryptography import x509

from tillmesh.auth.tls import TlsFiles

_NO_TLS = "WRONG_VERSION_NUMBER"
_OTHER_NAME = "Hostname Verification"
_NO_HOST = "errors resolving"
_HANDSHAKE = ("Tls handshake failed", "CERTIFICATE_VERIFY_FAILED", "certificate verify failed")
_CLOSED = ("Socket closed", "Connection reset")


def why_unreachable(told: str, tls: TlsFiles | None, started_by: str) -> str:
    """One or two sentences: the cause, as far as gRPC knows it, and what to do."""
    if _NO_HOST in told:
        return "That name is not known. Check the address."
    if tls is None:
        if any(sign in told for sign in _CLOSED):
            return "It closed the connection: it probably wants TLS. Name the folder of your certificates."
        return _is_it_running(started_by)
    if end := _ended(tls):
        return f"The certificate in {tls.folder} ended at {end:%Y-%m-%d %H:%M} UTC. Make a new one."
    if _NO_TLS in told:
        return "It speaks without TLS. Check the address, or go without certificates."
    if _OTHER_NAME in told:
        return f"Another server of mesh {tls.mesh} answers there, or one of another mesh. Check the address."
    if any(sign in told for sign in _HANDSHAKE):
        return f"Its certificate is not one of the CA in {tls.folder}: another mesh runs there, or it ended."
    if any(sign in told for sign in _CLOSED):
        return f"It closed the connection. If it goes on: it does not accept the certificate in {tls.folder}."
    return _is_it_running(started_by)


def _is_it_running(started_by: str) -> str:
    return f"Is the mesh running? Start it with: {started_by}."


def _ended(tls: TlsFiles) -> datetime | None:
    """When one's own certificate ended; None while it is good, or cannot be read."""
    try:
        end = x509.load_pem_x509_certificate(tls.read()[1]).not_valid_after_utc
    except (OSError, ValueError):
        return None
    return end if end <= datetime.now(UTC) else None
