"""What does the outside know of its calls? The book that a client keeps beside a server that is being killed.

A call is written down before it is made (ASKED) and when its answer has come (ACKED). `audit` then says what of that a
server that was started again contradicts: what was acknowledged must be there, what was not is there whole or not at
all, and never twice.
"""

from __future__ import annotations

import enum
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.record_pb2 import RecordAttempt, RecordInfo

LABEL = "job"
FINAL = (BatchTaskInfo.SUCCEEDED, BatchTaskInfo.FAILED, BatchTaskInfo.CANCELLED)
ENDED = (RecordInfo.SUCCEEDED, RecordInfo.FAILED)
OK, FAIL = "o", "f"  # what a record's handler will do


class Mark(enum.IntEnum):
    """How far a call has come, seen from the caller."""

    NO = 0
    ASKED = 1
    ACKED = 2


def request_id() -> str:
    """A new UUID4."""
    return str(uuid.uuid4())


@dataclass
class Entry:
    """One batch task.

    Attributes:
        label: its label `job`, unique; the task's id is the server's, so a create that was done twice shows.
        plan: what each record's handler will do, a letter each; all of them, also those not yet sent.
        totals: how many records the task may have, by what was asked; `appended` by what was acknowledged.
        retries: how often a record that fails is tried again.
        seen: indexes in the order in which a reader that follows by token has got them.
        final: the serialized task, once it was seen final in its present generation.
    """

    label: str
    plan: str
    draft: bool = False
    requests: dict[str, str] = field(default_factory=dict[str, str])
    marks: dict[str, Mark] = field(default_factory=dict[str, Mark])
    name: str = ""
    operation: str = ""
    appended: int = 0
    totals: set[int] = field(default_factory=set[int])
    seen: list[int] = field(default_factory=list[int])
    token: str = ""
    final: bytes = b""
    generation: int = 1
    retries: int = 0

    @property
    def job(self) -> str:
        """What the handler of the present generation calls it."""
        return self.label if self.generation == 1 else f"{self.label}#{self.generation}"

    def reactivates(self) -> None:
        """The next generation is about to be asked for: it is final no more, and is followed from the beginning."""
        self.final, self.token = b"", ""
        self.generation += 1

    def mark(self, verb: str) -> Mark:
        """How far a call has come, by its verb."""
        return self.marks.get(verb, Mark.NO)

    def ask(self, verb: str) -> str:
        """A call is about to be made, perhaps again; returns its request_id, always the same."""
        self.marks[verb] = max(self.mark(verb), Mark.ASKED)
        return self.requests.setdefault(verb, request_id())

    def ack(self, verb: str) -> None:
        """Its answer has come."""
        self.marks[verb] = Mark.ACKED

    def may_append(self, total: int) -> None:
        """A message is about to be sent after which the task has `total` records."""
        self.totals.add(total)

    def did_append(self, next_index: int) -> None:
        """The server said how many records it has."""
        assert next_index in self.totals, (
            f"{self.label}: {next_index} records, but only {sorted(self.totals)} were asked"
        )
        assert next_index >= self.appended, (
            f"{self.label}: {next_index} records after {self.appended} were acknowledged"
        )
        self.appended = next_index

    def saw(self, records: Sequence[RecordInfo]) -> None:
        """A page of the reader that follows."""
        self.seen += [record.index for record in records]


