"""Every verb, asked of the server and of the model."""

from __future__ import annotations

import itertools
import pathlib
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from google.longrunning import operations_pb2 as lro
from google.protobuf.empty_pb2 import Empty
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from batchyard.v1 import batch_task_service_pb2 as service
from tests.property import asked, judge
from tests.property.life import Task
from tests.property.model import Call, Model
from tests.property.session import PROJECTS, Session
from tests.property.workers import ModelWorker
from tests.property.world import HANDLERS, LIFETIME, World

SMALL = st.integers(0, 7)
NOBODY = 7
YES = st.booleans()
CONFIG = st.sampled_from(asked.CONFIGS)


@dataclass(frozen=True)
class Played:
    """How often: each rule, and each change of a task's state (from, to, stop_reason)."""

    rules: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, other: Played) -> None:
        """Count these too."""
        self.rules.update(other.rules)
        self.transitions.update(other.transitions)


class Verbs(RuleBasedStateMachine):
    """One sequence: how it begins and ends, what holds after each step, and how each verb is asked for.

    Attributes:
        folder, template: set by who runs it.
        world_kind: what makes its world.
        played: what all sequences came to.
    """

    world_kind: Callable[..., Any] = World
    folder: pathlib.Path
    template: pathlib.Path
    played: Played
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
            given = [("", str(next(self.texts))) for _ in range(records)]
            self.do("create", "p", "", self.suited(config), given, start)

    @invariant()
    def holds(self) -> None:
        self.session.check()
        self.session.tick()
        self.played.rules["steps"] += 1

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        try:
            if sys.exc_info()[0] is None:
                self.session.finish()
                self.played.rules["sequences"] += 1
                for task in (*self.model.tasks.values(), *self.model.graves):
                    self.played.transitions.update(task.passed)
        finally:
            self.world.close()

    def suits(self, _config: dict[str, Any]) -> bool:
        """Whether this world can play a task with such a configuration."""
        return True

    def suited(self, config: dict[str, Any]) -> dict[str, Any]:
        """The configuration, or a plain one."""
        return config if self.suits(config) else asked.PLAIN

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
        self.played.rules[verb] += 1
        call = Call(asked.request_id(number), (verb, repr(arguments)))
        getattr(self, f"_{verb}")(call, *arguments)
        self.session.sync()

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

    def do_many(self, project: str, creates: list[tuple[Any, ...]], *, request: bool) -> None:
        """Create tasks in one call; those with a request_id may be repeated later, alone."""
        self.played.rules["create many"] += 1
        asked_for: list[tuple[service.CreateBatchTaskRequest, Callable[[], tuple[Task, bool]]]] = []
        for arguments in creates:
            number = next(self.requests) if request else 0
            if number:
                self.calls.append(("create", (project, *arguments), number))
            call = Call(asked.request_id(number), ("create", repr((project, *arguments))))
            act = partial(self.model.create, call, project, *arguments[:-1], start=arguments[-1])
            asked_for.append((asked.create(project, *arguments, call.request), act))
        self.session.create_many(project, asked_for)

    def _start(self, call: Call, name: str, etag: str) -> None:
        request = service.StartBatchTaskRequest(name=name, etag=etag, request_id=call.request)
        operation, task = self.session.ask(
            "StartBatchTask", request, lro.Operation, lambda: self.model.start(call, name, etag)
        )
        if operation is not None:
            self.session.check_answer(operation, task)

    def _pause(self, call: Call, name: str, etag: str) -> None:
        request = service.PauseBatchTaskRequest(name=name, etag=etag, request_id=call.request)
        self.session.change("PauseBatchTask", request, lambda: self.model.pause(call, name, etag))

    def _resume(self, call: Call, name: str, etag: str) -> None:
        request = service.ResumeBatchTaskRequest(name=name, etag=etag, request_id=call.request)
        self.session.change("ResumeBatchTask", request, lambda: self.model.resume(call, name, etag))

    def _cancel(self, call: Call, name: str, etag: str) -> None:
        request = service.CancelBatchTaskRequest(name=name, etag=etag, request_id=call.request)
        self.session.change("CancelBatchTask", request, lambda: self.model.cancel(call, name, etag))

    def cancel_many(self, who: int) -> None:
        """All tasks that are in the state of this one, in its project; counted before."""
        task = self.task(who)
        if task is None:
            return
        self.played.rules["cancel many"] += 1
        project, state = task.project, task.state
        request = service.CancelBatchTasksRequest(
            parent=f"projects/{project}", filter=f"state={state}", validate_only=True
        )
        counted = service.CancelBatchTasksResponse.FromString(self.world.read("CancelBatchTasks", request))
        request.validate_only = False
        act = lambda: self.model.cancel_many(project, state)  # noqa: E731
        answer, stopped = self.session.ask("CancelBatchTasks", request, service.CancelBatchTasksResponse, act)
        judge.same("cancelled", answer, counted)
        judge.same("cancelled", list(counted.batch_tasks), [each.name for each in stopped])
        judge.same("cancelled", counted.cancelled_count, len(stopped))
        self.session.sync()

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

    def _update(self, call: Call, name: str, etag: str, given: dict[str, Any], mask: list[str] | None) -> None:
        request = asked.update(name, etag, given, mask, call.request)
        self.session.change("UpdateBatchTask", request, lambda: self.model.update(call, name, etag, given, mask))

    def _delete(self, call: Call, name: str, etag: str, force: bool, allow_missing: bool) -> None:
        request = service.DeleteBatchTaskRequest(
            name=name, etag=etag, request_id=call.request, force=force, allow_missing=allow_missing
        )
        act = lambda: self.model.delete(call, name, etag, force=force, allow_missing=allow_missing)  # noqa: E731
        self.session.ask("DeleteBatchTask", request, Empty, act)

    def _cancel_operation(self, _call: Call, name: str) -> None:
        request = lro.CancelOperationRequest(name=name)
        self.session.ask("CancelOperation", request, Empty, lambda: self.model.cancel_operation(name))

    def _delete_operation(self, _call: Call, name: str) -> None:
        request = lro.DeleteOperationRequest(name=name)
        self.session.ask("DeleteOperation", request, Empty, lambda: self.model.delete_operation(name))
