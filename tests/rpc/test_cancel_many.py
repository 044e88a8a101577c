"""Does CancelBatchTasks stop what matches, nothing else, and each once, however often and by whom it is called?"""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.engine import cancel_many
from batchyard_server.model import limits
from batchyard_server.model.errors import Code, Reason
from tests.rpc.stages import FINAL, STATES, info, put
from tests.rpc.test_errors import fail
from tests.rpc.world import PROJECT, create, fresh_request_id, name
from tests.support.errors import provokes
from tests.support.server import Served, serving

CANCEL = "CancelBatchTasks"
State = BatchTaskInfo.State


def asked(wanted: str, *, token: str = "", validate_only: bool = False, request_id: str = "", reason: str = ""):
    """A call."""
    return service.CancelBatchTasksRequest(
        parent=PROJECT,
        filter=wanted,
        page_token=token,
        validate_only=validate_only,
        request_id=request_id,
        reason=reason,
    )


async def cancel(server: Served, wanted: str, **fields: object) -> service.CancelBatchTasksResponse:
    """Make a call."""
    return await server.tasks.CancelBatchTasks(asked(wanted, **fields))  # type: ignore[arg-type]


async def test_all_that_is_not_over(server: Served) -> None:
    for state in STATES:
        await put(server, state, state.lower())
    other = create("other")
    other.parent = "projects/other"
    await server.tasks.CreateBatchTask(other)
    before = {state: await info(server, state.lower()) for state in STATES}
    wanted = [name(state.lower()) for state in ("PAUSED", "PAUSING", "RUNNING", "QUEUED", "DRAFT")]
    counted = await cancel(server, "*", validate_only=True)
    assert (counted.cancelled_count, list(counted.batch_tasks), counted.next_page_token) == (5, wanted, "")
    assert before == {state: await info(server, state.lower()) for state in STATES}
    done = await cancel(server, "*", reason="too much")
    assert done == counted
    for state in STATES:
        now = await info(server, state.lower())
        if state in FINAL or state == "CANCELLING":
            assert now == before[state]
        elif state in ("RUNNING", "PAUSING"):
            assert (now.state, now.stop_reason) == (State.CANCELLING, BatchTaskInfo.CANCEL)
        else:
            assert (now.state, now.stop_reason) == (State.CANCELLED, BatchTaskInfo.CANCEL)
            assert now.error.message == "the batch task was cancelled: too much"
    assert await cancel(server, "*") == service.CancelBatchTasksResponse()
    found = await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name="projects/other/batchTasks/other"))
    assert found.state == State.QUEUED
