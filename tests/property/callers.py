"""What callers do in a random sequence of steps: every verb, right and wrong, said once and said again.

There are few rules, since hypothesis leaves half of them out of each sequence.
"""

from __future__ import annotations

from typing import Any

from google.longrunning import operations_pb2 as lro
from google.protobuf.duration_pb2 import Duration
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.property import asked, judge, readings
from tests.property.session import PROJECTS
from tests.property.verbs import CONFIG, SMALL, YES, Verbs

MOST_TASKS = 6
ETAG = st.sampled_from((0, 0, 0, 0, 1, 2))
CONTROLS = ("start", "pause", "pause", "resume", "resume", "cancel", "reactivate", "reactivate all")
OPERATIONS = ("cancel", "cancel many", "delete", "wait", "wait long")
READINGS = ("records", "record", "lists")


def has_tasks(machine: Verbs) -> bool:
    """Else nothing could be done to any."""
    return bool(machine.model.tasks)


class Callers(Verbs):
    """One sequence, as far as its callers go."""

    @precondition(lambda self: len(self.model.tasks) < MOST_TASKS)
    @rule(
        project=st.sampled_from((*PROJECTS[:1] * 3, PROJECTS[1])),
        task_id=st.sampled_from(asked.IDS),
        config=CONFIG,
        records=st.integers(0, 5),
        start=st.sampled_from((True, True, False)),
        ids=st.sampled_from((0, 1, 1, 1, 2)),
        request=YES,
    )
    def create(
        self, project: str, task_id: str, config: dict[str, Any], records: int, start: bool, ids: int, request: bool
    ) -> None:
        """`ids`: no record_ids, different ones, or perhaps some that are equal."""
        given = [
            ("" if not ids else f"r{index}" if ids == 1 else f"r{index % 4}", str(next(self.texts)))
            for index in range(records)
        ]
        self.do("create", project, task_id, self.suited(config), given, start, request=request)

    @precondition(lambda self: len(self.model.tasks) < MOST_TASKS - 2)
    @rule(config=CONFIG, ids=st.sampled_from(asked.IDS_OF_MANY), records=st.integers(0, 2), request=YES)
    def create_many(self, config: dict[str, Any], ids: tuple[str, ...], records: int, request: bool) -> None:
        """In one call, every other one a draft."""
        suited = self.suited(config)
        creates = [
            (task_id, suited, [("", str(next(self.texts))) for _ in range(records)], number % 2 == 0)
            for number, task_id in enumerate(ids)
        ]
        self.do_many("p", creates, request=request)

    @precondition(has_tasks)
    @rule(who=SMALL, records=st.integers(0, 3), gap=st.integers(-1, 1), ids=YES)
    def fill(self, who: int, records: int, gap: int, ids: bool) -> None:
        task = self.task(who)
        first = max(len(task.records) + gap, 0) if task is not None else 0
        given = [(f"r{first + at}" if ids else "", str(next(self.texts))) for at in range(records)]
        self.played.rules["append"] += 1
        self.session.append(self.name(who), first, given)

    @precondition(has_tasks)
    @rule(verb=st.sampled_from(CONTROLS), who=SMALL, etag=ETAG, request=YES)
    def control(self, verb: str, who: int, etag: int, request: bool) -> None:
        name, tag = self.name(who), asked.etag(self.task(who), etag)
        if verb.startswith("reactivate"):
            self.do("reactivate", name, tag, verb.endswith("all"), request=request)
        else:
            self.do(verb, name, tag, request=request)

    @precondition(has_tasks)
    @rule(verbs=st.lists(st.sampled_from(CONTROLS), min_size=2, max_size=4), who=SMALL)
    def control_on(self, verbs: list[str], who: int) -> None:
        """One after the other, with the same task."""
        for verb in verbs:
            self.control(verb, who, 0, request=False)
            self.session.check()

    @precondition(has_tasks)
    @rule(who=SMALL, what=st.sampled_from(asked.UPDATES), etag=ETAG, request=YES)
    def update(self, who: int, what: tuple[dict[str, Any], list[str] | None], etag: int, request: bool) -> None:
        if self.suits(what[0]):
            self.do("update", self.name(who), asked.etag(self.task(who), etag), *what, request=request)

    @precondition(has_tasks)
    @rule(who=SMALL, etag=ETAG, request=YES, force=YES, missing=YES)
    def delete(self, who: int, etag: int, request: bool, force: bool, missing: bool) -> None:
        self.do("delete", self.name(who), asked.etag(self.task(who), etag), force, missing, request=request)

    @precondition(has_tasks)
    @rule(verb=st.sampled_from(OPERATIONS), who=SMALL, which=SMALL)
    def operate(self, verb: str, who: int, which: int) -> None:
        if verb == "wait":
            self.wait(self.operation(who, which))
        elif verb == "wait long":
            self.wait_long(who)
        elif verb == "cancel many":
            self.cancel_many(who)
        else:
            self.do(f"{verb}_operation", self.operation(who, which))

    @precondition(lambda self: self.calls)
    @rule(which=SMALL, who=SMALL, same=YES)
    def say_again(self, which: int, who: int, same: bool) -> None:
        """A call is made once more, or another one with its request_id; `which`: 0 is the newest."""
        verb, arguments, number = self.calls[-1 - which % len(self.calls)]
        self.played.rules["repeat" if same else "reuse"] += 1
        self.redo(*((verb, arguments) if same else ("cancel", (self.name(who), ""))), number)

    @precondition(has_tasks)
    @rule(
        what=st.sampled_from(READINGS),
        who=SMALL,
        number=st.integers(-1, 3),
        at=st.integers(0, 4),
        completion=YES,
        size=st.integers(1, 4),
    )
    def read(self, what: str, who: int, number: int, at: int, completion: bool, size: int) -> None:
        """Of a generation, or the record at an index; pages of a size."""
        self.played.rules[what] += 1
        if what == "records":
            readings.records(self.world, self.model, self.name(who), number, completion=completion, size=size)
        elif what == "record":
            readings.record(self.world, self.model, self.name(who), at, max(number, 0), size)
        else:
            readings.lists(self.world, self.model, PROJECTS[number % 2], size)

    def wait(self, name: str) -> None:
        """Ask for an operation, and wait no time."""
        self.played.rules["wait"] += 1
        request = lro.WaitOperationRequest(name=name, timeout=Duration())
        answer, _ = self.session.ask("WaitOperation", request, lro.Operation, lambda: self.model.operation(name))
        if answer is not None:
            now = self.world.read("GetOperation", lro.GetOperationRequest(name=name))
            judge.same("wait", answer, lro.Operation.FromString(now))

    def wait_long(self, who: int) -> None:
        """Somebody begins to wait for a task that has not ended."""
        task = self.task(who)
        if task is not None and not task.deleted and not task.is_final:
            self.played.rules["wait_long"] += 1
            self.session.waiters.add(task.generation.operation)
            self.session.sync()
