"""What is a batch task found by? What callers chose and filters look at, as values beside the stored bytes."""

from __future__ import annotations

import json
from typing import NamedTuple

from batchyard.v1.batch_task_pb2 import BatchTaskInfo


class Searched(NamedTuple):
    """`labels`: a JSON object, "" = none. `priority` is 0 where it is not set."""

    display_name: str
    labels: str
    archived: bool
    priority: int
    priority_set: bool


def searched(fixed: bytes) -> Searched:
    """Of a task's `fixed`."""
    info = BatchTaskInfo.FromString(fixed)
    return Searched(
        display_name=info.display_name,
        labels=json.dumps(dict(info.labels), ensure_ascii=False, sort_keys=True) if info.labels else "",
        archived=info.archived,
        priority=info.priority,
        priority_set=info.HasField("priority"),
    )
