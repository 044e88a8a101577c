"""Which settings does gRPC get? The one table; each line says what happens without it (measured on grpcio 1.85)."""

from __future__ import annotations

from batchyard_server.model import limits

# The core refuses larger messages with a bare RESOURCE_EXHAUSTED. Between limits.REQUEST and this the server itself
# answers INVALID_ARGUMENT with details, so whoever is a little over learns what the bound is.
RECEIVE_BYTES = 2 * limits.REQUEST.maximum

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", RECEIVE_BYTES),
    # Default clients accept 4 MiB; an answer beyond it is our fault and must show here, not at the caller.
    ("grpc.max_send_message_length", limits.REQUEST.maximum),
    # Without these a burst of waiters is answered with bare CANCELLED (10,000 at once: 5,820 of them).
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 30_000),
    # Without it a second server silently shares the port.
    ("grpc.so_reuseport", 0),
    # Without it a rapid-reset flood triples the memory.
    ("grpc.max_concurrent_streams", 1000),
    # Names the sizes; the defaults (8 KiB soft, 16 KiB hard) refuse at random in between.
    ("grpc.max_metadata_size", 16 * limits.KIB),
    ("grpc.absolute_max_metadata_size", 32 * limits.KIB),
    # Finds clients that vanished without closing (an open AppendRecords holds its task); allows pings every 10 s.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 5),
    # Half-open handshakes and connections that never finish a request.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 3_600_000),
)
