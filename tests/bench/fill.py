"""Fills a store with DRAFTs through the Store protocol, in process: a million unary creates would take minutes.

    python -m tests.bench.fill --data DIR --project ID --count N

No server may use the directory meanwhile. Prints how many tasks there are.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from pathlib import Path

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.codec import configuration
from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.names import TaskName
from batchyard_server.model.settings import DRAFT_US
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import NewTask, Task
from batchyard_server.store.sqlite import open_sqlite

# Creates on their way at once: enough for full groups of the writer.
GROUP = 2_000
LABELS = {"team": "search-ranking", "env": "production", "cost-center": "cc-1234567890ab"}


def draft(project: str, number: int, create_us: int) -> Task:
    """A DRAFT without records, like those that `api.create_request` asks for."""
    name = TaskName(project, f"filled-{number:09d}")
    uid = str(uuid.uuid4())
    info = BatchTaskInfo(display_name="nightly scoring of search results", handler="bench_noop", labels=LABELS)
    asked = configuration.read(info)
    fixed = configuration.fixed_info(name=str(name), uid=uid, create_us=create_us, configuration=asked)
    return Task(
        key=0,
        project=project,
        task_id=name.task,
        uid=uid,
        operation=uid,
        handler="bench_noop",
        state=TaskState.DRAFT,
        fixed=fixed,
        create_us=create_us,
        update_us=create_us,
        transition_us=create_us,
        due_us=create_us + DRAFT_US,
    )


async def fill(data: Path, project: str, count: int) -> None:
    """Create `count` tasks, a microsecond apart."""
    first_us = time.time_ns() // 1000 - count
    store = await open_sqlite(data, clock=SystemClock(), randomness=SystemRandomness(), failpoints=Failpoints(""))
    try:
        for begin in range(0, count, GROUP):
            drafts = [draft(project, number, first_us + number) for number in range(begin, min(begin + GROUP, count))]
            new = [NewTask(task=task, segments=[], record_ids=[]) for task in drafts]
            await asyncio.gather(*[store.create_task(one, None) for one in new])
    finally:
        await store.close()


def main() -> None:
    """Fill and say so."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--count", type=int, required=True)
    chosen = parser.parse_args()
    asyncio.run(fill(chosen.data, chosen.project, chosen.count))
    print(chosen.count, flush=True)


if __name__ == "__main__":
    main()
