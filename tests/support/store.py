"""What a test does to a store: make tasks, run them, read everything back."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from batchyard_server.codec import configuration, pages, segments, task_bytes
from batchyard_server.engine.reactivate import next_generation
from batchyard_server.model.names import TaskName
from batchyard_server.model.record import Order, RecordPage, RecordQuery, View
from batchyard_server.model.settings import DEFAULTS, Settings
from batchyard_server.model.states import Event, StopReason, TaskState, after
from batchyard_server.model.task import Lease, NewTask, RequestKey, Task
from batchyard_server.model.task_query import Position, TaskQuery
from batchyard_server.query import RECORDS, parse_filter
from batchyard_server.store.protocols import Store, TaskPage
from tests.support.outcomes import flush

BIG = 1 << 30


def record_input(index: int, *, record_id: str = "", size: int = 0) -> bytes:
    """A serialized RecordInput: the JSON text of its index, and about `size` bytes of noise behind it."""
    text = f"{index} {random.Random(index).randbytes(size // 2).hex()}" if size else str(index)
    return RecordInput(record_id=record_id, payload={"text": text}).SerializeToString()


def new_task(
    task_id: str,
    records: int = 0,
    *,
    project: str = "p",
    ids: bool = False,
    draft: bool = False,
    create_us: int = 1_000_000,
    parameters: bytes = b"",
    size: int = 0,
    uid: str = "",
    settings: Settings = DEFAULTS,
) -> NewTask:
    """A task with that many records; with `ids` the record_id of record 7 is `r7`."""
    uid = uid or f"uid-{project}-{task_id}"
    task = Task(
        key=0,
        project=project,
        task_id=task_id,
        uid=uid,
        operation=f"op-{uid}",
        handler="echo",
        state=TaskState.DRAFT if draft else TaskState.QUEUED,
        fixed=fixed_info(str(TaskName(project, task_id)), uid, create_us, parameters),
        create_us=create_us,
        update_us=create_us,
        transition_us=create_us,
        parameters=parameters,
        settings=settings,
        total=records,
    )
    inputs = [record_input(i, record_id=f"r{i}" if ids else "", size=size) for i in range(records)]
    return NewTask(
        task=task,
        segments=segments.cut_inputs(inputs, 0),
        record_ids=[(f"r{i}", i) for i in range(records)] if ids else [],
    )


def fixed_info(name: str, uid: str, create_us: int, parameters: bytes = b"", **chosen: Any) -> bytes:
    """The fixed part of a task; `chosen` are fields of BatchTaskInfo, `parameters` a serialized Payload."""
    info = BatchTaskInfo(handler="echo")
    info.MergeFrom(BatchTaskInfo(**chosen))
    asked = replace(configuration.read(info), parameters=parameters)
    return configuration.fixed_info(name=name, uid=uid, create_us=create_us, configuration=asked)


def request(number: int = 1, *, project: str = "p", digest: bytes = b"digest") -> RequestKey:
    """The identity of a call."""
    return RequestKey(project=project, request_id=f"request-{number}", digest=digest)


def start(task: Task) -> Task:
    """`decide` of a start."""
    return task.enter(after(task.state, Event.START), 2_000_000)


def cancel(task: Task) -> Task:
    """`decide` of a cancel."""
    state = after(task.state, Event.CANCEL)
    return replace(task, stop_reason=StopReason.CANCEL).enter(state, 3_000_000)


def pause(task: Task) -> Task:
    """`decide` of a pause."""
    state = after(task.state, Event.PAUSE)
    if state is TaskState.PAUSING and not task.live_subtasks:
        state = after(state, Event.NOTHING_RUNS)
    return task.enter(state, 4_000_000)


def resume(task: Task) -> Task:
    """`decide` of a resume."""
    return task.enter(after(task.state, Event.RESUME), 5_000_000)


def reactivate(task: Task) -> Task:
    """`decide` of a reactivation."""
    return next_generation(task, f"{task.uid}-{task.generation + 1}", 4_000_000, everything=False)


def reactivate_all(task: Task) -> Task:
    """The same with scope ALL."""
    return next_generation(task, f"{task.uid}-{task.generation + 1}", 4_000_000, everything=True)


def allow_delete(task: Task) -> Task:
    """`decide` of a delete."""
    after(task.state, Event.DELETE)
    return task


async def lease(store: Store, task: Task, *ranges: tuple[int, int]) -> Lease:
    """A granted lease on these records; all of them by default."""
    made = Lease(
        task_key=task.key, generation=task.generation, ranges=list(ranges) or [(0, task.total)], worker="worker"
    )
    await store.grant(made)
    return made


async def finish(store: Store, task: Task, *, failed: Sequence[int] = ()) -> Task:
    """Run all records of a QUEUED task that are still to be run."""
    pending = (await store.unfinished(task)).pending
    made = await lease(store, task, *pending)
    ok = [i for start, end in pending for i in range(start, end) if i not in failed]
    return await store.record_outcomes(made, flush(task.name, ok=ok, failed=failed, generation=task.generation))


async def page(
    store: Store,
    task: Task,
    order: Order = Order.INDEX,
    *,
    view: View = View.BASIC,
    position: int = 0,
    max_records: int = 1000,
    max_bytes: int = BIG,
    running: frozenset[int] = frozenset(),
    whole: bool = False,
    generation: int = 0,
    filter: str = "",
) -> RecordPage:
    """One page of records; of the task's generation by default."""
    return await store.record_page(
        RecordQuery(
            task_key=task.key,
            generation=generation or task.generation,
            order=order,
            view=view,
            position=position,
            max_records=max_records,
            max_bytes=max_bytes,
            running=running,
            whole=whole,
            filter=parse_filter(filter, RECORDS, task.project),
        )
    )


