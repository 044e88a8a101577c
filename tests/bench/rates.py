"""What the rows of rates share: a load or a drain with the server's own CPU time per call or item."""

from __future__ import annotations

import base64
from typing import Any

from tests.bench import procs
from tests.bench.harness import Env, Goal, Sample
from tests.bench.procs import Driver

IN_FLIGHT = 50
CALLS = "calls_per_s"
ITEMS = "items_per_s"
BARE_WORDS = "grpc.aio on uvloop, one process, bytes in and out"
LOAD_WORDS = f"one grpc.aio client process on uvloop, {IN_FLIGHT} calls in flight, bytes in and out"
DRAIN_WORDS = "one Python client process, sync stream, every page parsed, items counted"


def seconds(env: Env) -> float:
    """How long one round of a load or drain lasts."""
    return 0.3 if env.quick else 3.0


def load(driver: Driver, pid: int, address: str, method: str, **values: Any) -> Sample:
    """One round of the driver `load` against the server `pid`."""
    before = procs.cpu_seconds(pid)
    done = driver.call("run", address=address, method=method, in_flight=IN_FLIGHT, **values)
    cpu = (procs.cpu_seconds(pid) - before) / done["calls"] * 1e6
    return {key: done[key] for key in (CALLS, "p50_ms", "p99_ms")} | {"server_cpu_us": cpu}


def drain(driver: Driver, pid: int, address: str, method: str, request: bytes, **values: Any) -> Sample:
    """One round of the driver `drain` against the server `pid`."""
    before = procs.cpu_seconds(pid)
    body = base64.b64encode(request).decode()
    done = driver.call("run", address=address, method=method, request=body, **values)
    cpu = (procs.cpu_seconds(pid) - before) / done["items"] * 1e6
    return {key: done[key] for key in (ITEMS, "mb_per_s")} | {"server_cpu_us": cpu}


def bodies(*requests: bytes) -> list[str]:
    """Serialized requests as the driver `load` takes them."""
    return [base64.b64encode(request).decode() for request in requests]


def at_least(metric: str, ours: str, bound: float, baseline: str) -> Goal:
    """A ratio of two arms' rates."""
    return Goal(f"{ours}.{metric}", ">=", bound, (f"{baseline}.{metric}",))
