"""The subtasks of a task, read back and looked at."""

from __future__ import annotations

from google.rpc.status_pb2 import Status

from batchyard.v1.batch_task_service_pb2 import ListSubtasksResponse
from batchyard.v1.subtask_pb2 import Subtask
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.subtask import LeaseEnd
from batchyard_server.store.protocols import Store
from tests.support.errors import Answer
from tests.support.store import BIG

LATEST = 2**63 - 1


async def listed(store: Store, task_key: int, *, size: int = 1000, max_bytes: int = BIG) -> list[Subtask]:
    """All subtasks of a task, page by page; checks what every page must keep to."""
    found: list[Subtask] = []
    before = LATEST
    while True:
        page = await store.subtasks(task_key, before, size, max_bytes)
        subtasks = list(ListSubtasksResponse.FromString(page.entries).subtasks)
        assert len(subtasks) == page.count <= size
        assert len(page.entries) <= max_bytes or page.count == 1
        assert all(each.epoch < before for each in subtasks)
        found += subtasks
        before = page.last_epoch
        if not page.more:
            assert [each.epoch for each in found] == sorted({each.epoch for each in found}, reverse=True)
            return found
        assert subtasks[-1].epoch == before


def ranges(subtask: Subtask) -> list[tuple[int, int]]:
    """With which it was leased."""
    return [(each.start, each.end) for each in subtask.ranges]


def why(error: Status) -> tuple[Code, Reason, dict[str, str]]:
    """The error of a subtask; its form is checked."""
    assert error.message
    found = Answer(error)
    return found.code, found.reason, found.metadata


def end_of(end: LeaseEnd) -> tuple[Code, Reason, dict[str, str]]:
    """The same of how a lease ended."""
    return why(Status.FromString(end.error))
