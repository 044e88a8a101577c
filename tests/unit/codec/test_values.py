"""What a filter sees of a task, of a change of it, and of what is kept of it."""

from __future__ import annotations

import random

import pytest

from batchyard_server.codec.values import IN_CHANGES, ChangeValues, TaskValues
from batchyard_server.model.filter import Field, Kind
from batchyard_server.model.watch import Change, LogEntry
from batchyard_server.query import TASKS
from tests.support.searches import KEYS, Sample, sample

FIELDS = [
    *(Field(name, column.kind) for name, column in TASKS.columns.items()),
    *(Field("labels", Kind.TEXT, key) for key in KEYS),
]
ANY_LABEL = Field("labels", Kind.TEXT)


def change_of(each: Sample) -> LogEntry:
    """A change that left the task as it is."""
    task = each.task
    return LogEntry(
        *(1, task.project, task.key, task.task_id, task.operation, task.generation, Change.STATE, False, task.state),
        *(task.total, task.succeeded, task.failed, task.cancelled, 0, 0, task.create_us, 1, b""),
    )


@pytest.mark.parametrize("seed", range(50))
def test_every_field_of_a_task_and_of_its_changes(seed: int) -> None:
    chance = random.Random(seed)
    new, shown = sample(chance, seed)
    each = Sample(new.task, shown, chance.choice((0, 1, 9)))
    whole, kept = TaskValues(each.task, each.running), TaskValues(each.task, each.running).kept()
    change = ChangeValues(change_of(each), each.running, kept)
    alone = ChangeValues(change_of(each), each.running, None)
    for field in FIELDS:
        expected = each.value(field)
        assert whole(field) == kept(field) == change(field) == expected, field
        assert alone(field) == (expected if field.name in IN_CHANGES else None), field
    assert (whole(ANY_LABEL) is None) == (kept(ANY_LABEL) is None) == (not shown.labels)
    assert whole(ANY_LABEL) != ""
