"""Is a repeated call safe, whoever repeats it and however its message was put together?"""

from __future__ import annotations

import asyncio
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.names import parse_task
from tests.rpc import world
from tests.rpc.test_errors import fail
from tests.rpc.world import PROJECT, create, fresh_request_id, name
from tests.support.errors import provokes
from tests.support.server import SECONDS, Served, serving

# Builds the same request again, maps filled in the opposite order, and sends it.
_OTHER_PROCESS = """
import sys
import grpc
from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_service_pb2_grpc import BatchTaskServiceStub

target, request_id, order = sys.argv[1], sys.argv[2], int(sys.argv[3])
request = service.CreateBatchTaskRequest(parent="projects/default", request_id=request_id)
request.batch_task.handler = "echo"
keys = [f"key{i}" for i in range(50)][::order]
for key in keys:
    request.batch_task.labels[key] = key
record = request.records.add()
for key in keys:
    record.payload.json.struct_value.fields[key].string_value = key
with grpc.insecure_channel(target) as channel:
    print(BatchTaskServiceStub(channel).CreateBatchTask(request, timeout=30).name)
"""


async def _elsewhere(server: Served, request_id: str, order: int) -> str:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OTHER_PROCESS, server.target, request_id, str(order), stdout=subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(program.communicate(), SECONDS)
    assert program.returncode == 0
    return out.decode().strip()


async def test_a_create_repeated_by_another_process_in_another_order(server: Served) -> None:
    request_id = fresh_request_id()
    first = await _elsewhere(server, request_id, 1)
    assert await _elsewhere(server, request_id, -1) == first
    tasks = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT))
    assert len(tasks.batch_tasks) == 1


async def test_a_create_repeated_at_the_same_time(server: Served) -> None:
    request = create(request_id=fresh_request_id())
    made = await asyncio.gather(*(server.tasks.CreateBatchTask(request) for _ in range(50)))
    assert len({each.name for each in made}) == 1
    tasks = await server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT))
    assert len(tasks.batch_tasks) == 1


async def test_a_create_repeated_later_answers_the_operation_as_it_is_now(server: Served) -> None:
    request = create("t", records=2, request_id=fresh_request_id())
    first = await server.tasks.CreateBatchTask(request)
    await server.finish(name("t"))
    again = await server.tasks.CreateBatchTask(request)
    assert again.name == first.name
    assert again.done
    assert again == await server.operations.GetOperation(lro.GetOperationRequest(name=first.name))


async def test_a_create_repeated_after_a_restart(tmp_path: pathlib.Path) -> None:
    request = create("t", request_id=fresh_request_id())
    async with serving(tmp_path) as server:
        first = await server.tasks.CreateBatchTask(request)
    async with serving(tmp_path) as server:
        assert await server.tasks.CreateBatchTask(request) == first


async def test_the_case_of_a_request_id_does_not_matter(server: Served) -> None:
    request_id = fresh_request_id()
    first = await server.tasks.CreateBatchTask(create("t", request_id=request_id))
    again = await server.tasks.CreateBatchTask(create("t", request_id=request_id.upper()))
    assert again == first


async def test_a_request_id_belongs_to_its_project(server: Served) -> None:
    request = create("t", request_id=fresh_request_id())
    first = await server.tasks.CreateBatchTask(request)
    request.parent = "projects/other"
    second = await server.tasks.CreateBatchTask(request)
    assert second.name.startswith("projects/other/operations/")
    assert second.name != first.name


def _other(**fields: Any) -> service.CreateBatchTaskRequest:
    request = create("t")
    for key, value in fields.items():
        setattr(request, key, value)
    return request


@provokes(Reason.REQUEST_ID_REUSED)
async def test_other_content_under_the_same_request_id(server: Served) -> None:
    request_id = fresh_request_id()
    await server.tasks.CreateBatchTask(create("t", request_id=request_id))
    with_label = create("t")
    with_label.batch_task.labels["a"] = "b"
    for request in (create("t", records=2), create("u"), _other(start=False), with_label):
        request.request_id = request_id
        found = await fail(server, "CreateBatchTask", request)
        assert (found.code, found.reason) == (Code.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)
    cancel = service.CancelBatchTaskRequest(name=name("t"), request_id=request_id)
    assert (await fail(server, "CancelBatchTask", cancel)).reason is Reason.REQUEST_ID_REUSED


