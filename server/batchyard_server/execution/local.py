"""How does this machine run subtasks? A fixed number of slots, each with a warm worker under its own supervisor."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator

from batchyard_server.dispatch.protocols import Cause, Reports, Subtask
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.execution.launch import Launcher
from batchyard_server.execution.slot import LocalSlot, Phase
from batchyard_server.model.clock import Clock

log = logging.getLogger(__name__)
TICK_SECONDS = 0.05  # resolution of record_timeout
RESIDENCY_NS = 1_000_000_000  # a busy slot changes its handler at most this often
STRAYS_NS = 500_000_000  # how long after its last record a worker is looked at for processes that handlers left


class LocalExecutor:
    """Implements `dispatch.protocols.Executor` with processes of this machine."""

    def __init__(self, *, slots: int, handlers: HandlerBook, launcher: Launcher, clock: Clock) -> None:
        self._handlers = handlers
        self._launcher = launcher
        self._clock = clock
        self._slot_count = slots
        self._slots: list[LocalSlot] = []
        self._ticking: asyncio.TimerHandle | None = None
        self._stopping = False
        self._ended = asyncio.Event()
        self._reports: Reports | None = None

    def attach(self, reports: Reports) -> None:
        """Say where reports go; before anything else."""
        self._reports = reports
        self._slots = [LocalSlot(number, reports, self._clock) for number in range(self._slot_count)]
        self._handlers.on_retry = reports.capacity

    # -- Executor -----------------------------------------------------------------------------------------------

    def is_available(self, handler: str) -> bool:
        """See Executor.is_available."""
        return self._handlers.can_start(handler)

    def slot_for(self, handler: str, estimate_ns: int | None) -> LocalSlot | None:
        """See Executor.slot_for."""
        if self._stopping:
            return None
        slot = self._with_room(handler, estimate_ns) or self._empty()
        if slot is None:
            self._make_room(handler)
            return None
        if slot.phase is Phase.EMPTY:
            self._start(slot, handler)
        self._tick_soon()
        return slot

    def withdraw(self, subtask: Subtask, *, kill: bool) -> None:
        """See Executor.withdraw."""
        for slot in self._slots:
            slot.withdraw(subtask, kill=kill)

    def running(self) -> Iterator[tuple[Subtask, int]]:
        """See Executor.running."""
        for slot in self._slots:
            now = slot.running()
            if now is not None:
                yield now

    async def stop(self) -> None:
        """See Executor.stop."""
        self._stopping = True
        for slot in self._slots:
            slot.kill(Cause.KILLED)
        self._check_ended()
        await self._ended.wait()
        if self._ticking is not None:
            self._ticking.cancel()

    # -- choosing -----------------------------------------------------------------------------------------------

    def _with_room(self, handler: str, estimate_ns: int | None) -> LocalSlot | None:
        found = None
        for slot in self._slots:
            if slot.handler == handler and slot.has_room(estimate_ns) and (found is None or slot.load < found.load):
                found = slot
        if found is not None and found.load and (empty := self._empty()) is not None:
            return empty  # a new worker beside a busy one
        return found

    def _empty(self) -> LocalSlot | None:
        return next((slot for slot in self._slots if slot.phase is Phase.EMPTY), None)

    def _make_room(self, handler: str) -> None:
        """Let another handler's worker go for this one: an idle one at once, a busy one when it has finished."""
        coming = [slot for slot in self._slots if slot.next_handler == handler]
        if not coming:
            others = [s for s in self._slots if s.phase is Phase.READY and s.handler != handler and not s.next_handler]
            held = Counter(slot.handler for slot in self._slots)
            if any(slot.handler == handler and slot.phase is not Phase.RETIRED for slot in self._slots):
                others = [slot for slot in others if slot.load == 0 or held[slot.handler] > held[handler] + 1]
            now = self._clock.monotonic_ns()
            others = [slot for slot in others if slot.load == 0 or now - slot.since_ns > RESIDENCY_NS]
            if not others:
                return
            coming = [min(others, key=lambda slot: (slot.load > 0, -held[slot.handler], slot.load))]
        for slot in coming:
            slot.claim(handler)
            if slot.phase is Phase.READY and slot.load == 0:
                slot.kill(Cause.KILLED)

    def _start(self, slot: LocalSlot, handler: str) -> None:
        spec = self._handlers.spec(handler)

        def loaded(error: str) -> None:
            if error:
                self._handlers.failed(handler, error)
            else:
                self._handlers.loaded(handler)

        slot.start(handler, self._launcher.maker(spec, slot.name, loaded, self._check_ended))

    def _check_ended(self) -> None:
        if self._stopping and all(slot.phase in (Phase.EMPTY, Phase.RETIRED) for slot in self._slots):
            self._ended.set()

    # -- the clock ----------------------------------------------------------------------------------------------

    def _tick_soon(self) -> None:
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        now = self._clock.monotonic_ns()
        again = False
        for slot in self._slots:
            slot.tick(now)
            if slot.load:
                again = True
            elif slot.phase is Phase.READY and not slot.inspected:
                again = True
                if now - slot.idle_since_ns > STRAYS_NS:
                    slot.inspect()
        if any(slot.next_handler for slot in self._slots) and self._reports is not None:
            again = True
            self._reports.capacity()
        if again and not self._stopping:
            self._tick_soon()
