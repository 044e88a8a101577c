"""What becomes of tasks whose handler is gone after a restart, and of what was done before it?"""

from __future__ import annotations

import pathlib

import grpc
import pytest
from google.longrunning import operations_pb2 as lro
from google.protobuf.duration_pb2 import Duration

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, RecordCounts
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from batchyard_server.model.errors import Reason
from tests.rpc.runs import ACT, Server, Stage, as_payload, running, staged
from tests.rpc.world import PROJECT
from tests.support.errors import answer, provokes
from tests.support.server import SECONDS

pytestmark = pytest.mark.xdist_group("outcomes-restart")
State = BatchTaskInfo
WELL = {"do": "echo", "value": "well"}
HANDLER = f"{PROJECT}/handlers/act"
BOTH = ACT + ACT.replace("handlers.act", "handlers.other")


def begin(server: Server, stage: Stage) -> dict[str, str]:
    """Tasks in every state, one slot: names by state."""
    names = {"succeeded": server.run("act", WELL, {"do": "fail"}).info.name}
    names["failed"] = server.run("act", {"do": "fail"}, {"do": "refuse"}).info.name
    names["running"] = server.submit("act", stage.record, WELL, WELL)
    stage.enter()
    names["queued"] = server.submit("other", WELL, WELL)  # the one slot is busy with another handler
    names["unwanted"] = server.submit("other", WELL)
    names["draft"] = server.submit("act", RecordInput(record_id="d", payload=as_payload(WELL)), start=False)
    names["cancelled"] = server.submit("act", WELL, start=False)
    server.cancel(names["cancelled"], "not needed")
    return names


def check_refused(server: Server) -> None:
    """Nothing can be asked of the handler itself any more."""
    create = service.CreateBatchTaskRequest(
        parent=PROJECT, batch_task=BatchTaskInfo(handler="act"), records=[RecordInput(payload=as_payload(WELL))]
    )
    for call, request in (
        (server.tasks.CreateBatchTask, create),
        (server.tasks.GetHandler, service.GetHandlerRequest(name=HANDLER)),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=SECONDS)
        found = answer(caught.value)
        assert (found.reason, found.metadata) == (Reason.RESOURCE_NOT_FOUND, {"resource": HANDLER})
    page = server.tasks.ListHandlers(service.ListHandlersRequest(parent=PROJECT), timeout=SECONDS)
    assert HANDLER not in [each.name for each in page.handlers]


def check_waiting(server: Server, name: str, state: BatchTaskInfo.State, total: int) -> None:
    """It waits for its handler, says so wherever it is shown, and a wait for it ends in time."""
    info = server.info(name)
    assert (info.state, info.waiting_reason) == (state, State.HANDLER_UNAVAILABLE)
    assert info.counts == RecordCounts(total=total, pending=total)
    listed = server.tasks.ListBatchTasks(service.ListBatchTasksRequest(parent=PROJECT), timeout=SECONDS).batch_tasks
    assert info in listed
    assert {each.state for each in server.records(name)} == {RecordInfo.PENDING}
    wait = lro.WaitOperationRequest(name=info.operation, timeout=Duration(nanos=30_000_000))
    assert not server.operations.WaitOperation(wait, timeout=SECONDS).done


@provokes(Reason.RESOURCE_NOT_FOUND)
def test_tasks_wait_for_a_handler_that_is_gone(tmp_path: pathlib.Path) -> None:
    with staged() as stage:
        with running(tmp_path, BOTH, workers=1) as server:
            names = begin(server, stage)
            done = {state: server.operation(names[state]) for state in ("succeeded", "failed", "cancelled")}
            records = {state: server.records(names[state], view=RecordInfo.FULL) for state in done}
            server.process.popen.kill()
            server.process.wait()
        with running(tmp_path, "", workers=1) as server:
            check_waiting(server, names["running"], State.RUNNING, 3)
            check_waiting(server, names["queued"], State.QUEUED, 2)
            check_refused(server)
            assert server.run("echo", WELL).outputs == [WELL], "others do not wait"
            assert server.cancel(names["unwanted"]).state == State.CANCELLED
            start = service.StartBatchTaskRequest(name=names["draft"])
            server.tasks.StartBatchTask(start, timeout=SECONDS)
            check_waiting(server, names["draft"], State.QUEUED, 1)
            server.cancel(names["running"])
            assert server.finish(names["running"]).info.counts.cancelled == 3
            for state, operation in done.items():
                assert server.operation(names[state]) == operation
                assert server.records(names[state], view=RecordInfo.FULL) == records[state]
        with running(tmp_path, BOTH, workers=1) as server:
            for state in ("queued", "draft"):
                run = server.finish(names[state])
                assert (run.info.state, run.info.counts.succeeded) == (State.SUCCEEDED, run.info.counts.total)
                assert [(each.output.text, each.attempt) for each in run.records] == [("well", 1)] * len(run.records)
            assert server.record(names["draft"], 0).record_id == "d"
            assert server.operation(names["failed"]) == done["failed"]
            assert server.info(names["unwanted"]).state == State.CANCELLED


def test_what_runs_when_the_server_is_killed_runs_again(tmp_path: pathlib.Path) -> None:
    with staged() as stage:
        with running(tmp_path, ACT, "--max-worker-lost", "0", workers=1) as server:
            name = server.submit("act", WELL, stage.record, WELL, timeout=60)
            actor = stage.enter()
            started = server.info(name).start_time
            server.process.popen.kill()
            assert actor.is_gone(), "no worker outlives its server"
        with running(tmp_path, ACT, "--max-worker-lost", "0", workers=1) as server:
            again = stage.enter()
            assert (again.index, again.attempt) == (1, 1), "nobody knows that it began before"
            info = server.info(name)
            assert (info.state, info.counts.running, info.start_time) == (State.RUNNING, 1, started)
            again.go(**WELL)
            run = server.finish(name)
            assert [each.attempt for each in run.records] == [1] * 3
            assert run.info.counts == RecordCounts(total=3, succeeded=3)
