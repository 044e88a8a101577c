"""What tasks run that are stopped by a filter dies with everything it started; what does not match goes on."""

from __future__ import annotations

import pathlib

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from tests.live.served import PARENT, living
from tests.support.eventually import eventually
from tests.support.processes import marked, server_id
from tests.support.server import SECONDS

NAPS = """
[handlers.napping]
kind = "command"
argv = ["sh", "-c", "setsid sleep 4711 & sleep 4712"]
"""


def test_what_runs_is_killed(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=3, toml=NAPS) as live:
        marker = server_id(tmp_path / "data")

        def naps() -> int:
            return sum("sleep 471" in each.command and "setsid" not in each.command for each in marked(marker))

        napping = [live.submit([{}], handler="napping") for _ in range(2)]
        other = live.submit([{"gate": "open"}])
        waiting = live.submit([{}, {}], handler="napping")
        eventually(lambda: naps() >= 4 and live.running() == {0}, SECONDS, "three records run")
        request = service.CancelBatchTasksRequest(parent=PARENT, filter="handler=napping AND counts.running>0")
        counted = live.tasks.CancelBatchTasks(
            service.CancelBatchTasksRequest(parent=PARENT, filter=request.filter, validate_only=True), timeout=SECONDS
        )
        assert set(counted.batch_tasks) == set(napping)
        assert live.tasks.CancelBatchTasks(request, timeout=SECONDS) == counted
        for name in napping:
            assert live.finish(name).state == BatchTaskInfo.CANCELLED
        request.filter = f'name="{waiting}"'
        assert live.tasks.CancelBatchTasks(request, timeout=SECONDS).cancelled_count == 1
        assert live.finish(waiting).state == BatchTaskInfo.CANCELLED
        assert naps() == 0
        live.open("open")
        assert live.finish(other).state == BatchTaskInfo.SUCCEEDED
