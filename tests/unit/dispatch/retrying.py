"""What tests of retries do: let records fail, and look at what is known of their executions."""

from __future__ import annotations

from typing import Any

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model.errors import Reason, ResourceExhausted
from tests.support.dispatch import FakeWorker
from tests.support.memory_store import Held
from tests.unit.dispatch.stage import Stage, reason

AT_ONCE: dict[str, Any] = {"initial_backoff_us": 0}
FULL = ResourceExhausted(Reason.DISK_FULL, "a test says so", subject="disk")
SECOND_US = 1_000_000


async def let_fail(stage: Stage, worker: FakeWorker) -> None:
    """The record that runs fails, and the server learns of it."""
    worker.step(failed=True, flush=True)
    worker.deliver()
    await stage.turn()


async def begin(stage: Stage, worker: FakeWorker) -> bool:
    """The worker begins what it was sent; whether there was anything."""
    await stage.turn()
    return worker.step() and worker.running is not None


def history(held: Held, index: int = 0) -> list[tuple[int, RecordInfo.State, str]]:
    """(attempt, state, reason) of what was kept of a record."""
    found = held.history.get(index, [])
    return [(each.attempt, each.state, reason(RecordInfo(error=each.error))) for each in found]
