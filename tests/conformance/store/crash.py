"""A process that stores tasks and their outcomes until a failpoint kills it; writes down what was acknowledged.

Run with the data directory and the file to write to; the failpoint comes in BATCHYARD_FAILPOINTS.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import sys

from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.model.task import Task
from batchyard_server.store.sqlite import open_sqlite
from tests.support import store as make
from tests.support.outcomes import flush

RECORDS = 20  # of each task: as many segments, enough to be joined


async def main(directory: pathlib.Path, log: pathlib.Path) -> None:
    """Never returns if the failpoint does what it should."""
    store = await open_sqlite(
        directory,
        clock=SystemClock(),
        randomness=SystemRandomness(),
        failpoints=Failpoints(os.environ["BATCHYARD_FAILPOINTS"]),
    )
    with log.open("a") as file:

        def acknowledged(task: Task) -> None:
            said = {"task": task.task_id, "succeeded": task.succeeded, "state": task.state.name}
            file.write(json.dumps(said) + "\n")
            file.flush()

        async def run(number: int) -> None:
            task = await store.create_task(make.new_task(f"t{number}", RECORDS), make.request(number))
            acknowledged(task)
            lease = await make.lease(store, task)
            for index in range(RECORDS):
                acknowledged(await store.record_outcomes(lease, flush(task.name, ok=[index])))
            if number % 3 == 0:
                await store.delete_task(task.name, make.allow_delete, None)
                file.write(json.dumps({"task": task.task_id, "deleted": True}) + "\n")
                file.flush()

        for number in range(0, 100, 2):
            await asyncio.gather(run(number), run(number + 1))
            while await store.merge():
                pass
            while await store.sweep():
                pass
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
