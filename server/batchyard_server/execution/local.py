"""How does this machine run subtasks? A fixed number of slots, each with a warm worker under its own supervisor."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from batchyard_server.dispatch.protocols import Cause, Claim, Reports, Subtask
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.execution.slot import LocalSlot, Phase
from batchyard_server.execution.worker import Launch
from batchyard_server.model.clock import Clock

TICK_SECONDS = 0.05  # resolution of record_timeout
RESIDENCY_NS = 1_000_000_000  # a worker with work is let go for another handler after this long at the earliest
LAG_NS = 1_000_000_000  # of worker time that a project with slots is behind before it gets one of another handler


class LocalExecutor:
    """Implements `dispatch.protocols.Executor` with processes of this machine."""

    def __init__(self, *, slots: int, handlers: HandlerBook, launcher: Launch, clock: Clock) -> None:
        self._handlers = handlers
        self._launcher = launcher
        self._clock = clock
        self._slot_count = slots
        self._slots: list[LocalSlot] = []
        self._ticking: asyncio.TimerHandle | None = None
        self._stopping = False
        self._ended = asyncio.Event()

    def attach(self, reports: Reports) -> None:
        """Say where reports go; before anything else."""
        self._slots = [
            LocalSlot(
                number,
                reports=reports,
                gone=self._on_gone,
                handlers=self._handlers,
                launcher=self._launcher,
                clock=self._clock,
            )
            for number in range(self._slot_count)
        ]
        self._handlers.on_retry = reports.capacity

    # -- Executor -------------------------------------------------------------------------------------------------

    def is_available(self, handler: str) -> bool:
        """See Executor.is_available."""
        status = self._handlers.get(handler)
        return status is not None and status.available

    def can_start(self, handler: str) -> bool:
        """See Executor.can_start."""
        return self._handlers.can_start(handler)

    def slot_for(
        self, handler: str, estimate_ns: int | None, rivals: Mapping[str, Claim], within: Collection[str] | None = None
    ) -> LocalSlot | None:
        """See Executor.slot_for: an idle worker, else a new one, else a worker with little to do."""
        if self._stopping:
            return None
        among = self._slots if within is None else [slot for slot in self._slots if slot.name in within]
        wanting = [other for other, claim in rivals.items() if claim.waits]
        slot = self._warm(handler, estimate_ns, among, rivals, wanting)
        if slot is None or slot.load:
            slot = self._started(handler, among, wanting) or slot
        if slot is None and within is None:
            self._make_room(handler, rivals)
        self._tick_soon()
        return slot

    def suits(self, slot: str, handler: str, rivals: Mapping[str, Claim]) -> bool:
        """See Executor.suits."""
        found = next(each for each in self._slots if each.name == slot)
        if found.phase is not Phase.READY or found.next_handler:
            return False
        return found.handler == handler or self._is_due(found, handler, rivals)

    def withdraw(self, subtask: Subtask, *, kill: bool) -> None:
        """See Executor.withdraw."""
        for slot in self._slots:
            slot.withdraw(subtask, kill=kill)

    def running(self) -> Iterator[tuple[Subtask, int]]:
        """See Executor.running."""
        return (now for slot in self._slots if (now := slot.running()) is not None)

    async def stop(self) -> None:
        """See Executor.stop."""
        self._stopping = True
        for slot in self._slots:
            slot.kill(Cause.KILLED)
        self._on_gone()
        await self._ended.wait()
        if self._ticking is not None:
            self._ticking.cancel()

    def _on_gone(self) -> None:
        if self._stopping and all(slot.phase in (Phase.EMPTY, Phase.RETIRED) for slot in self._slots):
            self._ended.set()

    # -- choosing -------------------------------------------------------------------------------------------------

    def _warm(
        self,
        handler: str,
        estimate_ns: int | None,
        among: Sequence[LocalSlot],
        rivals: Mapping[str, Claim],
        wanting: Sequence[str],
    ) -> LocalSlot | None:
        """The least loaded worker of the handler that has room, unless it is the turn of one that is `wanting`."""
        mine = [slot for slot in among if slot.handler == handler and slot.has_room(estimate_ns)]
        if wanting and wanting != [handler]:
            mine = [slot for slot in mine if not any(self._is_due(slot, other, rivals) for other in wanting)]
        return min(mine, key=lambda slot: (slot.load, slot.phase is Phase.STARTING), default=None)

    def _started(self, handler: str, among: Sequence[LocalSlot], wanting: Sequence[str]) -> LocalSlot | None:
        """An empty slot, with a worker that is starting now."""
        if not self._handlers.can_start(handler):
            return None
        for slot in among:
            kept = slot.next_handler in wanting and slot.next_handler != handler
            if slot.phase is Phase.EMPTY and not (kept and self._handlers.can_start(slot.next_handler)):
                return slot if slot.start(handler) else None
        return None

    def _make_room(self, handler: str, rivals: Mapping[str, Claim]) -> None:
        """Let an idle worker of another handler go for this one, if one may be; `_started` has its slot then."""
        held = self._held()
        if not self._handlers.can_start(handler) or any(slot.next_handler == handler for slot in self._slots):
            return
        idle = [
            slot
            for slot in self._slots
            if slot.phase is Phase.READY and slot.load == 0 and slot.handler != handler
            if self._is_due(slot, handler, rivals) or self._is_left_over(slot, rivals, bare=not held[handler])
        ]
        if idle:
            min(idle, key=lambda slot: (-held[slot.handler], slot.idle_since_ns)).exchange(handler)

    def _is_due(self, slot: LocalSlot, other: str, rivals: Mapping[str, Claim]) -> bool:
        """Whether the slot's handler has had its time, and it is the turn of the other one.

        Between projects who has had less; inside a project who has so few slots.
        """
        if slot.handler == other or self._clock.monotonic_ns() - slot.since_ns < RESIDENCY_NS:
            return False
        if not self._handlers.can_start(other):
            return False
        held, mine, claim = self._held(), rivals.get(slot.handler), rivals[other]
        if mine is not None and mine.project != claim.project:
            return mine.virtual_ns - claim.virtual_ns > (LAG_NS if held[other] else 0)
        return not held[other] or held[slot.handler] > held[other] + 1

    def _is_left_over(self, slot: LocalSlot, rivals: Mapping[str, Claim], *, bare: bool) -> bool:
        """Whether the idle slot is of no use to its handler. `bare`: the one that wants it has none at all."""
        claim = rivals.get(slot.handler)
        if claim is None:
            return slot.is_inspected or bare
        if claim.waits or not slot.is_inspected:
            return False
        return bare or not claim.soon or self._clock.monotonic_ns() - slot.idle_since_ns >= RESIDENCY_NS

    def _held(self) -> Counter[str]:
        """How many slots each handler has, or will have when the workers that are let go have ended."""
        return Counter(slot.holder for slot in self._slots if slot.holder)

    # -- the clock ------------------------------------------------------------------------------------------------

    def _tick_soon(self) -> None:
        if self._ticking is None and not self._stopping:
            self._ticking = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        """Runs only while a slot has something to look at: an idle server does not wake up."""
        self._ticking = None
        now_ns = self._clock.monotonic_ns()
        spare = any(slot.is_spare for slot in self._slots)
        for slot in self._slots:
            if slot.tick(now_ns, spare=spare):
                self._tick_soon()
