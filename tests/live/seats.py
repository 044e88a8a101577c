"""Tasks of the handler `seated`: how many of their records ran at once, and in which order they began."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, BatchTaskMetadata
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInput
from tests.live.served import HANDLERS, PARENT, Live
from tests.support.server import SECONDS


def toml(name: str, limits: str = "") -> str:
    """The handler under this name; `limits`: more lines."""
    return f"""\
[handlers.{name}]
kind = "python"
callable = "seated:seated"
path = ["{HANDLERS}"]
env = ["LIVE_FOLDER"]
kill_grace = "300ms"
{limits}
"""


TOML = toml("seated") + toml("other")


class Execution(NamedTuple):
    """One that ended; times in monotonic nanoseconds."""

    task: str
    index: int
    attempt: int
    seat: int
    begin: int
    end: int


def submit(
    live: Live,
    task: str,
    records: Sequence[Mapping[str, Any]],
    handler: str = "seated",
    *,
    parent: str = PARENT,
    **fields: Any,
) -> str:
    """Run a batch that calls itself `task`; `fields` of BatchTaskInfo. Returns its name."""
    info = BatchTaskInfo(handler=handler, parameters=Payload(text=json.dumps({"task": task})), **fields)
    request = service.CreateBatchTaskRequest(
        parent=parent,
        batch_task=info,
        records=[RecordInput(payload=Payload(text=json.dumps(each))) for each in records],
    )
    metadata = BatchTaskMetadata()
    live.tasks.CreateBatchTask(request, timeout=SECONDS).metadata.Unpack(metadata)
    return metadata.batch_task


def update(live: Live, name: str, **fields: Any) -> BatchTaskInfo:
    """UpdateBatchTask of these fields."""
    request = service.UpdateBatchTaskRequest(batch_task=BatchTaskInfo(name=name, **fields))
    request.update_mask.paths.extend(fields)
    return live.tasks.UpdateBatchTask(request, timeout=SECONDS)


def executions(live: Live, task: str = "") -> list[Execution]:
    """Those of one task, or of all, in the order in which they began."""
    log = live.folder / "seats.log"
    lines = map(str.split, log.read_text().splitlines()) if log.exists() else ()
    found = [Execution(each[0], *map(int, each[1:])) for each in lines]
    return sorted((each for each in found if task in ("", each.task)), key=lambda each: each.begin)


def seats(live: Live, task: str) -> set[int]:
    """Every seat that a record of the task ever had, also if it was killed."""
    folder = live.folder / "seats" / task
    return {int(each.name) for each in folder.iterdir()} if folder.exists() else set()


def most_at_once(found: Sequence[Execution]) -> int:
    """How many of these ran at the same time."""
    changes = sorted([(each.end, -1) for each in found] + [(each.begin, 1) for each in found])
    return max(itertools.accumulate(change for _, change in changes))
