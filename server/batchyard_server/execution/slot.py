"""What does one slot do? It holds one worker, feeds it subtasks, and tells dispatch what became of them.

EMPTY ──start──▶ STARTING ──loaded──▶ READY ──kill──▶ ENDING ──reaped──▶ EMPTY (or RETIRED: not reaped)
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from functools import partial

from batchyard_server.dispatch.protocols import Cause, Loss, Reports, Subtask
from batchyard_server.execution import messages
from batchyard_server.execution.cell import Progress
from batchyard_server.execution.worker import Exit, Worker
from batchyard_server.model.clock import Clock
from batchyard_worker.v1 import worker_pb2

log = logging.getLogger(__name__)
ROOM_NS = 30_000_000  # work that may lie ready at a worker: hides the round trip, costs little when it is taken back
MOST_IN_FLIGHT = 16
RESERVATION_NS = 250_000_000  # how long another handler's claim on this slot holds without being renewed
STALLED_NS = 100_000_000  # a record that runs longer than this gives back what waits behind it


class Phase(enum.Enum):
    """Where a slot is in its life."""

    EMPTY = "empty"
    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"
    RETIRED = "retired"


class LocalSlot:
    """One worker at a time, of one handler at a time. Implements `dispatch.protocols.Slot`."""

    def __init__(self, number: int, reports: Reports, clock: Clock) -> None:
        self._number = number
        self._reports = reports
        self._clock = clock
        self.phase = Phase.EMPTY
        self.handler = ""
        self.next_handler = ""  # another handler waits for this slot: nothing more for the present one
        self._claimed_ns = 0
        self.inspected = False  # whether this idle worker was looked at for processes that handlers left
        self.since_ns = 0  # when the present worker became ready
        self.idle_since_ns = 0
        self._worker: Worker | None = None
        self._in_flight: dict[int, Subtask] = {}
        self._unsent: list[tuple[int, Subtask]] = []
        self._dropping: dict[int, bool] = {}  # subtasks that we asked back: number -> kill if touched
        self._reserved = 0
        self._work_ns = 0
        self._unknown = 0
        self._numbers = 0
        self._acked = 0
        self._committed: set[int] = set()
        self._cause = Cause.CRASH
        self._timed_out: Progress | None = None

    # -- what the executor decides by ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """See Slot.name."""
        return f"worker-{self._number}"

    @property
    def load(self) -> int:
        """Subtasks that are here or on their way."""
        return len(self._in_flight) + self._reserved

    @property
    def worker(self) -> Worker | None:
        """The present worker."""
        return self._worker

    def has_room(self, estimate_ns: int | None) -> bool:
        """Whether one more subtask may be sent: always to an idle worker, else only work known to be short."""
        if self.phase not in (Phase.STARTING, Phase.READY) or self._is_claimed():
            return False
        if self.load == 0:
            return True
        if estimate_ns is None or self._unknown or self.load >= MOST_IN_FLIGHT:
            return False
        return self._work_ns < ROOM_NS

    def claim(self, handler: str) -> None:
        """Another handler waits for this slot; to be renewed as long as it does."""
        self.next_handler, self._claimed_ns = handler, self._clock.monotonic_ns()

    def _is_claimed(self) -> bool:
        if self.next_handler and self._clock.monotonic_ns() - self._claimed_ns > RESERVATION_NS:
            self.next_handler = ""
        return bool(self.next_handler)

    def inspect(self) -> None:
        """Exchange an idle worker if handlers left processes behind in it."""
        self.inspected = True
        if self._worker is not None and self._worker.has_strays():
            log.warning("%s: a record of %s left processes behind; they are killed", self.name, self.handler)
            self.kill(Cause.KILLED)

    # -- Slot ---------------------------------------------------------------------------------------------------

    def reserve(self, estimate_ns: int | None) -> None:
        """See Slot.reserve."""
        self._reserved += 1
        self._count(estimate_ns, 1)

    def unreserve(self, estimate_ns: int | None) -> None:
        """See Slot.unreserve."""
        self._reserved -= 1
        self._count(estimate_ns, -1)
        self._settle_down()

    def run(self, subtask: Subtask) -> None:
        """See Slot.run."""
        self._reserved -= 1
        self.inspected = False
        self._numbers += 1
        number = self._numbers
        self._in_flight[number] = subtask
        if self.phase is Phase.READY and self._worker is not None:
            self._worker.send(messages.run(number, subtask))
        elif self.phase is Phase.STARTING:
            self._unsent.append((number, subtask))
        else:  # the worker died while the subtask was prepared
            self._forget(number)
            self._reports.returned(subtask)

    def _count(self, estimate_ns: int | None, sign: int) -> None:
        if estimate_ns is None:
            self._unknown += sign
        else:
            self._work_ns += sign * estimate_ns

    def _forget(self, number: int) -> Subtask:
        subtask = self._in_flight.pop(number)
        self._dropping.pop(number, None)
        self._count(subtask.estimate_ns, -1)
        return subtask

    # -- life of the worker -------------------------------------------------------------------------------------

    def start(
        self, handler: str, make: Callable[[Callable[[worker_pb2.FromWorker], None], Callable[[Exit], None]], Worker]
    ) -> None:
        """Start a worker of this handler in the empty slot."""
        self.phase, self.handler, self.next_handler = Phase.STARTING, handler, ""
        self._cause, self._timed_out, self._acked = Cause.CRASH, None, 0
        self._committed.clear()
        self._worker = make(self._on_message, self._on_exit)

    def kill(self, cause: Cause) -> None:
        """End the worker and everything it started; what it had is reported lost with this cause."""
        if self.phase in (Phase.STARTING, Phase.READY) and self._worker is not None:
            self.phase, self._cause = Phase.ENDING, cause
            self._worker.kill()

    def withdraw(self, subtask: Subtask, *, kill: bool) -> None:
        """See Executor.withdraw."""
        number = next((n for n, each in self._in_flight.items() if each is subtask), None)
        if number is None or self.phase is Phase.ENDING:
            return
        if any(number == waiting for waiting, _ in self._unsent):
            self._unsent = [each for each in self._unsent if each[0] != number]
            self._forget(number)
            self._reports.returned(subtask)
        elif self._worker is not None and number not in self._dropping:
            if kill and self._worker.progress().number == number:
                self.kill(Cause.KILLED)
            else:
                self._dropping[number] = kill
                self._worker.send(messages.drop(number))
        elif kill:
            self._dropping[number] = True

    def running(self) -> tuple[Subtask, int] | None:
        """The record whose handler runs now."""
        if self._worker is None or not self._in_flight:
            return None
        progress = self._worker.progress()
        subtask = self._in_flight.get(progress.number)
        return None if subtask is None or progress.index < 0 else (subtask, progress.index)

    def tick(self, now_ns: int) -> None:
        """Look at the clock: kill a record that passed its time, take back what waits behind a slow one."""
        if self._worker is None or self.phase is not Phase.READY:
            return
        progress = self._worker.progress()
        subtask = self._in_flight.get(progress.number)
        if subtask is None or progress.index < 0:
            return
        ran_ns = now_ns - progress.start_ns
        limit_ns = subtask.task.record_timeout_us * 1000
        if limit_ns and ran_ns > limit_ns and self._worker.progress() == progress:
            self._timed_out = progress
            self.kill(Cause.TIMEOUT)
        elif ran_ns > STALLED_NS and len(self._in_flight) > 1:
            for number in list(self._in_flight):
                if number != progress.number and number not in self._dropping:
                    self._dropping[number] = False
                    self._worker.send(messages.drop(number))

    # -- what the worker says -----------------------------------------------------------------------------------

    def _on_message(self, message: worker_pb2.FromWorker) -> None:
        kind = message.WhichOneof("kind")
        if kind == "outcomes":
            self._on_outcomes(message.outcomes)
        elif kind == "dropped":
            self._on_dropped(message.dropped.lease, message.dropped.untouched)
        elif kind == "loaded" and self._worker is not None:
            self._on_loaded(message.loaded.error)

    def _on_loaded(self, error: str) -> None:
        assert self._worker is not None
        self._worker.on_loaded(error)
        if error:
            self.kill(Cause.KILLED)
            return
        self.phase = Phase.READY
        self.since_ns = self.idle_since_ns = self._clock.monotonic_ns()
        unsent, self._unsent = self._unsent, []
        for number, subtask in unsent:
            self._worker.send(messages.run(number, subtask))
        self._reports.capacity()

    def _on_outcomes(self, outcomes: worker_pb2.Outcomes) -> None:
        subtask = self._in_flight.get(outcomes.lease)
        if subtask is None:
            return
        if outcomes.last:
            self._forget(outcomes.lease)
        self._reports.outcomes(
            subtask,
            messages.flush(outcomes),
            last=outcomes.last,
            work_ns=outcomes.work_nanos,
            ack=partial(self._ack, self._worker, outcomes.flush),
        )
        if outcomes.last:
            self._settle_down()

    def _ack(self, worker: Worker | None, flush: int) -> None:
        if worker is None or worker is not self._worker:
            return
        self._committed.add(flush)
        acked = self._acked
        while acked + 1 in self._committed:
            acked += 1
            self._committed.discard(acked)
        if acked != self._acked:
            self._acked = acked
            worker.send(messages.ack(acked))

    def _on_dropped(self, number: int, untouched: bool) -> None:
        kill = self._dropping.pop(number, False)
        if number not in self._in_flight:
            return
        if untouched:
            self._reports.returned(self._forget(number))
            self._settle_down()
        elif kill:
            self.kill(Cause.KILLED)

    def _settle_down(self) -> None:
        if self.load == 0:
            self.idle_since_ns = self._clock.monotonic_ns()
        self._reports.capacity()

    def _on_exit(self, end: Exit) -> None:
        """The worker and everything it started is gone."""
        worker, self._worker = self._worker, None
        assert worker is not None
        progress, cause = end.progress, self._cause
        if self.phase is Phase.STARTING:
            worker.on_loaded(f"its worker ended by {end.exit} while loading")
        self.phase = Phase.RETIRED if end.unreaped else Phase.EMPTY
        if end.unreaped:
            log.error("%s: processes %s could not be ended; the slot is not used again", self.name, end.unreaped)
        elif cause is Cause.CRASH and self._in_flight:
            log.warning("%s: the worker of %s ended by %s", self.name, self.handler, end.exit)
        unsent = {number for number, _ in self._unsent}
        self._unsent.clear()
        for number in list(self._in_flight):
            subtask = self._forget(number)
            if number in unsent or number > progress.number or progress.number == 0:
                loss = self._loss(end, cause, None, 0)
            elif number == progress.number:
                index, begun_to = _begun(progress)
                loss = self._loss(end, self._cause_under(progress), index, begun_to)
            else:  # ran to its end; its last flush may not have left the worker
                loss = self._loss(end, Cause.KILLED, None, subtask.count)
            self._reports.lost(subtask, loss)
        self._dropping.clear()
        self._reports.capacity()

    def _cause_under(self, progress: Progress) -> Cause:
        slow = self._timed_out
        if slow is not None and (slow.number, slow.index) != (progress.number, progress.index):
            return Cause.KILLED  # the record that was too slow ended while we were killing
        return self._cause

    def _loss(self, end: Exit, cause: Cause, index: int | None, begun_to: int) -> Loss:
        now_us, now_ns = self._clock.now_us(), self._clock.monotonic_ns()
        return Loss(
            cause=cause,
            index=index,
            begun_to=begun_to,
            started_us=now_us - max(now_ns - end.progress.start_ns, 0) // 1000,
            ended_us=now_us,
            exit=end.exit,
            unreaped=end.unreaped,
        )


def _begun(progress: Progress) -> tuple[int | None, int]:
    """The running index of the subtask and how many of its records had begun."""
    if progress.index < 0:
        return None, progress.finished
    return progress.index, progress.finished + 1
