"""Which failed records are tried again, and when? Those that wait for their time are held here until then.

    flush ─▶ plan ─▶ store ─▶ stored ─▶ pending at once
                                 └────▶ held ─▶ timer ─▶ pending

All that waits is waited for with one timer; without it the server does not wake up.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from itertools import chain, count

from batchyard_server.codec import logs, outcomes
from batchyard_server.dispatch.protocols import Subtask
from batchyard_server.dispatch.queue import Held, TaskQueue
from batchyard_server.model import ranges as rg
from batchyard_server.model.clock import Clock, Randomness
from batchyard_server.model.settings import Settings
from batchyard_server.model.task import NO_ATTEMPTS, Attempts, Flush, Retries

SHORTEST_SECONDS = 0.001  # a timer may be early, but not again and again
KEPT_ENTRIES = 64  # in the heap, though their records wait no more


class Retrier:
    """Decides on retries, and holds the records that wait for theirs.

    Args:
        find: the queue that a subtask is of, None if that is gone.
        due: called with the records, by queue, whose time has come.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        randomness: Randomness,
        find: Callable[[Subtask], TaskQueue | None],
        due: Callable[[Mapping[TaskQueue, rg.Ranges]], None],
    ) -> None:
        self._clock = clock
        self._randomness = randomness
        self._find = find
        self._due = due
        self._heap: list[tuple[int, int, Held]] = []  # by monotonic ns
        self._numbers = count()
        self._tidy_at = KEPT_ENTRIES
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0

    def plan(self, subtask: Subtask, flush: Flush) -> Retries | None:
        """Which records of a flush are to be tried again, by the settings that hold now; None if there are none.

        One wait for all of them: they ran one after the other, and will again.
        """
        queue = self._find(subtask) if flush.failed else None
        if queue is None or queue.is_cancelling or not queue.task.settings.max_retry_count:
            return None
        settings, now_us, spread = queue.task.settings, self._clock.now_us(), self._randomness.uniform(0.0, 1.0)
        attempts: dict[int, Attempts] = {}
        history: list[tuple[int, bytes]] = []
        known: dict[Attempts, Attempts] = {}  # a million equal ones need not be kept
        failed = outcomes.failed_records(flush, subtask.lease.worker)
        for each in failed:
            before = subtask.attempts.get(each.index, NO_ATTEMPTS)
            failures = before.failures + 1
            if _may_retry(settings, each, failures):
                wait_us = settings.backoff_us(failures, spread)
                retry_us = now_us + wait_us if wait_us else 0
                after = Attempts(begun=before.begun + 1, lost=before.lost, failures=failures, retry_us=retry_us)
                attempts[each.index] = known.setdefault(after, after)
                history.append((each.index, each.attempt))
        if not attempts:
            return None
        rest, texts = outcomes.without(flush, attempts, failed), logs.of_attempts(flush.logs, attempts)
        return Retries(rest=rest, attempts=attempts, history=history, logs=texts)

    def stored(self, subtask: Subtask, flush: Flush, retries: Retries | None) -> None:
        """A flush is durable; of the records that are tried again only what is known of them."""
        queue = self._find(subtask)
        if queue is None or queue.is_cancelling:
            return
        queue.forget_attempts(flush.ranges)
        if retries is not None:
            queue.attempts.update(retries.attempts)
            now_us = self._clock.now_us()
            later = _later(retries.attempts, now_us)
            for retry_us, indexes in later.items():
                self._hold(queue, rg.from_indexes(indexes), retry_us - now_us)
            waiting = set(chain.from_iterable(later.values()))
            self._look({queue: rg.from_indexes(index for index in retries.attempts if index not in waiting)})

    def admit(self, queue: TaskQueue) -> None:
        """Hold those records of a new queue whose time has not come, though not longer than they would wait now."""
        now_us = self._clock.now_us()
        later = _later(queue.attempts, now_us)
        if later:
            queue.withhold(rg.from_indexes(chain.from_iterable(later.values())))
            for retry_us, indexes in later.items():
                wait_us = min(retry_us - now_us, queue.task.settings.max_backoff_us)
                self._hold(queue, rg.from_indexes(indexes), wait_us)
            self._look({})

    def stop(self) -> None:
        """Wait for nothing more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    # -- waiting --------------------------------------------------------------------------------------------------

    def _hold(self, queue: TaskQueue, ranges: rg.Ranges, wait_us: int) -> None:
        due_ns = self._clock.monotonic_ns() + wait_us * 1000
        heappush(self._heap, (due_ns, next(self._numbers), queue.hold(ranges)))
        if len(self._heap) > self._tidy_at:
            self._heap = [each for each in self._heap if each[2].queue is not None]
            heapify(self._heap)
            self._tidy_at = max(2 * len(self._heap), KEPT_ENTRIES)

    def _look(self, found: dict[TaskQueue, rg.Ranges]) -> None:
        """Give back what is due, and what was `found` to be, and look again when the next ones are."""
        now_ns = self._clock.monotonic_ns()
        while self._heap and (self._heap[0][0] <= now_ns or self._heap[0][2].queue is None):
            held = heappop(self._heap)[2]
            if held.queue is not None:
                found.setdefault(held.queue, []).extend(held.ranges)
                held.queue.let_go(held)
        if self._heap:
            self._look_at(self._heap[0][0], now_ns)
        due = {queue: ranges for queue, ranges in found.items() if ranges}
        if due:
            self._due(due)

    def _look_at(self, due_ns: int, now_ns: int) -> None:
        if self._timer is not None:
            if self._timer_ns <= due_ns:
                return
            self._timer.cancel()
        seconds = max((due_ns - now_ns) / 1e9, SHORTEST_SECONDS)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timer)
        self._timer_ns = due_ns

    def _on_timer(self) -> None:
        self._timer = None
        self._look({})


def _may_retry(settings: Settings, failed: outcomes.Failed, failures: int) -> bool:
    """Whether the record may be tried again after its n-th failure that counts."""
    wanted = failed.code in settings.retryable_codes if failed.retryable is None else failed.retryable
    return wanted and settings.may_retry(failures)


def _later(attempts: Mapping[int, Attempts], now_us: int) -> dict[int, list[int]]:
    """The indexes whose time has not come, by that time."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for index, known in attempts.items():
        if known.retry_us > now_us:
            found[known.retry_us].append(index)
    return found