async def test_repeated_start_and_cancel_answer_the_task_as_it_is_now(server: Served) -> None:
    await world.populate(server)
    start = service.StartBatchTaskRequest(name=name("draft"), request_id=fresh_request_id())
    await server.tasks.StartBatchTask(start)
    cancel = service.CancelBatchTaskRequest(name=name("draft"), request_id=fresh_request_id())
    stopped = await server.tasks.CancelBatchTask(cancel)
    assert stopped.state == BatchTaskInfo.CANCELLED
    # Both verbs would be refused now: TASK_COMPLETED.
    assert (await server.tasks.StartBatchTask(start)).done
    assert await server.tasks.CancelBatchTask(cancel) == stopped


# What each verb asks for, and the task that is asked.
VERBS: dict[str, tuple[Any, str]] = {
    "PauseBatchTask": (service.PauseBatchTaskRequest(), "queued"),
    "ResumeBatchTask": (service.ResumeBatchTaskRequest(), "queued"),
    "UpdateBatchTask": (service.UpdateBatchTaskRequest(batch_task={"priority": 5}), "queued"),
    "ReactivateBatchTask": (service.ReactivateBatchTaskRequest(), "failed"),
    "CancelBatchTask": (service.CancelBatchTaskRequest(), "queued"),
}


@pytest.mark.parametrize("verb", VERBS)
@provokes(Reason.REQUEST_ID_REUSED)
async def test_a_repeated_verb_answers_the_task_as_it_is_now(tmp_path: pathlib.Path, verb: str) -> None:
    asked, state = VERBS[verb]
    (asked.batch_task if verb == "UpdateBatchTask" else asked).name = name(state)
    asked.request_id = fresh_request_id()
    async with serving(tmp_path) as server:
        await world.populate(server)
        first, again = await asyncio.gather(*(getattr(server.tasks, verb)(asked) for _ in range(2)))
        assert first == again
        change = service.UpdateBatchTaskRequest(batch_task={"name": name(state), "display_name": "now"})
        await server.tasks.UpdateBatchTask(change)
        task = await server.store.get_task(parse_task(name(state)))
        if not task.state.is_final:
            await server.tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name(state)))
        now = await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name=name(state)))
        assert now.generation == (2 if verb == "ReactivateBatchTask" else 1)
    async with serving(tmp_path) as server:
        answer = await getattr(server.tasks, verb)(asked)
        if verb == "ReactivateBatchTask":
            assert (answer.name, answer.done) == (first.name, True)
        else:
            assert answer == now
        assert await server.tasks.GetBatchTask(service.GetBatchTaskRequest(name=name(state))) == now
        other = type(asked)()
        other.CopyFrom(asked)
        (other.batch_task if verb == "UpdateBatchTask" else other).etag = now.etag
        assert (await fail(server, verb, other)).reason is Reason.REQUEST_ID_REUSED


async def test_a_repeated_delete_is_ok(server: Served) -> None:
    await world.populate(server)
    delete = service.DeleteBatchTaskRequest(name=name("draft"), request_id=fresh_request_id())
    for _ in range(3):
        await server.tasks.DeleteBatchTask(delete)
    again = service.DeleteBatchTaskRequest(name=name("draft"), request_id=fresh_request_id())
    assert (await fail(server, "DeleteBatchTask", again)).code is Code.NOT_FOUND


@pytest.mark.parametrize("gone", ["task", "operation"])
@provokes(Reason.RESOURCE_NOT_FOUND)
async def test_a_create_repeated_when_what_it_made_is_gone(server: Served, gone: str) -> None:
    request = create("t", request_id=fresh_request_id())
    operation = await server.tasks.CreateBatchTask(request)
    await server.finish(name("t"))
    if gone == "task":
        await server.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name("t")))
    else:
        await server.operations.DeleteOperation(lro.DeleteOperationRequest(name=operation.name))
    found = await fail(server, "CreateBatchTask", request)
    assert (found.code, found.reason) == (Code.NOT_FOUND, Reason.RESOURCE_NOT_FOUND)