class Ledger:
    """All tasks of a run, the deleted ones too."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def open(self, label: str, plan: str, *, draft: bool = False) -> Entry:
        """Begin a task."""
        assert label not in self.entries
        entry = self.entries[label] = Entry(label=label, plan=plan, draft=draft, totals={0} if draft else {len(plan)})
        return entry

    def deleted(self) -> list[Entry]:
        """Those whose delete was acknowledged, in the order in which they were opened."""
        return [entry for entry in self.entries.values() if entry.mark("delete") is Mark.ACKED]

    def audit(self, listed: Sequence[BatchTaskInfo]) -> None:
        """Compare with all tasks that the server lists. Raises AssertionError."""
        found: dict[str, list[BatchTaskInfo]] = {}
        for info in listed:
            found.setdefault(info.labels[LABEL], []).append(info)
        assert found.keys() <= self.entries.keys(), "tasks that nobody made"
        for label, entry in self.entries.items():
            infos = found.get(label, [])
            assert len(infos) <= 1, f"{label} was made {len(infos)} times: {[info.name for info in infos]}"
            if infos:
                check_present(entry, infos[0])
            else:
                check_absent(entry)


def check_absent(entry: Entry) -> None:
    """The server does not have this task."""
    assert entry.mark("create") is not Mark.ACKED or entry.mark("delete"), f"{entry.label} was acknowledged and is gone"


def check_present(entry: Entry, info: BatchTaskInfo) -> None:
    """The server has this task."""
    label, total = entry.label, info.counts.total
    assert entry.mark("create"), f"{label} was never made"
    assert entry.mark("delete") is not Mark.ACKED, f"{label} was deleted and is back"
    assert not entry.name or entry.name == info.name, f"{label} is {info.name}, but was acknowledged as {entry.name}"
    assert total in entry.totals, f"{label} has {total} records, {sorted(entry.totals)} were asked"
    assert total >= entry.appended, f"{label} has {total} records, {entry.appended} were acknowledged"
    check_state(entry, info)
    check_sum(info)


def check_state(entry: Entry, info: BatchTaskInfo) -> None:
    """The state is one that its acknowledged calls allow."""
    label, state = entry.label, BatchTaskInfo.State.Name(info.state)
    is_draft = info.state == BatchTaskInfo.DRAFT
    if entry.draft and not entry.mark("start"):
        assert is_draft or entry.mark("cancel"), f"{label} was never started and is {state}"
    if not entry.draft or entry.mark("start") is Mark.ACKED:
        assert not is_draft, f"{label} was started and is a DRAFT"
    if entry.mark("cancel") is Mark.ACKED:
        assert info.state in (BatchTaskInfo.CANCELLING, BatchTaskInfo.CANCELLED), (
            f"{label} was cancelled and is {state}"
        )
    if info.state in (BatchTaskInfo.CANCELLING, BatchTaskInfo.CANCELLED):
        assert entry.mark("cancel"), f"{label} is {state}, but nobody cancelled it"
    if entry.final:
        final = BatchTaskInfo.FromString(entry.final)
        assert info == final, f"{label} was final and has changed: {final} is now {info}"


def check_sum(info: BatchTaskInfo) -> None:
    """The counts make up the total."""
    counts = info.counts
    parts = counts.pending + counts.running + counts.succeeded + counts.failed + counts.cancelled
    assert parts == counts.total, f"{info.name}: {counts}"


def check_attempts(entry: Entry, record: RecordInfo, attempts: Sequence[RecordAttempt]) -> set[int]:
    """All attempts of a record that FAILED: it failed as often as it had to, no time lost or twice; which they were."""
    what = f"{entry.label}[{record.index}]"
    numbers = [each.attempt for each in attempts]
    assert numbers == sorted(set(numbers)), f"{what}: attempts {numbers}"
    assert numbers[-1] == record.attempt, f"{what}: {record}, but attempts {numbers}"
    failed = {each.attempt for each in attempts if each.state == RecordInfo.FAILED}
    assert len(failed) == entry.retries + 1, f"{what} failed {len(failed)} times: {attempts}"
    return failed


def check_outcomes(entry: Entry, info: BatchTaskInfo, records: Sequence[RecordInfo]) -> None:
    """A final task and all its records in index order: one outcome each, the right one, counted right."""
    label = entry.label
    assert [record.index for record in records] == list(range(len(entry.plan))), f"{label}: not every index once"
    was_cancelled = info.state == BatchTaskInfo.CANCELLED
    allowed: Mapping[str, tuple[RecordInfo.State, ...]] = {
        OK: (RecordInfo.SUCCEEDED, RecordInfo.CANCELLED) if was_cancelled else (RecordInfo.SUCCEEDED,),
        FAIL: (RecordInfo.FAILED, RecordInfo.CANCELLED) if was_cancelled else (RecordInfo.FAILED,),
    }
    wrong = [record for record in records if record.state not in allowed[entry.plan[record.index]]]
    assert not wrong, f"{label}: {len(wrong)} records ended otherwise than they had to, first {wrong[0]}"
    states = Counter(record.state for record in records)
    counts = info.counts
    recount = (states[RecordInfo.SUCCEEDED], states[RecordInfo.FAILED], states[RecordInfo.CANCELLED])
    assert (counts.succeeded, counts.failed, counts.cancelled) == recount, f"{label}: {counts}, but there are {states}"
    assert (counts.pending, counts.running, counts.total) == (0, 0, len(records)), f"{label}: {counts}"
    if not was_cancelled:
        all_failed = FAIL * len(entry.plan) == entry.plan
        assert info.state == (BatchTaskInfo.FAILED if all_failed else BatchTaskInfo.SUCCEEDED), f"{label}: {info}"
    check_seen(entry, [record.index for record in records if record.state in ENDED])


def check_seen(entry: Entry, ended: Sequence[int]) -> None:
    """What a reader got that followed by token while all this went on: each outcome once, then what was cancelled."""
    label, seen = entry.label, entry.seen
    assert len(seen) == len(set(seen)), f"{label}: a reader that followed by token got a record twice"
    wrong = set(seen[: len(ended)]) ^ set(ended)
    assert not wrong, f"{label}: a reader that followed by token differs from what is there in {sorted(wrong)}"
    missed = len(entry.plan) - len(seen)
    assert not missed, f"{label}: a reader that followed by token missed {missed}"
