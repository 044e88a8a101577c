"""A task that is made as a twin of another one."""

from __future__ import annotations

import dataclasses

import pytest

from batchyard_server.model.settings import Settings
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Task, twins


def test_a_twin_differs_in_what_is_its_own_alone() -> None:
    like = Task(
        key=0,
        project="p",
        task_id="a",
        uid="uid-a",
        operation="op-a",
        handler="echo",
        state=TaskState.DRAFT,
        fixed=b"a",
        create_us=5,
        update_us=6,
        transition_us=7,
        total=3,
        parameters=b"parameters",
        settings=Settings(priority=3),
        due_us=9,
    )
    twin = twins(like)(7, "b", "uid-b", "op-b", b"b")
    assert twin == dataclasses.replace(like, key=7, task_id="b", uid="uid-b", operation="op-b", fixed=b"b")
    assert dataclasses.replace(twin, key=0) != like
    with pytest.raises(dataclasses.FrozenInstanceError):
        twin.key = 8  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="zip"):
        twins(like)(7, "b", "uid-b", "op-b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
