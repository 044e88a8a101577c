"""Tasks of all kinds, and what a filter and an order make of them: the reference that drivers are compared with."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard_server.model.filter import Field, Node, TaskOrder, Value
from batchyard_server.model.settings import Settings
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import NewTask, Task
from batchyard_server.model.task_query import TaskQuery
from batchyard_server.query import TASKS, matches
from batchyard_server.store.protocols import Store, TaskPage
from tests.support import store as make

IDS = ("a", "aB", "ab", "B", "Ba", "b-1", "b_1", "z")
WORDS = ("", "a", "A", "aé", "b%c", "b_c", "é", "𝄞x", "\x00a", 'q"uote', "\ud7ffx", "\ue000", "\U0010ffffz")
KEYS = ("team", "a.b-c_d", "env")
TIMES = (1, 5, 10, 1_000_000)


@dataclass(frozen=True, slots=True)
class Sample:
    """A task and what it shows."""

    task: Task
    shown: BatchTaskInfo
    running: int = 0

    def value(self, field: Field) -> Value | None:
        """See query.matches."""
        task, shown = self.task, self.shown
        if field.name == "labels":
            return (shown.labels.get(field.key) if field.key else "any") if shown.labels else None
        if field.name == "priority":
            return shown.priority if shown.HasField("priority") else None
        running = min(self.running, task.total - task.ended)
        values: dict[str, Value | None] = {
            "id": task.task_id,
            "uid": task.uid,
            "display_name": shown.display_name,
            "handler": task.handler,
            "state": int(task.state),
            "create_time": task.create_us,
            "start_time": task.start_us or None,
            "end_time": task.end_us or None,
            "update_time": task.update_us,
            "expire_time": task.expire_us or None,
            "state_transition_time": task.transition_us,
            "counts.total": task.total,
            "counts.pending": task.total - task.ended - running,
            "counts.running": running,
            "counts.succeeded": task.succeeded,
            "counts.failed": task.failed,
            "counts.cancelled": task.cancelled,
            "exit_code": task.exit_code,
            "archived": shown.archived,
        }
        return values[field.name]


def sample(chance: random.Random, number: int, *, project: str = "p") -> tuple[NewTask, BatchTaskInfo]:
    """A task that nobody could tell from a random one; its id is unique by its number."""
    shown = BatchTaskInfo(
        handler=chance.choice(("echo", "other")),
        display_name=chance.choice(WORDS),
        labels={key: chance.choice(WORDS) for key in chance.sample(KEYS, chance.randint(0, 3))},
        archived=chance.random() < 0.3,
    )
    if chance.random() < 0.6:
        shown.priority = chance.choice((-5, 0, 0, 7))
    new = make.new_task(f"{chance.choice(IDS)}{number}", project=project, create_us=chance.choice(TIMES))
    name, uid = str(new.task.name), chance.choice("xyz") + new.task.uid
    chosen = {descriptor.name: value for descriptor, value in shown.ListFields()}
    total, state = chance.choice((0, 1, 9)), chance.choice(list(TaskState))
    succeeded = chance.randint(0, total)
    failed = chance.randint(0, total - succeeded)
    task = replace(
        new.task,
        uid=uid,
        operation=f"op-{uid}",
        handler=shown.handler,
        fixed=make.fixed_info(name, uid, new.task.create_us, **chosen),
        settings=Settings(priority=shown.priority),
        state=state,
        update_us=chance.choice(TIMES),
        transition_us=chance.choice(TIMES),
        start_us=chance.choice((0, *TIMES)),
        end_us=chance.choice(TIMES) if state.is_final else 0,
        due_us=chance.choice((0, *TIMES)),
        total=total,
        succeeded=succeeded,
        failed=failed,
        cancelled=total - succeeded - failed if state.is_final else 0,
    )
    return replace(new, task=task), shown


async def stored(store: Store, chance: random.Random, count: int) -> list[Sample]:
    """So many tasks in project p, made at once; some others are elsewhere, or were deleted."""
    keys = await store.new_keys(count + 8)
    made: list[tuple[NewTask, BatchTaskInfo]] = []
    for number, key in enumerate(keys):
        new, shown = sample(chance, number, project="p" if number < count + 4 else "q")
        made.append((replace(new, task=replace(new.task, key=key)), shown))
    await store.create_tasks([(new, None) for new, _ in made], None, atomic=True)
    for new, _ in made[count : count + 4]:
        await store.delete_task(new.task.name, lambda task: task, None)
    return [Sample(new.task, shown, chance.choice((0, 0, 1, 4))) for new, shown in made[:count]]


def running(samples: Sequence[Sample]) -> Mapping[int, int]:
    """What of them runs."""
    return {each.task.key: each.running for each in samples if each.running}


def expected(samples: Sequence[Sample], node: Node, order: TaskOrder) -> list[str]:
    """The ids of those that match, in order."""
    column = Field(order.field, TASKS.columns[order.field].kind)

    def by(each: Sample) -> tuple[int, bytes]:
        value = each.value(column) or 0
        return (0, value.encode()) if isinstance(value, str) else (int(value), b"")

    found = sorted((each for each in samples if matches(node, each.value)), key=lambda each: each.task.task_id)
    return [each.task.task_id for each in sorted(found, key=by, reverse=order.descending)]


async def pages_of(store: Store, query: TaskQuery, *, most: int = 1000) -> list[TaskPage]:
    """All pages of a list."""
    found: list[TaskPage] = []
    while not found or found[-1].more:
        assert len(found) < most, "it does not end"
        found.append(await store.list_tasks(replace(query, after=found[-1].last if found else query.after)))
    return found
