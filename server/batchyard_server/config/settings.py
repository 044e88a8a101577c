"""How does this server run? One frozen value, made from flags and environment."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from batchyard_server.model.handler import HandlerSpec

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class ConfigError(Exception):
    """The operator asked for something that cannot be; the text is one line for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen. Port 0 = any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that app.py needs.

    Attributes:
        handlers: by id, the built-in ones included.
        workers: worker processes, at least 1.
        drain_timeout_seconds: what in-flight records get at SIGTERM before they are killed.
        max_worker_lost: how often the worker may die under a record before that record FAILED.
        max_task_lifetime_seconds: what a task may take from its creation to its end, more than 0.
        isolation: level by which processes are killed (`model.handler.Isolation`, lower-case); "" = the strongest here.
        module_path: folders of the PYTHONPATH given to the server, for workers only.
        failpoints: for tests, see model.failpoints.
    """

    data: Path
    listen: Address
    handlers: dict[str, HandlerSpec]
    workers: int
    drain_timeout_seconds: float = 30.0
    max_worker_lost: int = 2
    max_task_lifetime_seconds: float = 180 * 86_400.0
    isolation: str = ""
    module_path: tuple[str, ...] = ()
    failpoints: str = ""


def parse_address(text: str) -> Address:
    """Parse `HOST:PORT` or `[IPV6]:PORT`. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"{text!r}: an IPv6 address is written [ADDRESS]:PORT")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"{text!r} is not HOST:PORT")
    return Address(host=host, port=int(port))


def parse_duration(text: str) -> float:
    """Seconds in `500ms`, `1.5s`, `2m`, `1h`, `180d`. Raises ConfigError."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is not a duration such as 500ms, 30s, 2m, 1h or 7d")
    return float(found[1]) * _UNITS[found[2]]


def check_exposure(address: Address, *, insecure: bool) -> None:
    """Refuse to be reachable from other machines unasked. Raises ConfigError."""
    if not address.is_loopback and not insecure:
        raise ConfigError(
            f"refusing to listen on {address}: callers are not identified yet, so anybody who reaches it may run every "
            "handler; use a loopback address, or --insecure if that is what you want"
        )
