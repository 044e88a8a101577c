"""The table of states: what the wire calls them, what every event does in each, and that no end is ever left."""

from __future__ import annotations

import pytest

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.record_pb2 import RecordInfo
from batchyard.v1.subtask_pb2 import Subtask
from batchyard_server.model.errors import FailedPrecondition, Reason
from batchyard_server.model.record import Order, View
from batchyard_server.model.states import (
    FINAL,
    LIVE,
    TRANSITIONS,
    Event,
    RecordState,
    StopReason,
    SubtaskState,
    TaskState,
    WaitingReason,
    after,
)


@pytest.mark.parametrize(
    ("ours", "wire"),
    [
        (TaskState, BatchTaskInfo.State),
        (StopReason, BatchTaskInfo.StopReason),
        (WaitingReason, BatchTaskInfo.WaitingReason),
        (RecordState, RecordInfo.State),
        (SubtaskState, Subtask.State),
        (View, RecordInfo.View),
        (Order, RecordInfo.Order),
    ],
)
def test_names_and_numbers_are_those_of_the_wire(ours: type, wire: object) -> None:
    known = {name: number for name, number in wire.items() if number}  # type: ignore[attr-defined]
    assert {each.name: each.value for each in ours if each.value} == known  # type: ignore[attr-defined]


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("event", Event)
def test_every_pair_leads_somewhere_or_is_refused_with_its_reason(state: TaskState, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert after(state, event) is TRANSITIONS[state, event]
        return
    with pytest.raises(FailedPrecondition) as caught:
        after(state, event)
    assert caught.value.reason is (Reason.TASK_COMPLETED if state.is_final else Reason.ILLEGAL_STATE)
    assert caught.value.metadata == {"state": state.name, "verb": event.value}


def test_nothing_but_the_next_generation_leads_out_of_a_final_state() -> None:
    for (before, event), to in TRANSITIONS.items():
        if before in FINAL:
            assert to is (TaskState.QUEUED if event is Event.REACTIVATE else before)


def test_every_state_but_the_first_is_reached_and_every_live_one_ends() -> None:
    reached = {TaskState.DRAFT}
    while more := {to for (before, _), to in TRANSITIONS.items() if before in reached} - reached:
        reached |= more
    assert reached == set(TaskState)
    for start in LIVE:
        ends = {start}
        while more := {to for (before, _), to in TRANSITIONS.items() if before in ends} - ends:
            ends |= more
        assert ends & FINAL


def test_an_acknowledged_cancel_never_ends_in_success() -> None:
    assert {to for (before, _), to in TRANSITIONS.items() if before is TaskState.CANCELLING} == {
        TaskState.CANCELLING,
        TaskState.CANCELLED,
        TaskState.FAILED,
    }


@pytest.mark.parametrize("state", [TaskState.DRAFT, TaskState.PAUSED])
def test_nothing_is_leased_and_nothing_ends_by_itself_where_nothing_runs(state: TaskState) -> None:
    events = {event for before, event in TRANSITIONS if before is state}
    assert not events & {Event.LEASE, Event.ALL_FAILED, Event.ALL_SUCCEEDED_OR_SOME_FAILED, Event.NOTHING_RUNS}


@pytest.mark.parametrize("state", TaskState)
def test_what_may_start_records_may_be_paused(state: TaskState) -> None:
    assert state.may_start_records == ((state, Event.LEASE) in TRANSITIONS)
    assert not state.may_start_records or (state, Event.PAUSE) in TRANSITIONS
