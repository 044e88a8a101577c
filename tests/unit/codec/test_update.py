"""Does a patch change the leaves that its mask names, whatever they were before, and nothing else?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.batch_task_service_pb2 import UpdateBatchTaskRequest
from batchyard_server.codec import configuration, update
from batchyard_server.codec.update import LEAVES
from batchyard_server.model.errors import InvalidArgument
from batchyard_server.model.task import Task
from tests.support import store as make

TIMES = st.builds(lambda ms: {"nanos": ms * 1_000_000}, st.integers(1, 3))
PARTS = {
    "constraints": {
        "max_wall_clock_time": TIMES,
        "record_timeout": TIMES,
        "retention_time": TIMES,
        "max_retry_count": st.integers(-1, 1),
    },
    "retry_policy": {
        "initial_backoff": TIMES,
        "max_backoff": TIMES,
        "multiplier": st.sampled_from([1.0, 2.0]),
        "retryable_codes": st.lists(st.integers(1, 3), max_size=2),
    },
    "failure_policy": {
        "max_failed_records": st.integers(0, 1),
        "max_failed_ratio": st.sampled_from([0.0, 0.5]),
    },
}
CONFIGURATIONS = st.fixed_dictionaries(
    {"handler": st.sampled_from(["echo", "other"])},
    optional={
        "display_name": st.sampled_from(["", "x"]),
        "labels": st.dictionaries(st.sampled_from("ab"), st.sampled_from("12")),
        "priority": st.integers(0, 1),
        "parallel_count": st.integers(1, 2),
        "archived": st.booleans(),
        "parameters": st.builds(lambda text: {"text": text}, st.sampled_from(["1", "2" * 10])),
        **{part: st.fixed_dictionaries({}, optional=fields) for part, fields in PARTS.items()},
    },
)
SOME_LEAVES = st.sets(st.sampled_from(sorted(LEAVES))).map(frozenset)


def of(chosen: dict[str, Any]) -> Task:
    """A task with this configuration."""
    read = configuration.read(BatchTaskInfo(**chosen))
    task = make.new_task("t").task
    fixed = configuration.fixed_info(name=str(task.name), uid=task.uid, create_us=task.create_us, configuration=read)
    return replace(task, fixed=fixed, parameters=read.parameters, handler=read.handler, settings=read.settings)


def patch(chosen: dict[str, Any], *paths: str) -> update.Patch:
    return update.read(UpdateBatchTaskRequest(batch_task=BatchTaskInfo(**chosen), update_mask=FieldMask(paths=paths)))


def value(info: BatchTaskInfo, leaf: str) -> Any:
    """A leaf; None if it is not set. Written apart from the code that is tested."""
    *parts, name = leaf.split(".")
    for part in parts:
        info = getattr(info, part)
    field = info.DESCRIPTOR.fields_by_name[name]
    found = getattr(info, name)
    if field.has_presence:
        return found if info.HasField(name) else None  # pyright: ignore[reportArgumentType] - a name of its own
    if field.is_repeated:
        return (dict(found) if hasattr(found, "keys") else list(found)) or None
    return found or None


@given(CONFIGURATIONS, CONFIGURATIONS, SOME_LEAVES)
def test_the_leaves_of_the_mask_are_as_in_the_patch_and_the_others_as_before(
    before: dict[str, Any], after: dict[str, Any], leaves: frozenset[str]
) -> None:
    task, asked = of(before), patch(after, *(leaves or {"etag"}))
    assert asked.leaves == leaves
    done = update.apply(asked, leaves, task)
    found, old, new = BatchTaskInfo.FromString(done.fixed), BatchTaskInfo(**before), BatchTaskInfo(**after)
    for leaf in LEAVES:
        assert value(found, leaf) == value(new if leaf in leaves else old, leaf)
    assert done.differs == {leaf for leaf in leaves if value(old, leaf) != value(new, leaf)}
    assert (found.name, found.uid, found.create_time) == (
        str(task.name), task.uid, BatchTaskInfo.FromString(task.fixed).create_time,
    )  # fmt: skip
    again = of({field.name: each for field, each in found.ListFields() if field.name not in ("name", "uid")})
    assert done.configuration.settings == again.settings
    assert (done.configuration.handler, done.configuration.parameters) == (again.handler, again.parameters)
    changed = replace(task, fixed=done.fixed, parameters=done.configuration.parameters)
    assert update.apply(asked, leaves, changed).differs == frozenset()


@given(CONFIGURATIONS)
def test_without_a_mask_the_leaves_are_those_that_are_set(chosen: dict[str, Any]) -> None:
    info = BatchTaskInfo(**chosen)
    set_ones = frozenset(leaf for leaf in LEAVES if value(info, leaf) is not None)
    assert patch(chosen).leaves == set_ones
    assert patch(chosen, *set_ones).leaves == set_ones


def test_parameters_that_do_not_differ_keep_their_bytes() -> None:
    task = of({"handler": "echo"})
    parameters = b"\x12\x011\x0a\x01x"  # fields in an order that no serializer chooses
    read = replace(configuration.read(BatchTaskInfo(handler="echo")), parameters=parameters)
    task = replace(
        task,
        parameters=parameters,
        fixed=configuration.fixed_info(name=str(task.name), uid=task.uid, create_us=1_000_000, configuration=read),
    )
    same = {"parameters": {"content_type": "x", "text": "1"}}
    done = update.apply(patch(same | {"priority": 2}), frozenset({"parameters", "priority"}), task)
    assert done.differs == {"priority"}
    assert done.configuration.parameters == parameters
    assert done.fixed.endswith(parameters)


def test_a_star_stands_for_nothing_by_itself() -> None:
    asked = patch({"handler": "echo", "priority": 3}, "*")
    assert asked.leaves is None
    assert asked.handler == "echo"
    assert update.apply(asked, {"priority"}, of({"handler": "other"})).configuration.handler == "other"


def test_values_that_the_mask_does_not_name_are_not_looked_at() -> None:
    wrong = {"handler": "no id", "priority": 5_000, "labels": {"": ""}, "constraints": {"max_retry_count": -5}}
    assert patch(wrong, "display_name").leaves == {"display_name"}
    for path in ("handler", "priority", "labels", "constraints", "constraints.max_retry_count", "*"):
        with pytest.raises(InvalidArgument):
            patch(wrong, path)
