"""Who watches all projects from the beginning, over every end of a server: is each change told, once, in order?

What is told is held against the states that the tasks of the model passed. Counts may lag and are not looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.operation_status_pb2 import OperationStatus
from tests.property.life import Task
from tests.property.model import Model
from tests.property.parts import Violation
from tests.property.world import Following, World

SILENT_SECONDS = 1.0
"""After so long everything that was committed has been told."""


class Watchers:
    """One of each project, and one of all its tasks but one; cut with every server, and resumed with its last token."""

    def __init__(self, world: World, model: Model, projects: tuple[str, ...]) -> None:
        self._parts = [_Watchers(world, model, projects, without) for without in ("", "a")]

    def resume(self) -> None:
        """Another server has begun."""
        for part in self._parts:
            part.resume()

    def hear(self) -> None:
        """Take in what was told; also what a server that is gone had still said."""
        for part in self._parts:
            part.hear()

    def check(self, *, everything: bool = False) -> None:
        """What was told are the first of the states that there were; with `everything` all of them."""
        for part in self._parts:
            part.check(everything=everything)


class _Watchers:
    """Of tasks with other ids than `without`."""

    def __init__(self, world: World, model: Model, projects: tuple[str, ...], without: str) -> None:
        self._world = world
        self._model = model
        self._without = without
        self._calls: dict[str, Following] = {}
        self._tokens = dict.fromkeys(projects, "")
        self._told: defaultdict[str, list[list[str]]] = defaultdict(lambda: [[]])  # by name, one list a task of it
        self.resume()

    def resume(self) -> None:
        """Another server has begun."""
        for project, token in self._tokens.items():
            request = service.WatchBatchTasksRequest(parent=f"projects/{project}", resume_token=token)
            request.filter = f'id != "{self._without}"' if self._without else ""
            self._calls[project] = self._world.follow("WatchBatchTasks", request)

    def hear(self) -> None:
        """Take in what was told; also what a server that is gone had still said."""
        for project, call in self._calls.items():
            for message in map(OperationStatus.FromString, call.take()):
                if not message.resume_token:
                    raise Violation(f"no token: {message}")
                self._tokens[project] = message.resume_token
                lives = self._told[message.batch_task]
                if message.deleted:
                    lives.append([])
                elif message.state:
                    state = BatchTaskInfo.State.Name(message.state)
                    if lives[-1][-1:] != [state]:
                        lives[-1].append(state)

    def check(self, *, everything: bool = False) -> None:
        """What was told are the first of the states that there were; with `everything` all of them."""
        self.hear()
        passed: defaultdict[str, list[list[str]]] = defaultdict(list)
        for task in (*self._model.graves, *self._model.tasks.values()):
            if task.project in self._tokens and task.task_id != self._without:
                passed[task.name].append(list(_states(task)))
        for name, lives in self._told.items():
            told = [states for states in lives if states]
            known = passed[name]
            wrong = len(told) > len(known) or any(
                states != all_of_it[: len(states)] for states, all_of_it in zip(told, known, strict=False)
            )
            if wrong or (everything and name and told != known):
                raise Violation(f"of {name} was told {told}, and it went through {known}")
        if everything and (missed := passed.keys() - self._told.keys()):
            raise Violation(f"of {missed} nothing was told")


def _states(task: Task) -> Iterator[str]:
    """The states of a task, from its first one on."""
    yield task.passed[0][0] if task.passed else task.state
    for _, state, _ in task.passed:
        yield state
