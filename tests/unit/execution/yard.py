"""Store, dispatcher, executor and worker processes, all real."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from batchyard_server.codec import logs, segments
from batchyard_server.dispatch.dispatcher import Dispatcher
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.execution.launch import Launcher
from batchyard_server.execution.local import LocalExecutor
from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.handler import HandlerSpec, Isolation, Kind
from batchyard_server.model.settings import Settings
from batchyard_server.model.task import Task
from batchyard_server.store.protocols import Store, TaskEvent
from batchyard_server.store.sqlite import open_sqlite
from tests.support import processes
from tests.support import store as tasks
from tests.support.eventually import eventually_in_loop
from tests.support.failpoints import SwitchedFailpoints

HANDLERS = pathlib.Path(__file__).parent / "handlers"
NODE = "a-node"
SECONDS = 30.0  # longest wait for anything


def handler(name: str, attribute: str = "act", **fields: Any) -> HandlerSpec:
    """A handler of handlers/real_handlers.py."""
    made = HandlerSpec(
        handler_id=name,
        kind=Kind.PYTHON,
        callable=f"real_handlers:{attribute}",
        path=(str(HANDLERS),),
        kill_grace_seconds=0.3,
    )
    return replace(made, **fields)


class Yard:
    """One server without its RPCs."""

    def __init__(
        self,
        store: Store,
        handlers: Mapping[str, HandlerSpec],
        level: Isolation,
        slots: int,
        failpoints: SwitchedFailpoints,
    ) -> None:
        self.store = store
        self.failpoints = failpoints
        clock = SystemClock()
        self.book = HandlerBook(handlers, level, first_retry_seconds=0.05)
        launcher = Launcher(server_id=store.server_id, isolation=level, environment=os.environ, module_path=())
        self.executor = LocalExecutor(slots=slots, handlers=self.book, launcher=launcher, clock=clock)
        self.dispatcher = Dispatcher(
            store,
            self.executor,
            slots=slots,
            node=NODE,
            max_worker_lost=2,
            clock=clock,
            randomness=SystemRandomness(),
            failpoints=failpoints,
            retry_seconds=0.05,
        )
        self.executor.attach(self.dispatcher)
        self._tasks: dict[int, Task] = {}
        store.subscribe(self._on_events)

    def _on_events(self, events: Sequence[TaskEvent]) -> None:
        for event in events:
            self._tasks[event.task.key] = event.task

    async def create(
        self, records: Sequence[Any], name: str = "act", *, record_timeout_us: int = 0, retries: int = 0
    ) -> Task:
        """Store a QUEUED task whose records are these JSON values."""
        new = tasks.new_task(f"t{len(self._tasks)}")
        inputs = [RecordInput(payload={"text": json.dumps(record)}).SerializeToString() for record in records]
        settings = Settings(record_timeout_us=record_timeout_us, max_retry_count=retries, initial_backoff_us=1000)
        task = replace(new.task, handler=name, total=len(records), settings=settings)
        return await self.store.create_task(replace(new, task=task, segments=segments.cut_inputs(inputs, 0)), None)

    def now(self, task: Task) -> Task:
        """The task as it was last committed."""
        return self._tasks.get(task.key, task)

    async def final(self, task: Task) -> Task:
        """The task in its final state."""
        await eventually_in_loop(lambda: self.now(task).state.is_final, SECONDS, f"{task.name} is final")
        return self.now(task)

    async def records(self, task: Task) -> list[RecordInfo]:
        """All its records, by index."""
        return tasks.parse(await tasks.read_all(self.store, self.now(task)))

    async def log(self, task: Task, index: int) -> str:
        """What the record wrote, as a reader sees it."""
        return logs.sections(await self.store.record_log(task.key, index))[0].decode()

    def runs(self, task: Task) -> frozenset[int]:
        """Indexes that run now."""
        return self.dispatcher.running(task.key)

    async def until_runs(self, task: Task, index: int) -> None:
        """Wait until a record runs."""
        await eventually_in_loop(lambda: index in self.runs(task), SECONDS, f"record {index} runs")

    def processes(self) -> list[processes.Seen]:
        """Everything that lives because of this server's workers."""
        return processes.marked(self.store.server_id)

    def workers(self) -> list[processes.Seen]:
        """The worker processes."""
        return [seen for seen in self.processes() if seen.is_worker]


@contextlib.asynccontextmanager
async def yard(
    folder: pathlib.Path, *handlers: HandlerSpec, level: Isolation = Isolation.SUBREAPER, slots: int = 1
) -> AsyncIterator[Yard]:
    """A server that starts and, at the end, stops and leaves nothing behind."""
    failpoints = SwitchedFailpoints()
    store = await open_sqlite(
        folder / "data", clock=SystemClock(), randomness=SystemRandomness(), failpoints=failpoints
    )
    try:
        made = Yard(store, {spec.handler_id: spec for spec in handlers}, level, slots, failpoints)
        made.dispatcher.start(await store.recover())
        try:
            yield made
        finally:
            await made.dispatcher.stop()
            assert made.processes() == []
    finally:
        await store.close()


def values(records: Sequence[RecordInfo]) -> list[Any]:
    """The outputs of records, parsed."""
    return [json.loads(record.output.text) if record.HasField("output") else None for record in records]


def noted(log: pathlib.Path) -> list[tuple[int, int]]:
    """(index, attempt) of every execution that began, in order."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(int(index), int(attempt)) for index, attempt, _ in lines]
