"""What does one slot do? It holds one worker, feeds it subtasks, and tells dispatch what became of them.

EMPTY ──start──▶ STARTING ──loaded──▶ READY ──kill, crash──▶ ENDING ──reaped──▶ EMPTY (or RETIRED: not reaped)
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from functools import partial

from batchyard_server.dispatch.protocols import Cause, Reports, Subtask
from batchyard_server.execution import losses, messages
from batchyard_server.execution.cell import Progress
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.execution.worker import Callbacks, Exit, Launch, Worker
from batchyard_server.model import ranges as rg
from batchyard_server.model.clock import Clock
from batchyard_worker.v1 import worker_pb2

log = logging.getLogger(__name__)
ROOM_NS = 30_000_000  # work that may lie ready at a worker: hides the round trip, costs little when it is taken back
MOST_IN_FLIGHT = 16
STALLED_NS = 100_000_000  # a record that runs longer than this gives back what waits behind it
LOAD_NS = 300_000_000_000  # to load a handler; models are large
STRAYS_NS = 500_000_000  # an idle worker is looked at after this long for processes that its records left
BUSY_STRAYS_NS = 2_000_000_000  # one that is never idle pauses for this look as often
PATIENCE_NS = 1_000_000_000  # for a worker to say whether it had begun a subtask that is to be killed


class Phase(enum.Enum):
    """Where a slot is in its life."""

    EMPTY = "empty"
    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"
    RETIRED = "retired"


class LocalSlot:
    """One worker at a time, of one handler at a time. Implements `dispatch.protocols.Slot`.

    Args:
        number: counts the slots of an executor, from 0.
        gone: called when a worker has ended, after its subtasks were reported.

    Attributes:
        handler: of the present worker, "" without one.
        next_handler: the handler for which the present worker was, or is, let go.
        since_ns: when the present worker was started, then when it had loaded its handler.
        idle_since_ns: when it ran out of subtasks last.
    """

    def __init__(
        self,
        number: int,
        *,
        reports: Reports,
        gone: Callable[[], None],
        handlers: HandlerBook,
        launcher: Launch,
        clock: Clock,
    ) -> None:
        self._number = number
        self._reports = reports
        self._gone = gone
        self._handlers = handlers
        self._launcher = launcher
        self._clock = clock
        self.phase = Phase.EMPTY
        self.handler = self.next_handler = ""
        self.since_ns = self.idle_since_ns = self._inspected_ns = 0
        self._worker: Worker | None = None
        self._in_flight: dict[int, Subtask] = {}  # by number, in the order in which the worker runs them
        self._asked_back: dict[int, int] = {}  # number → when it is killed if there is no answer, 0 = never
        self._reserved = self._work_ns = self._unknown = 0
        self._numbers = 0
        self._flushes = 0  # of the present worker
        self._cause = Cause.CRASH
        self._timed_out: Progress | None = None
        self._stalled = False
        self._trimming = 0  # number of the subtask whose rest was asked back while its record ran

    # -- what the executor decides by -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """See Slot.name."""
        return f"worker-{self._number}"

    @property
    def load(self) -> int:
        """Subtasks that are here or on their way."""
        return len(self._in_flight) + self._reserved

    @property
    def holder(self) -> str:
        """The handler that this slot serves, or will serve next; "" for none."""
        return self.next_handler or self.handler

    @property
    def is_inspected(self) -> bool:
        """Whether its worker has been idle long enough to be looked at for strays."""
        return self._inspected_ns >= self.idle_since_ns

    @property
    def is_spare(self) -> bool:
        """Whether it would take records that another slot gives back."""
        return self.load == 0 and self.phase in (Phase.EMPTY, Phase.STARTING, Phase.READY)

    def has_room(self, estimate_ns: int | None) -> bool:
        """Whether one more subtask may be sent: always to an idle worker, else only work known to be short."""
        if self.phase not in (Phase.STARTING, Phase.READY):
            return False
        if self.load == 0:
            return True
        if estimate_ns is None or self._unknown or self._stalled or self.load >= MOST_IN_FLIGHT:
            return False
        return self._work_ns < ROOM_NS and self._clock.monotonic_ns() - self._inspected_ns < BUSY_STRAYS_NS

    def running(self) -> tuple[Subtask, int] | None:
        """The record whose handler runs now."""
        if self._worker is None or not self._in_flight:
            return None
        progress = self._worker.progress()
        subtask = self._in_flight.get(progress.number)
        index = None if subtask is None else progress.begun(subtask.lease.ranges)[0]
        return None if subtask is None or index is None else (subtask, index)

    # -- Slot -----------------------------------------------------------------------------------------------------

    @property
    def begins_at_once(self) -> bool:
        """See Slot.begins_at_once."""
        return self.phase is Phase.READY and self.load == 0

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
        self._numbers += 1
        self._in_flight[self._numbers] = subtask
        if self.phase is Phase.READY and self.handler == subtask.task.handler:
            self._send(messages.run(self._numbers, subtask))
        elif self.phase is not Phase.STARTING or self.handler != subtask.task.handler:
            self._return(self._numbers)  # while it was prepared its worker has ended, perhaps another one has come

    def _count(self, estimate_ns: int | None, sign: int) -> None:
        if estimate_ns is None:
            self._unknown += sign
        else:
            self._work_ns += sign * estimate_ns

    def _forget(self, number: int) -> Subtask:
        subtask = self._in_flight.pop(number)
        self._asked_back.pop(number, None)
        self._count(subtask.estimate_ns, -1)
        return subtask

    def _return(self, number: int) -> None:
        self._reports.returned(self._forget(number))
        self._settle_down()

    def _send(self, frame: bytes) -> None:
        if self._worker is not None:
            self._worker.send(frame)

    def _settle_down(self) -> None:
        """Something has ended here: perhaps there is room for more."""
        if self.load == 0:
            self.idle_since_ns = self._clock.monotonic_ns()
            if self.idle_since_ns - self._inspected_ns >= BUSY_STRAYS_NS:
                self._inspect()
        self._reports.capacity()

    # -- life of the worker ---------------------------------------------------------------------------------------

    def start(self, handler: str) -> bool:
        """Start a worker of this handler in the empty slot; whether that worked."""
        callbacks = Callbacks(message=self._on_message, closed=self._on_closed, exited=self._on_exit)
        try:
            self._worker = self._launcher.start(self._handlers.spec(handler), callbacks)
        except OSError as error:
            self._handlers.failed(handler, f"no worker can be started: {error}")
            return False
        self.phase, self.handler, self.next_handler = Phase.STARTING, handler, ""
        self.since_ns = self.idle_since_ns = self._inspected_ns = self._clock.monotonic_ns()
        self._flushes = 0
        self._cause, self._timed_out, self._stalled = Cause.CRASH, None, False
        return True

    def kill(self, cause: Cause) -> None:
        """End the worker and everything it started; what it had is reported lost with this cause."""
        if self.phase in (Phase.STARTING, Phase.READY) and self._worker is not None:
            self.phase, self._cause = Phase.ENDING, cause
            self._worker.kill()

    def exchange(self, handler: str) -> None:
        """Let the idle worker go for one of another handler."""
        self.next_handler = handler
        self.kill(Cause.KILLED)

    def withdraw(self, subtask: Subtask, *, kill: bool) -> None:
        """See Executor.withdraw."""
        number = next((n for n, each in self._in_flight.items() if each is subtask), None)
        if number is None or self._worker is None or self.phase is Phase.ENDING:
            return
        if self.phase is Phase.STARTING:
            self._return(number)
        elif kill and self._worker.progress().number == number:
            self._worker.stop(number)  # for a handler that takes its time to die
            self.kill(Cause.KILLED)
        else:
            self._ask_back(number, self._clock.monotonic_ns() + PATIENCE_NS if kill else 0)

    def _ask_back(self, number: int, kill_ns: int) -> None:
        """Take a subtask back; of the one that runs no further record begins from a moment later on."""
        if self._worker is not None and self._worker.progress().number == number:
            self._worker.stop(number)
        if number not in self._asked_back:
            self._send(messages.drop(number))
        self._asked_back[number] = self._asked_back.get(number, 0) or kill_ns

    # -- the clock ------------------------------------------------------------------------------------------------

    def tick(self, now_ns: int, *, spare: bool) -> bool:
        """Look at the clock; whether it has to be looked at again soon. `spare`: another slot has nothing to do."""
        if self._worker is not None:
            self._worker.trim_log()
        if self.phase is Phase.STARTING:
            if now_ns - self.since_ns > LOAD_NS:
                self._handlers.failed(self.handler, f"it was not loaded within {LOAD_NS // 10**9} s")
                self.kill(Cause.KILLED)
            return True
        if self.phase is not Phase.READY:
            return False
        if self._in_flight:
            self._tick_running(now_ns, spare)
        elif not self._reserved:
            if not self.is_inspected and now_ns - self.idle_since_ns >= STRAYS_NS:
                self._inspect()
                self._reports.capacity()
            return not self.is_inspected
        return True

    def _tick_running(self, now_ns: int, spare: bool) -> None:
        """Kill a record that passed its time, take back what waits behind a slow one.

        Of its own subtask only if another slot can take it: the budget ends that one after this record anyway.
        """
        assert self._worker is not None
        progress = self._worker.progress()
        subtask = self._in_flight.get(progress.number)
        if subtask is not None:
            self._fetch(self._worker, progress.number, subtask, now_ns)
        if subtask is not None and progress.begun(subtask.lease.ranges)[0] is not None:
            ran_ns = now_ns - progress.start_ns
            limit_ns = subtask.task.settings.record_timeout_us * 1000
            if limit_ns and ran_ns > limit_ns and self._worker.progress() == progress:
                self._timed_out = progress
                self.kill(Cause.TIMEOUT)
                return
            if ran_ns > STALLED_NS:
                self._stalled = True
                self._reports.runs(subtask, ran_ns)
                for number in self._in_flight:
                    if number != progress.number:
                        self._ask_back(number, 0)
                if spare and subtask.count - progress.finished > 1 and self._trimming != progress.number:
                    self._trimming = progress.number
                    self._ask_back(progress.number, 0)
        if any(kill_ns and now_ns > kill_ns for kill_ns in self._asked_back.values()):
            self.kill(Cause.KILLED)

    def _inspect(self) -> None:
        """Exchange an idle worker if its records left processes behind."""
        self._inspected_ns = self._clock.monotonic_ns()
        if self.phase is Phase.READY and self._worker is not None and self._worker.has_strays():
            log.warning("%s: a record of %s left processes behind; they are killed", self.name, self.handler)
            self.kill(Cause.KILLED)

    # -- what the worker says -------------------------------------------------------------------------------------

    def _on_message(self, message: worker_pb2.FromWorker) -> None:
        kind = message.WhichOneof("kind")
        if kind == "outcomes":
            self._on_outcomes(message.outcomes)
        elif kind == "dropped":
            self._on_dropped(message.dropped)
        elif kind == "loaded":
            self._on_loaded(message.loaded.error)

    def _on_loaded(self, error: str) -> None:
        if self.phase is not Phase.STARTING or self._worker is None:
            return
        if error:
            self._handlers.failed(self.handler, error)
            self.kill(Cause.KILLED)
            return
        self._handlers.loaded(self.handler)
        self._worker.loaded()
        self.phase = Phase.READY
        self.since_ns = self.idle_since_ns = self._inspected_ns = self._clock.monotonic_ns()
        for number, subtask in self._in_flight.items():
            self._send(messages.run(number, subtask))
        self._reports.capacity()

    def _on_outcomes(self, outcomes: worker_pb2.Outcomes) -> None:
        worker = self._worker
        if worker is None:
            return
        self._flushes = outcomes.flush
        self._stalled = False
        ack = partial(worker.inbox.durable, outcomes.flush)
        try:
            flush = worker.inbox.take(outcomes)
        except ValueError:  # a handler wrote where it must not; nothing that this worker says holds any more
            log.exception("%s: what it sent makes no sense", self.name)
            self.kill(Cause.CRASH)
            return
        subtask = self._in_flight.get(outcomes.lease)
        if subtask is None:  # cannot be; but should it, the worker must not wait for ever
            log.error("%s: outcomes of a subtask that it does not have", self.name)
            ack()
            return
        if outcomes.last:
            self._forget(outcomes.lease)
        self._reports.outcomes(subtask, flush, last=outcomes.last, work_ns=outcomes.work_nanos, ack=ack)
        if outcomes.last:
            self._settle_down()

    def _fetch(self, worker: Worker, number: int, subtask: Subtask, now_ns: int) -> None:
        """Take what the worker has finished and cannot send."""
        flush = worker.inbox.fetch(number, subtask.lease.ranges, now_ns)
        if flush is not None:
            self._reports.outcomes(subtask, flush, last=False, work_ns=0, ack=worker.inbox.storing())

    def _on_dropped(self, dropped: worker_pb2.Dropped) -> None:
        number = dropped.lease
        kill = self._asked_back.pop(number, 0)
        subtask = self._in_flight.get(number)
        if subtask is None:
            return
        if dropped.untouched:
            self._return(number)
        elif kill:
            self.kill(Cause.KILLED)
        elif dropped.from_ordinal:
            rest = rg.take(subtask.lease.ranges, dropped.from_ordinal)[1]
            if rest:
                self._reports.trimmed(subtask, rest)

    def _on_closed(self) -> None:
        """The worker has ended by itself; what it started is being killed."""
        if self.phase is Phase.READY:
            self.phase = Phase.ENDING

    def _on_exit(self, end: Exit) -> None:
        """The worker and everything it started is gone."""
        self._worker = None
        if self._cause is Cause.CRASH:
            self._note_crash(end)
        if end.unreaped:
            log.error("%s: processes %s could not be ended; the slot is not used again", self.name, end.unreaped)
            self.next_handler = ""  # whom it was let go for gets another one
        self.phase = Phase.RETIRED if end.unreaped else Phase.EMPTY
        self.handler = ""
        for number in list(self._in_flight):
            subtask = self._forget(number)
            loss = losses.of(
                end, number, subtask.lease.ranges, cause=self._cause, timed_out=self._timed_out, clock=self._clock
            )
            self._reports.lost(subtask, loss)
        self._gone()
        self._reports.capacity()

    def _note_crash(self, end: Exit) -> None:
        """Tell people; and pause with a handler that crashes before any record could be blamed."""
        if self.phase is Phase.STARTING:
            self._handlers.failed(self.handler, f"its worker ended by {end.exit} while loading it")
        elif self._in_flight and not self._flushes and end.progress.index < 0 and not end.progress.finished:
            self._handlers.failed(self.handler, f"its worker ended by {end.exit} before its first record")
        else:
            log.warning("%s: the worker of %s ended by %s", self.name, self.handler, end.exit)
