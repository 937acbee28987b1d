"""gRPC's server, with limits for connections, and guarded against frames that would end it."""

import grpc
import structlog
from grpc import aio

GRPCIO = "1.85.1"
"""The version that `guarded_server` is made for, out of private parts. In pyproject.toml as well."""
METADATA_BYTES_MAX = 8 * 1024
STREAMS_A_CONNECTION = 256
log = structlog.get_logger()


def open_server(message_bytes_max: int, connections_max: int, handshake_s: float, unguarded: bool) -> aio.Server:
    """A server whose connections end when they are silent, old, or not HTTP/2 over TLS soon enough.

    Raises RuntimeError if it cannot be guarded with this grpcio, and is not to go `unguarded`.
    """
    options = [
        ("grpc.so_reuseport", 0),  # or a process that has not quite died shares the port
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a few bytes would unpack to hundreds of megabytes
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.max_allowed_incoming_connections", connections_max),
        ("grpc.max_concurrent_streams", STREAMS_A_CONNECTION),
        ("grpc.server_handshake_timeout_ms", int(handshake_s * 1_000)),
        # A client whose cable was pulled, or that hangs, is gone after 40 s. Its own pings are welcome every 10 s.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.max_connection_idle_ms", 300_000),
        ("grpc.max_connection_age_ms", 600_000),  # whose certificate has ended comes back with a new one, or not
        ("grpc.max_connection_age_grace_ms", 600_000),  # longer than a stream lasts, which then ends by itself
    ]
    if unguarded:
        log.warning("unguarded_transport", grpcio=grpc.__version__, guarded_with=GRPCIO)
        return aio.server(options=options)
    if grpc.__version__ != GRPCIO:
        raise RuntimeError(
            f"grpcio {grpc.__version__} is installed, but the guard of connections is made for {GRPCIO}: "
            f"install grpcio=={GRPCIO}, or go without the guard, --unguarded-transport"
        )
    from tillmesh.rpc.guarded_server import guarded_server  # another grpcio may not have what it imports

    return guarded_server(options)
