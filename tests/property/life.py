"""What may become of one batch task? The contract in plain Python: DESIGN §3 and the comments of the protos.

Nothing here is of the server, nor looks like it: records are objects, counts are counted, every generation is kept.
Times are microseconds, 0 = not yet.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.property.events import Result

FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
SECOND = 1_000_000
DAY = 86_400 * SECOND
DRAFT_KEPT = 7 * DAY
MAX_WORKER_LOST = 2
RETRYABLE = frozenset(
    {2, 4, 8, 10, 13, 14}
)  # UNKNOWN DEADLINE_EXCEEDED RESOURCE_EXHAUSTED ABORTED INTERNAL UNAVAILABLE
ABORTED, DEADLINE_EXCEEDED, CANCELLED = 10, 4, 1


SEEN = Counter()
class Violation(AssertionError):
    """The server did what the contract forbids."""


class Outcome(NamedTuple):
    """The recorded end of a record; `number` counts those of a task in the order of their commits."""

    state: str
    code: int
    reason: str
    attempt: int
    generation: int
    number: int


@dataclass(eq=False)
class Record:
    """One record. `begun`, `lost`, `failures` and `not_before` are of the current generation."""

    index: int
    record_id: str
    text: str
    begun: int = 0
    lost: int = 0
    failures: int = 0
    not_before: int = 0
    lease: Lease | None = None
    running: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    begun_before: dict[int, int] = field(default_factory=dict)  # by generation that ended


@dataclass(eq=False)
class Lease:
    """A claim on records. `open`: those of which it still may bring the end; `held`: a worker still has it."""

    epoch: int
    indexes: list[int]
    open: set[int]
    begun: list[int] = field(default_factory=list)
    results: dict[int, Result] = field(default_factory=dict)
    held: bool = True


@dataclass(eq=False)
class Generation:
    """One run over the records. `base`: outcomes of this one and later ones count in it."""

    number: int
    base: int
    operation: str
    create: int
    forgotten: bool = False
    state: str = ""  # the final one, once it has ended


@dataclass(eq=False)
class Task:
    """A batch task with everything that callers can see of it."""

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
    subtasks: int = 0
    epoch: int = 0
    number: int = 0
    deleted: bool = False
    unreaped: bool = False
    generations: list[Generation] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    leases: dict[int, Lease] = field(default_factory=dict)

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
        SEEN[f"{self.state} → {state} {self.stop_reason}"] += 1
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

    def granted(self, number: int, epoch: int, indexes: list[int], now: int) -> None:
        """Records were leased."""
        if self.state not in ("QUEUED", "RUNNING"):
            raise Violation(f"a lease in {self.state}")
        if epoch <= self.epoch:
            raise Violation(f"epoch {epoch} after {self.epoch}")
        for index in indexes:
            record = self.records[index]
            if record.lease is not None or self.outcome(record) is not None:
                raise Violation(f"record {index} is leased, and has a lease or an outcome")
        if not indexes:
            raise Violation("an empty lease")
        self.epoch = epoch
        lease = self.leases[number] = Lease(epoch, indexes, set(indexes))
        for index in indexes:
            self.records[index].lease = lease
        self.subtasks += 1
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
            attempt = record.begun + 1
            if self._is_retried(record, result.code, result.retryable, now):
                record.begun = attempt
            else:
                self._conclude(record, result.code, "RECORD_ERROR" if result.code else "", attempt)
            self._free(lease, index)
        self._after_records(now)

    def gave_back(self, number: int, indexes: list[int], now: int) -> None:
        """These did not begin and will not in this lease."""
        lease = self.leases[number]
        for index in indexes:
            if index in lease.begun:
                raise Violation(f"record {index} was given back and had begun")
            self._free(lease, index)
        self._after_records(now)

    def over(self, number: int, now: int) -> None:
        """The worker is done with the lease."""
        lease = self.leases.pop(number)
        for index in sorted(lease.open):
            if index in lease.begun:
                raise Violation(f"record {index} has begun and was given back")
            self._free(lease, index)
        self._after_records(now)

    def lost(self, number: int, cause: str, blamed: int | None, unreaped: bool, now: int) -> None:
        """The worker of the lease is gone."""
        lease = self.leases.pop(number)
        self.unreaped |= unreaped and self.state == "CANCELLING"
        if blamed is not None and blamed not in lease.begun:
            raise Violation(f"record {blamed} is blamed and had not begun")
        for index in sorted(lease.open):
            record = self.records[index]
            began = index in lease.begun
            self._free(lease, index)
            if began:
                self._interrupt(record, cause if index == blamed else "", now)
        self._after_records(now)

    def _interrupt(self, record: Record, cause: str, now: int) -> None:
        record.lost += cause == "CRASH"
        if cause == "TIMEOUT":
            attempt = record.begun + 1
            if not self._is_retried(record, DEADLINE_EXCEEDED, None, now):
                self._conclude(record, DEADLINE_EXCEEDED, "RECORD_TIMEOUT", attempt)
        elif cause == "CRASH" and record.lost > MAX_WORKER_LOST:
            self._conclude(record, ABORTED, "WORKER_LOST", record.begun + 1)
        record.begun += 1

    def server_ended(self, now: int) -> None:
        """Its workers are gone too; what had begun and was not told by then is forgotten."""
        for number in list(self.leases):
            lease = self.leases.pop(number)
            for index in sorted(lease.open):
                self._free(lease, index)
        self.rest(now)

    def _free(self, lease: Lease, index: int) -> None:
        lease.open.discard(index)
        record = self.records[index]
        record.lease, record.running = None, False

    def _is_retried(self, record: Record, code: int, retryable: bool | None, now: int) -> bool:
        """Whether a failure is tried again; then also from when on."""
        if not code or self.state == "CANCELLING":
            return False
        policy, most = self.config.get("retry_policy", {}), self.limit("max_retry_count", 0)
        wanted = code in (policy.get("retryable_codes") or RETRYABLE) if retryable is None else retryable
        if not wanted or (most != -1 and record.failures >= most):
            return False
        record.failures += 1
        wait = policy.get("initial_backoff", SECOND) * policy.get("multiplier", 2.0) ** (record.failures - 1)
        record.not_before = now + int(min(wait, policy.get("max_backoff", 300 * SECOND)) / 2)
        return True

    def _conclude(self, record: Record, code: int, reason: str, attempt: int) -> None:
        if self.is_final or self.outcome(record) is not None:
            raise Violation(f"a second outcome of record {record.index}, or one in {self.state}")
        state = "FAILED" if code else "SUCCEEDED"
        record.outcomes.append(Outcome(state, code, reason, attempt, self.generation.number, self.number))
        self.number += 1

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
            record.begun = record.lost = record.failures = record.not_before = 0
        number = before.number + 1
        self.generations.append(Generation(number, number if everything else before.base, operation, now))
        self.stop_reason, self.error, self.start, self.end, self.subtasks = "", None, 0, 0, 0
        self.unreaped = False
        self.enter("QUEUED", now)
        if all(self.outcome(record) for record in self.records):
            self.enter("SUCCEEDED", now)