async def _pages(
    store: Store, task: Task, order: Order, *, max_records: int, max_bytes: int, **asked: Any
) -> AsyncIterator[tuple[int, RecordPage, Sequence[bytes]]]:
    """Page by page, where each began and its records; checks what every page must keep to."""
    position = 0
    while True:
        got = await page(store, task, order, position=position, max_records=max_records, max_bytes=max_bytes, **asked)
        found = segments.split_page(got.records)
        assert len(found) == got.count <= max_records
        assert got.next_position >= position + got.count
        assert len(got.records) <= max_bytes or got.count == 1
        yield position, got, found
        if not got.more:
            return
        position = got.next_position


async def read_all(
    store: Store,
    task: Task,
    order: Order = Order.INDEX,
    *,
    max_records: int = 1000,
    max_bytes: int = BIG,
    **asked: Any,
) -> list[bytes]:
    """All records, page by page; `asked`: other arguments of `page`."""
    records: list[bytes] = []
    async for position, got, found in _pages(store, task, order, max_records=max_records, max_bytes=max_bytes, **asked):
        assert got.count or not records, "a page said that there is more"
        if order is Order.INDEX or task.generation == 1:
            assert got.next_position == position + got.count
        assert got.count or not got.more
        records += found
    return records


async def search(
    store: Store,
    task: Task,
    filter: str,
    order: Order = Order.INDEX,
    *,
    max_records: int = 1000,
    max_bytes: int = BIG,
    **asked: Any,
) -> tuple[list[bytes], list[int]]:
    """All records of a filter, page by page, and where each page ended; `asked`: other arguments of `page`."""
    records: list[bytes] = []
    ends: list[int] = []
    async for position, got, found in _pages(
        store, task, order, max_records=max_records, max_bytes=max_bytes, filter=filter, **asked
    ):
        assert got.next_position > position or not got.more
        records += found
        ends.append(got.next_position)
    return records, ends


async def list_page(
    store: Store, *, project: str = "p", limit: int = 10, max_bytes: int = BIG, **asked: Any
) -> TaskPage:
    """One page of tasks; `asked`: other fields of TaskQuery."""
    return await store.list_tasks(TaskQuery(project=project, limit=limit, max_bytes=max_bytes, **asked))


async def listed(store: Store, project: str = "p", *, size: int = 1000) -> list[str]:
    """The ids of all tasks of a project, in the order of the list."""
    found: list[str] = []
    after: Position | None = None
    while True:
        page = await list_page(store, project=project, after=after, limit=size)
        infos = pages.infos(page.entries)
        found += [task_bytes.name_of(info).task for info in infos]
        assert len(infos) == page.count <= size
        if not page.more:
            return found
        assert page.count
        after = page.last


def parse(records: Sequence[bytes]) -> list[RecordInfo]:
    """The records as messages."""
    return [RecordInfo.FromString(record) for record in records]


def indexes(records: Sequence[bytes]) -> list[int]:
    """Their indexes."""
    return [record.index for record in parse(records)]
