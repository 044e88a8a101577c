"""Callers of WaitOperation that wait for long: are they told as soon as there is something to tell, and not before?"""

from __future__ import annotations

from dataclasses import dataclass

from google.longrunning import operations_pb2 as lro
from google.protobuf.duration_pb2 import Duration

from tests.property import judge
from tests.property.life import Task
from tests.property.model import Model
from tests.property.parts import Generation, Violation
from tests.property.refusals import missing
from tests.property.world import Pending, Refused, World

SECONDS = 20


@dataclass(frozen=True)
class _Waiter:
    task: Task
    generation: Generation
    until: int
    call: Pending


class Waiters:
    """All that wait now."""

    def __init__(self, world: World, model: Model) -> None:
        self._world = world
        self._model = model
        self._waiting: list[_Waiter] = []

    def add(self, name: str) -> None:
        """Wait for an operation that is there and not done."""
        task, generation = self._model.operation(name)
        request = lro.WaitOperationRequest(name=name, timeout=Duration(seconds=SECONDS))
        call = self._world.begin("WaitOperation", request)
        self._waiting.append(_Waiter(task, generation, self._model.now + SECONDS * 1_000_000, call))

    def check(self) -> None:
        """Who has something to hear has heard it, and nobody else."""
        left: list[_Waiter] = []
        for waiter in self._waiting:
            late = self._model.now >= waiter.until
            if waiter.call.is_answered != bool(waiter.generation.state or waiter.task.deleted or late):
                raise Violation(f"a waiter was told something: {waiter.call.is_answered}; late: {late}; {waiter}")
            if waiter.call.is_answered:
                self._check_answer(waiter, late=late)
            else:
                left.append(waiter)
        self._waiting = left

    def _check_answer(self, waiter: _Waiter, *, late: bool) -> None:
        name, generation = waiter.generation.operation, waiter.generation
        try:
            operation = lro.Operation.FromString(waiter.call.answer())
        except Refused as error:
            if not waiter.task.deleted:
                raise Violation(f"a waiter is refused: {error}") from None
            judge.refused(error.status, missing(name))
            return
        # What is deleted as soon as it has ended, may be seen for that moment.
        if operation.name != name or not (operation.done or late) or (operation.done and not generation.state):
            raise Violation(f"a waiter for {generation} is told {operation}")
        if operation.done and not generation.forgotten and not waiter.task.deleted:
            now = self._world.read("GetOperation", lro.GetOperationRequest(name=name))
            judge.same("waiter", operation, lro.Operation.FromString(now))

    def drained(self) -> None:
        """The server ends in order: everybody is answered."""
        for waiter in self._waiting:
            operation = lro.Operation.FromString(waiter.call.answer())
            judge.same("waiter", operation.name, waiter.generation.operation)
        self._waiting.clear()

    def killed(self) -> None:
        """The server is gone, and with it whoever waited."""
        self._waiting.clear()
