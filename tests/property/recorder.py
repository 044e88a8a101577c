"""What happened between the server and its workers? Listens at both ends of the dispatcher, and passes all on."""

from __future__ import annotations

from collections import Counter
from typing import Any

from batchyard_server.dispatch.protocols import Loss, Subtask
from batchyard_server.execution.local import LocalExecutor
from batchyard_server.model import ranges as rg
from batchyard_server.model.task import Flush, Lease, Task
from tests.property.events import Begun, Ended, Event, GaveBack, Granted, Lost, Over, Result, Stored
from tests.property.workers import ModelWorker


def _indexes(ranges: rg.Ranges) -> list[int]:
    return [index for start, end in ranges for index in range(start, end)]


class Recorder:
    """Collects events. Is the dispatcher's store, and the `Reports` of its executor."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.store: Any = None
        self.reports: Any = None
        self.executor: LocalExecutor | None = None
        self._leases: dict[Lease, int] = {}
        self._early: dict[Lease, list[Any]] = {}  # what was said of those whose grant is on its way
        self._numbers = 0
        self._writing: Counter[Subtask] = Counter()  # flushes of it that are not stored yet
        self._after: dict[Subtask, list[Event]] = {}  # what is to be told then

    def take(self) -> list[Event]:
        """What happened since the last call."""
        events, self.events = self.events, []
        return events

    # -- the store ------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def grant(self, lease: Lease) -> Task:
        """See LeaseStore.grant."""
        early = self._early[lease] = list[Any]()
        try:
            task = await self.store.grant(lease)
        finally:
            del self._early[lease]
        self._numbers += 1
        number = self._leases[lease] = self._numbers
        indexes = _indexes(lease.ranges)
        self.events.append(Granted(number, task.uid, lease.generation, indexes, lease.epoch, lease.worker))
        self._tell(number, early)
        return task

    # -- the reports ----------------------------------------------------------------------------------------------

    def outcomes(self, subtask: Subtask, flush: Flush, *, last: bool, ack: Any, **more: Any) -> None:
        """See Reports.outcomes."""
        indexes = _indexes(flush.ranges)
        self._writing[subtask] += 1

        def stored() -> None:
            ack()
            self._note(subtask, [Stored(0, indexes), Over(0)] if last else [Stored(0, indexes)])
            self._writing[subtask] -= 1
            if not self._writing[subtask]:
                del self._writing[subtask]
                self._note(subtask, self._after.pop(subtask, []))

        self.reports.outcomes(subtask, flush, last=last, ack=stored, **more)

    def runs(self, subtask: Subtask, ran_ns: int) -> None:
        """See Reports.runs."""
        self.reports.runs(subtask, ran_ns)

    def returned(self, subtask: Subtask) -> None:
        """See Reports.returned."""
        self._note(subtask, [Over(0)])
        self.reports.returned(subtask)

    def trimmed(self, subtask: Subtask, ranges: rg.Ranges) -> None:
        """See Reports.trimmed."""
        self._note(subtask, [GaveBack(0, _indexes(ranges))])
        self.reports.trimmed(subtask, ranges)

    def lost(self, subtask: Subtask, loss: Loss) -> None:
        """See Reports.lost."""
        event = Lost(0, loss.cause.name, loss.index, bool(loss.unreaped))
        if self._writing[subtask]:
            self._after[subtask] = [event]
        else:
            self._note(subtask, [event])
        self.reports.lost(subtask, loss)

    def capacity(self) -> None:
        """See Reports.capacity."""
        self.reports.capacity()

    # -- the workers ----------------------------------------------------------------------------------------------

    def listen(self, worker: ModelWorker) -> None:
        """Hear of its records."""

        def begun(_name: str, index: int, attempt: int) -> None:
            assert worker.current is not None
            self.note_begun(self._subtask(worker, worker.current.lease), index, attempt)

        def ended(number: int, index: int, result: Result) -> None:
            self.note_ended(self._subtask(worker, number), index, result)

        worker.begun, worker.ended = begun, ended

    def note_begun(self, subtask: Subtask, index: int, attempt: int) -> None:
        """A record begins; what it has then is a lease, or one that is on its way."""
        assert subtask.lease in self._leases or subtask.lease in self._early, "a record begins without a lease"
        self._note(subtask, [Begun(0, index, attempt)])

    def note_ended(self, subtask: Subtask, index: int, result: Result) -> None:
        """A record has ended."""
        self._note(subtask, [Ended(0, index, result)])

    def _subtask(self, worker: ModelWorker, number: int) -> Subtask:
        assert self.executor is not None
        (slot,) = (each for each in self.executor._slots if each._worker is worker)
        return slot._in_flight[number]

    def _note(self, subtask: Subtask, events: list[Any]) -> None:
        """Only of leases that are granted: what is said of others changes nothing."""
        number = self._leases.get(subtask.lease)
        if number is not None:
            self._tell(number, events)
        elif subtask.lease in self._early:
            self._early[subtask.lease] += events

    def _tell(self, number: int, events: list[Any]) -> None:
        self.events += [event._replace(lease=number) for event in events]
