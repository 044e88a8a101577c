"""Options of the channel: sizes, reconnecting, and the service configuration that all clients share."""

from __future__ import annotations

from importlib import metadata, resources
from typing import Any, Final

DEFAULT_TARGET: Final = "127.0.0.1:50151"
SERVICE_CONFIG: Final = "batchyard_v1_grpc_service_config.json"
# Pages stop at 3.5 MiB, but never before one record: 1 MiB of input, 1 MiB of output and what surrounds them.
_RECEIVE_BYTES: Final = 16 * 1024 * 1024


def service_config() -> str:
    """Return the service configuration that is shipped beside the stubs: a deadline per try of each method."""
    return (resources.files("batchyard.v1") / SERVICE_CONFIG).read_text("utf-8")


def version() -> str:
    """Return the version of the installed distribution, `0` if there is none (a checkout on the path)."""
    try:
        return metadata.version("batchyard")
    except metadata.PackageNotFoundError:
        return "0"


def with_defaults(extra: Any) -> list[tuple[str, Any]]:
    """Return our channel arguments, overridden by `extra`."""
    options: dict[str, Any] = {
        "grpc.primary_user_agent": f"batchyard-python/{version()}",
        "grpc.service_config": service_config(),
        # Calls are repeated by `_retry`, which honours RetryInfo and knows how long the caller is willing to wait; the
        # transport's own repetition would only hide the cause of a failure behind DEADLINE_EXCEEDED.
        "grpc.enable_retries": 0,
        "grpc.max_receive_message_length": _RECEIVE_BYTES,
        # A server that restarts is back within a second; the stock channel would look again after 1, 1.6, … 120 s.
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 2000,
    }
    options.update(extra)
    return list(options.items())
