"""What may become of one batch task? The contract in plain Python: DESIGN §3 and the comments of the protos.

Nothing here is of the server, nor looks like it: records are objects, counts are counted, every generation is kept.
Times are microseconds, 0 = not yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.property.events import Result
from tests.property.parts import Attempt, Generation, Lease, Outcome, Record, Violation

FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
SECOND = 1_000_000
DAY = 86_400 * SECOND
DRAFT_KEPT = 7 * DAY
MAX_WORKER_LOST = 2
CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE = 1, 2, 4, 8, 10, 13, 14
RETRYABLE = (UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE)


@dataclass(eq=False)
class Task:
    """A batch task with everything that callers can see of it.

    Attributes:
        leases: those that a worker still has, by number.
        subtasks: all leases that there were; `granted_count` of them in the present generation.
        passed: the states that it was in, with those before and the stop_reason.
    """

    project: str
    task_id: str
    config: dict[str, Any]
    state: str
    create: int
    uid: str = ""
    stop_reason: str = ""
    error: tuple[int, str] | None = None
    revision: int = 1
    start: int = 0
    end: int = 0
    update: int = 0
    transition: int = 0
    appended: int = 0
    granted_count: int = 0
    number: int = 0
    deleted: bool = False
    unreaped: bool = False
    generations: list[Generation] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    leases: dict[int, Lease] = field(default_factory=dict)
    subtasks: list[Lease] = field(default_factory=list)
    passed: list[tuple[str, str, str]] = field(default_factory=list)

    # -- what is seen ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return f"projects/{self.project}/batchTasks/{self.task_id}"

    @property
    def generation(self) -> Generation:
        return self.generations[-1]

    @property
    def etag(self) -> str:
        return f'"{self.uid[-12:]}-{self.revision}"'

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def live(self) -> int:
        """How many leases live."""
        return sum(bool(lease.open) for lease in self.leases.values())

    @property
    def expire(self) -> int:
        if self.state == "DRAFT":
            return self.appended + DRAFT_KEPT
        return self.end + self.limit("retention_time", 30 * DAY) if self.is_final else 0

    @property
    def deadline(self) -> int:
        """When max_wall_clock_time is over; 0 = that stops nothing now."""
        limit = self.limit("max_wall_clock_time", 0)
        stops = self.state in ("QUEUED", "RUNNING", "PAUSING", "PAUSED")
        return self.start + limit if limit and self.start and stops else 0

    def limit(self, name: str, default: int) -> int:
        value = self.config.get("constraints", {}).get(name)
        return default if value is None else value

    def outcome(self, record: Record, generation: Generation | None = None) -> Outcome | None:
        """What is recorded of it, as seen in a generation."""
        seen = generation or self.generation
        found = [each for each in record.outcomes if seen.base <= each.generation <= seen.number]
        if not found or (found[-1].generation < seen.number and found[-1].state == "FAILED"):
            return None
        return found[-1]

    def record_state(self, record: Record, generation: Generation | None = None) -> str:
        outcome = self.outcome(record, generation)
        if outcome is not None:
            return outcome.state
        if self.is_final or (generation or self.generation) is not self.generation:
            return "CANCELLED"
        return "RUNNING" if record.running else "PENDING"

    def has_startable(self, now: int) -> bool:
        """Whether a record has no outcome, no lease, and nothing to wait for."""
        return any(
            record.lease is None and record.not_after <= now and self.outcome(record) is None for record in self.records
        )

    def counts(self) -> dict[str, int]:
        """How many records are in which state."""
        states = [self.record_state(record).lower() for record in self.records]
        found = {name: states.count(name) for name in ("pending", "running", "succeeded", "failed", "cancelled")}
        return {"total": len(states)} | found

    # -- what happens to it ---------------------------------------------------------------------------------------

    def enter(self, state: str, now: int) -> None:
        """Change the state; what a final one brings with it."""
        if state == self.state:
            return
        if self.is_final and state != "QUEUED":
            raise Violation(f"{self.name} leaves {self.state} for {state}")
        self.passed.append((self.state, state, self.stop_reason))
        self.state, self.update, self.transition = state, now, now
        if state in FINAL:
            if self.live:
                raise Violation(f"{self.name} is {state} and a lease lives")
            self.end = now
            self.generation.state = state

    def stop(self, reason: str, error: tuple[int, str], now: int) -> None:
        """Cancel, deadline, failure policy, lifetime. Who comes first says why."""
        if self.state == "CANCELLING":
            return
        self.stop_reason, self.error = reason, error
        ends = "CANCELLED" if reason == "CANCEL" else "FAILED"
        self.enter("CANCELLING" if self.state in ("RUNNING", "PAUSING") else ends, now)

    def rest(self, now: int) -> None:
        """What follows by itself once all is quiet."""
        if self.state == "CANCELLING" and not any(lease.held for lease in self.leases.values()):
            self.enter("CANCELLED" if self.stop_reason == "CANCEL" else "FAILED", now)
            if self.unreaped and self.error is not None:
                self.error = (self.error[0], "PROCESS_NOT_REAPED")
        elif self.state == "PAUSING" and not self.live:
            self.enter("PAUSED", now)
        elif self.state == "PAUSED" and self.live:
            raise Violation(f"{self.name} is PAUSED and a lease lives")

    def pause_untouched(self, now: int) -> None:
        """What had not begun of a PAUSING task was given back before the pause was stored."""
        if any(index in lease.begun for lease in self.leases.values() for index in lease.open):
            raise Violation(f"{self.name} is PAUSED and a record runs")
        self.state = self.passed.pop()[0]  # it was never PAUSING
        self.enter("PAUSED", now)

    def granted(self, number: int, epoch: int, worker: str, indexes: list[int], now: int) -> None:
        """Records were leased."""
        if self.state not in ("QUEUED", "RUNNING"):
            raise Violation(f"a lease in {self.state}")
        if self.subtasks and epoch <= self.subtasks[-1].epoch:
            raise Violation(f"epoch {epoch} after {self.subtasks[-1].epoch}")
        if not indexes:
            raise Violation("an empty lease")
        lease = self.leases[number] = Lease(epoch, indexes, worker, now, set(indexes))
        for index in indexes:
            record = self.records[index]
            if record.lease is not None or self.outcome(record) is not None:
                raise Violation(f"record {index} is leased, and has a lease or an outcome")
            record.lease = lease
        self.subtasks.append(lease)
        self.granted_count += 1
        self.enter("RUNNING", now)
        self.start = self.start or now

    def begun(self, number: int, index: int, attempt: int, now: int) -> None:
        """A record's handler runs."""
        lease, record = self.leases[number], self.records[index]
        if self.state != "RUNNING":
            raise Violation(f"record {index} begins in {self.state}")
        if record.lease is not lease or index not in lease.open or index in lease.begun:
            raise Violation(f"record {index} begins without a lease, or twice in one")
        if attempt != record.begun + 1:
            raise Violation(f"record {index} begins its attempt {attempt} after {record.begun}")
        if now < record.not_before:
            raise Violation(f"record {index} is retried {record.not_before - now} µs too early")
        most = self.config.get("parallel_count")
        if most is not None and sum(each.running for each in self.records) >= most:
            raise Violation(f"more than {most} records run")
        lease.begun.append(index)
        record.running = True

    def ended(self, number: int, index: int, result: Result) -> None:
        """A record's handler has returned; that is not known to the server yet."""
        self.leases[number].results[index] = result
        self.records[index].running = False

    def stored(self, number: int, indexes: list[int], now: int) -> None:
        """The server has what came of these, and takes it for what happens then all at once."""
        lease = self.leases[number]
        for index in indexes:
            result, record = lease.results[index], self.records[index]
            reason = "RECORD_ERROR" if result.code else ""
            self._fail_or_end(record, result.code, reason, result.retryable, now)
            self._free(lease, index)
        if not lease.open:
            lease.close("COMPLETED", None, now)
        self._after_records(now)

    def gave_back(self, number: int, indexes: list[int], now: int) -> None:
        """These did not begin and will not in this lease."""
        lease = self.leases[number]
        for index in indexes:
            if index in lease.begun:
                raise Violation(f"record {index} was given back and had begun")
            self._free(lease, index)
        if not lease.open:
            lease.close("RETURNED", None, now)
        self._after_records(now)

    def over(self, number: int, now: int) -> None:
        """The worker is done with the lease."""
        left = sorted(self.leases[number].open)
        self.gave_back(number, left, now)
        del self.leases[number]

    def lost(self, number: int, cause: str, blamed: int | None, now: int, *, unreaped: bool, shuts_down: bool) -> None:
        """The worker of the lease is gone."""
        lease = self.leases.pop(number)
        self.unreaped |= unreaped and self.state == "CANCELLING"
        if blamed is not None and blamed not in lease.begun:
            raise Violation(f"record {blamed} is blamed and had not begun")
        begun = [index for index in sorted(lease.open) if index in lease.begun]
        state, why = self._end_of(lease, cause, blamed, shuts_down)
        lease.close(state, why, now)
        for index in lease.indexes:
            if self.records[index].lease is lease:
                self._free(lease, index)
        for index in begun:
            assert why is not None, "RETURNED is a lease of which nothing began"
            self._interrupt(self.records[index], cause if index == blamed else "", why, now)
        self._after_records(now)

    def _end_of(
        self, lease: Lease, cause: str, blamed: int | None, shuts_down: bool
    ) -> tuple[str, tuple[int, str] | None]:
        if cause == "CRASH":
            return "LOST", (ABORTED, "WORKER_LOST")
        if cause == "TIMEOUT" and blamed is not None:
            return "KILLED", (DEADLINE_EXCEEDED, "RECORD_TIMEOUT")
        if self.stop_reason or shuts_down or lease.begun:
            return "KILLED", (CANCELLED, "WORKER_KILLED")
        return "RETURNED", None

    def _interrupt(self, record: Record, cause: str, why: tuple[int, str], now: int) -> None:
        """An execution was cut short, by what befell this very record, or ("") another one; `why`: as its lease."""
        record.lost += cause == "CRASH"
        if cause == "TIMEOUT":
            self._fail_or_end(record, DEADLINE_EXCEEDED, "RECORD_TIMEOUT", None, now)
        elif cause == "CRASH" and record.lost > MAX_WORKER_LOST:
            self._fail_or_end(record, ABORTED, "WORKER_LOST", False, now)
        else:
            record.begun += 1
            generation = self.generation.number
            record.attempts.append(Attempt(generation, record.begun, "CANCELLED", *why))

    def server_ended(self, now: int) -> None:
        """Its workers are gone too; what had begun and was not told by then is forgotten."""
        for lease in self.leases.values():
            for index in sorted(lease.open):
                self._free(lease, index)
            lease.close("KILLED", (CANCELLED, "WORKER_KILLED"), now)
        self.leases.clear()
        self.rest(now)

    def _free(self, lease: Lease, index: int) -> None:
        lease.open.discard(index)
        record = self.records[index]
        record.lease, record.running = None, False

    def _fail_or_end(self, record: Record, code: int, reason: str, retryable: bool | None, now: int) -> None:
        """An execution has ended: with it the record, unless it is tried again."""
        if self.is_final or self.outcome(record) is not None:
            raise Violation(f"a second outcome of record {record.index}, or one in {self.state}")
        attempt, generation = record.begun + 1, self.generation.number
        state = "FAILED" if code else "SUCCEEDED"
        record.attempts.append(Attempt(generation, attempt, state, code, reason))
        if self._is_retried(record, code, retryable):
            record.begun = attempt
            record.failures += 1
            wait = self._longest_wait(record.failures)
            record.not_before, record.not_after = now + wait // 2, now + wait
            return
        record.outcomes.append(Outcome(state, code, reason, attempt, generation, self.number))
        self.number += 1

    def _is_retried(self, record: Record, code: int, retryable: bool | None) -> bool:
        if not code or self.state == "CANCELLING":
            return False
        wanted = self.config.get("retry_policy", {}).get("retryable_codes") or RETRYABLE
        most = self.limit("max_retry_count", 0)
        return (code in wanted if retryable is None else retryable) and (most == -1 or record.failures < most)

    def _longest_wait(self, failures: int) -> int:
        """Before the try after the n-th failure."""
        policy = self.config.get("retry_policy", {})
        wait = policy.get("initial_backoff", SECOND) * policy.get("multiplier", 2.0) ** (failures - 1)
        return int(min(wait, policy.get("max_backoff", 300 * SECOND)))

    def _after_records(self, now: int) -> None:
        """What follows from how many have ended."""
        if self.state not in ("RUNNING", "PAUSING"):
            return
        counts = self.counts()
        total, failed = counts["total"], counts["failed"]
        if failed + counts["succeeded"] == total:
            if failed == total:
                (first, *more) = (self.outcome(record) for record in self.records)
                assert first is not None
                self.error = (ABORTED, "ALL_RECORDS_FAILED") if more else (first.code, first.reason)
            elif not self._allows(failed, total):
                self.stop_reason, self.error = "FAILURE_POLICY", (ABORTED, "FAILURE_POLICY")
            self.enter("FAILED" if self.error else "SUCCEEDED", now)
        elif not self._allows(failed, total):
            self.stop("FAILURE_POLICY", (ABORTED, "FAILURE_POLICY"), now)
        else:
            self.rest(now)

    def _allows(self, failed: int, total: int) -> bool:
        policy = self.config.get("failure_policy", {})
        most, ratio = policy.get("max_failed_records"), policy.get("max_failed_ratio")
        return (most is None or failed <= most) and (ratio is None or failed <= ratio * total)

    def next_generation(self, operation: str, everything: bool, now: int) -> None:
        """Run again what did not succeed, or all."""
        before = self.generation
        for record in self.records:
            record.begun_before[before.number] = record.begun
            record.begun = record.lost = record.failures = record.not_before = record.not_after = 0
        number = before.number + 1
        self.generations.append(Generation(number, number if everything else before.base, operation, now))
        self.stop_reason, self.error, self.start, self.end, self.granted_count = "", None, 0, 0, 0
        self.unreaped = False
        self.enter("QUEUED", now)
        if all(self.outcome(record) for record in self.records):
            self.passed.pop()  # nobody sees it QUEUED
            self.enter("SUCCEEDED", now)
