"""What callers do in a random sequence of steps: every verb, right and wrong, said once and said again."""

from __future__ import annotations

import itertools
import pathlib
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

from google.longrunning import operations_pb2 as lro
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchyard.v1 import batch_task_service_pb2 as service
from tests.property import asked, judge, readings
from tests.property.life import Task
from tests.property.model import Call, Model
from tests.property.session import PROJECTS, Session
from tests.property.workers import ModelWorker
from tests.property.world import HANDLERS, LIFETIME, World

MOST_TASKS = 6
SMALL = st.integers(0, 7)
NOBODY = 7
ETAG = st.sampled_from((0, 0, 0, 0, 1, 2))
YES = st.booleans()
CONFIG = st.sampled_from(asked.CONFIGS)


def has_tasks(machine: Callers) -> bool:
    """Else nothing could be done to any."""
    return bool(machine.model.tasks)


class Callers(RuleBasedStateMachine):
    """One sequence, as far as its callers go.

    Attributes:
        folder, template: set by who runs it.
        world_kind: what makes its world.
        counts: how often each rule was played, by all.
        transitions: how often a task went from one state to another, with the stop_reason.
    """

    world_kind: Callable[..., Any] = World
    folder: pathlib.Path
    template: pathlib.Path
    counts: ClassVar[Counter[str]] = Counter()
    transitions: ClassVar[Counter[tuple[str, str, str]]] = Counter()
    _sequences = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[Any, ...], int]] = []  # verb, arguments and number of its request_id
        self.requests = itertools.count(1)
        self.texts = itertools.count(1)  # of records: all of them differ
        self.session: Session

    @initialize(
        slots=st.integers(1, 3), tasks=st.lists(st.tuples(CONFIG, st.integers(1, 4), YES), min_size=1, max_size=3)
    )
    def begin(self, slots: int, tasks: list[tuple[dict[str, Any], int, bool]]) -> None:
        folder = self.folder / f"sequence-{next(self._sequences)}"
        self.world = self.world_kind(folder, self.template, slots=slots)
        self.model = Model(HANDLERS, LIFETIME)
        self.session = Session(self.world, self.model)
        for config, records, start in tasks:
            self.create("p", "", config, records, start, 0, request=False)

    @invariant()
    def holds(self) -> None:
        self.session.check()
        self.session.tick()

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        try:
            if sys.exc_info()[0] is None:
                self.session.finish()
                self.counts["sequences"] += 1
                for task in (*self.model.tasks.values(), *self.model.graves):
                    self.transitions.update(task.passed)
        finally:
            self.world.close()

    def suits(self, _config: dict[str, Any]) -> bool:
        """Whether this world can play a task with such a configuration."""
        return True

    # -- choosing -------------------------------------------------------------------------------------------------

    def task(self, who: int) -> Task | None:
        """One of the tasks, the newest first; the one that was deleted last, or none, for NOBODY."""
        found = list(self.model.tasks.values())
        if who == NOBODY or not found:
            return self.model.graves[-1] if self.model.graves else None
        return found[-1 - who % len(found)]

    def name(self, who: int) -> str:
        """Its name; if there is none, one that nobody has."""
        task = self.task(who)
        return task.name if task is not None else "projects/p/batchTasks/nobody"

    def operation(self, who: int, which: int) -> str:
        """The name of one of its operations, the newest first."""
        task = self.task(who)
        if task is None:
            return "projects/p/operations/nobody"
        return task.generations[-1 - which % len(task.generations)].operation

    def worker(self, who: int) -> ModelWorker | None:
        """One of the workers, the oldest first."""
        workers = self.world.workers
        return workers[who % len(workers)] if workers else None

    # -- calls that change something ------------------------------------------------------------------------------

    def do(self, verb: str, *arguments: Any, request: bool = False) -> None:
        """Make a call; with a request_id it may be repeated later."""
        number = next(self.requests) if request else 0
        if number:
            self.calls.append((verb, arguments, number))
        self.redo(verb, arguments, number)

    def redo(self, verb: str, arguments: tuple[Any, ...], number: int) -> None:
        if not all(self.model.is_known_for_sure(project, asked.request_id(number)) for project in PROJECTS):
            return
        self.counts[verb] += 1
        call = Call(asked.request_id(number), (verb, repr(arguments)))
        getattr(self, f"_{verb}")(call, *arguments)
        self.session.sync()

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
        if not self.suits(config):
            config = asked.PLAIN
        given = [
            ("" if not ids else f"r{index}" if ids == 1 else f"r{index % 4}", str(next(self.texts)))
            for index in range(records)
        ]
        self.do("create", project, task_id, config, given, start, request=request)

    def _create(
        self, call: Call, project: str, task_id: str, config: dict[str, Any], records: list[Any], start: bool
    ) -> None:
        operation, made = self.session.ask(
            "CreateBatchTask",
            asked.create(project, task_id, config, records, start, call.request),
            lro.Operation,
            lambda: self.model.create(call, project, task_id, config, records, start=start),
        )
        if operation is None:
            return
        task, is_new = made
        if is_new:
            self.session.learn(task, operation)
        self.session.check_answer(operation, task)

    @precondition(has_tasks)
    @rule(who=SMALL, records=st.integers(0, 3), gap=st.integers(-1, 1), ids=YES)
    def append(self, who: int, records: int, gap: int, ids: bool) -> None:
        task = self.task(who)
        first = max(len(task.records) + gap, 0) if task is not None else 0
        given = [(f"r{first + at}" if ids else "", str(next(self.texts))) for at in range(records)]
        self.counts["append"] += 1
        self.session.append(self.name(who), first, given)

    @precondition(has_tasks)
    @rule(who=SMALL, etag=ETAG, request=YES)
    def start(self, who: int, etag: int, request: bool) -> None:
        self.do("start", self.name(who), asked.etag(self.task(who), etag), request=request)

    def _start(self, call: Call, name: str, etag: str) -> None:
        request = service.StartBatchTaskRequest(name=name, etag=etag, request_id=call.request)
        operation, task = self.session.ask(
            "StartBatchTask", request, lro.Operation, lambda: self.model.start(call, name, etag)
        )
        if operation is not None:
            self.session.check_answer(operation, task)

    @precondition(has_tasks)
    @rule(who=SMALL, etag=ETAG, request=YES)
    def pause(self, who: int, etag: int, request: bool) -> None:
        self.do("pause", self.name(who), asked.etag(self.task(who), etag), request=request)

    def _pause(self, call: Call, name: str, etag: str) -> None:
        request = service.PauseBatchTaskRequest(name=name, etag=etag, request_id=call.request)
        self.session.change("PauseBatchTask", request, lambda: self.model.pause(call, name, etag))

    @precondition(has_tasks)
    @rule(who=SMALL, etag=ETAG, request=YES)
    def resume(self, who: int, etag: int, request: bool) -> None:
        self.do("resume", self.name(who), asked.etag(self.task(who), etag), request=request)

    def _resume(self, call: Call, name: str, etag: str) -> None:
        request = service.ResumeBatchTaskRequest(name=name, etag=etag, request_id=call.request)
        self.session.change("ResumeBatchTask", request, lambda: self.model.resume(call, name, etag))

    @precondition(has_tasks)
    @rule(who=SMALL, etag=ETAG, request=YES)
    def cancel(self, who: int, etag: int, request: bool) -> None:
        self.do("cancel", self.name(who), asked.etag(self.task(who), etag), request=request)

    def _cancel(self, call: Call, name: str, etag: str) -> None:
        request = service.CancelBatchTaskRequest(name=name, etag=etag, request_id=call.request)
        self.session.change("CancelBatchTask", request, lambda: self.model.cancel(call, name, etag))

    @precondition(has_tasks)
    @rule(who=SMALL, everything=YES, etag=ETAG, request=YES)
    def reactivate(self, who: int, everything: bool, etag: int, request: bool) -> None:
        self.do("reactivate", self.name(who), asked.etag(self.task(who), etag), everything, request=request)

    def _reactivate(self, call: Call, name: str, etag: str, everything: bool) -> None:
        request = service.ReactivateBatchTaskRequest(name=name, etag=etag, request_id=call.request)
        if everything:
            request.scope = service.ReactivateBatchTaskRequest.ALL
        operation, made = self.session.ask(
            "ReactivateBatchTask",
            request,
            lro.Operation,
            lambda: self.model.reactivate(call, name, etag, everything=everything),
        )
        if operation is None:
            return
        task, begins = made
        if begins:
            self.session.learn_operation(task, operation)
        self.session.check_answer(operation, task)

    @precondition(has_tasks)
    @rule(who=SMALL, what=st.sampled_from(asked.UPDATES), etag=ETAG, request=YES)
    def update(self, who: int, what: tuple[dict[str, Any], list[str] | None], etag: int, request: bool) -> None:
        if self.suits(what[0]):
            self.do("update", self.name(who), asked.etag(self.task(who), etag), *what, request=request)

    def _update(self, call: Call, name: str, etag: str, given: dict[str, Any], mask: list[str] | None) -> None:
        request = asked.update(name, etag, given, mask, call.request)
        self.session.change("UpdateBatchTask", request, lambda: self.model.update(call, name, etag, given, mask))

    @precondition(has_tasks)
    @rule(who=SMALL, etag=ETAG, request=YES, force=YES, missing=YES)
    def delete(self, who: int, etag: int, request: bool, force: bool, missing: bool) -> None:
        self.do("delete", self.name(who), asked.etag(self.task(who), etag), force, missing, request=request)

    def _delete(self, call: Call, name: str, etag: str, force: bool, allow_missing: bool) -> None:
        request = service.DeleteBatchTaskRequest(
            name=name, etag=etag, request_id=call.request, force=force, allow_missing=allow_missing
        )
        act = lambda: self.model.delete(call, name, etag, force=force, allow_missing=allow_missing)  # noqa: E731
        self.session.ask("DeleteBatchTask", request, Empty, act)

    @precondition(has_tasks)
    @rule(who=SMALL, which=SMALL)
    def cancel_operation(self, who: int, which: int) -> None:
        self.do("cancel_operation", self.operation(who, which))

    def _cancel_operation(self, _call: Call, name: str) -> None:
        request = lro.CancelOperationRequest(name=name)
        self.session.ask("CancelOperation", request, Empty, lambda: self.model.cancel_operation(name))

    @precondition(has_tasks)
    @rule(who=SMALL, which=SMALL)
    def delete_operation(self, who: int, which: int) -> None:
        self.do("delete_operation", self.operation(who, which))

    def _delete_operation(self, _call: Call, name: str) -> None:
        request = lro.DeleteOperationRequest(name=name)
        self.session.ask("DeleteOperation", request, Empty, lambda: self.model.delete_operation(name))

    @precondition(lambda self: self.calls)
    @rule(which=SMALL)
    def repeat(self, which: int) -> None:
        """A call is made once more, the newest first; its request_id says so, unless it was refused before."""
        self.counts["repeat"] += 1
        self.redo(*self.calls[-1 - which % len(self.calls)])

    @precondition(lambda self: self.calls)
    @rule(which=SMALL, who=SMALL)
    def reuse(self, which: int, who: int) -> None:
        """Another call comes with a request_id that was used."""
        self.counts["reuse"] += 1
        *_, number = self.calls[-1 - which % len(self.calls)]
        self.redo("cancel", (self.name(who), ""), number)

    # -- calls that read ------------------------------------------------------------------------------------------

    @precondition(has_tasks)
    @rule(who=SMALL, which=SMALL)
    def wait(self, who: int, which: int) -> None:
        self.counts["wait"] += 1
        name = self.operation(who, which)
        request = lro.WaitOperationRequest(name=name, timeout=Duration())
        answer, _ = self.session.ask("WaitOperation", request, lro.Operation, lambda: self.model.operation(name))
        if answer is not None:
            now = self.world.read("GetOperation", lro.GetOperationRequest(name=name))
            judge.same("wait", answer, lro.Operation.FromString(now))

    @precondition(has_tasks)
    @rule(who=SMALL)
    def wait_long(self, who: int) -> None:
        """Somebody begins to wait for a task that has not ended."""
        task = self.task(who)
        if task is not None and not task.deleted and not task.is_final:
            self.counts["wait_long"] += 1
            self.session.waiters.add(task.generation.operation)
            self.session.sync()

    @precondition(has_tasks)
    @rule(who=SMALL, generation=st.integers(-1, 3), completion=YES, size=st.integers(1, 4))
    def records(self, who: int, generation: int, completion: bool, size: int) -> None:
        self.counts["records"] += 1
        readings.records(self.world, self.model, self.name(who), generation, completion=completion, size=size)

    @precondition(has_tasks)
    @rule(who=SMALL, index=st.integers(0, 4), generation=st.integers(0, 2), size=st.integers(1, 4))
    def record(self, who: int, index: int, generation: int, size: int) -> None:
        self.counts["record"] += 1
        readings.record(self.world, self.model, self.name(who), index, generation, size)

    @rule(project=st.sampled_from(PROJECTS), size=st.integers(1, 4))
    def lists(self, project: str, size: int) -> None:
        self.counts["lists"] += 1
        readings.lists(self.world, self.model, project, size)
