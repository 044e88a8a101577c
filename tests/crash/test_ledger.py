"""Do the ledger and the side log see what they are there to see?"""

from __future__ import annotations

import json
import pathlib

import pytest

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, RecordCounts
from batchyard.v1.record_pb2 import RecordAttempt, RecordInfo
from tests.support.ledger import FAIL, LABEL, OK, Entry, Ledger, check_attempts, check_outcomes
from tests.support.sidelog import SideLog

State = BatchTaskInfo.State


def task(label: str = "a", name: str = "n", state: State = BatchTaskInfo.QUEUED, total: int = 3) -> BatchTaskInfo:
    """A task as the server would list it."""
    return BatchTaskInfo(name=name, labels={LABEL: label}, state=state, counts=RecordCounts(total=total, pending=total))


def ledger(*acked: str, asked: str = "", draft: bool = False) -> Ledger:
    """A ledger with one task of three records."""
    made = Ledger()
    entry = made.open("a", OK * 3, draft=draft)
    for verb in acked:
        entry.ask(verb)
        entry.ack(verb)
    if asked:
        entry.ask(asked)
    if "create" in acked:
        entry.name = "n"
        entry.did_append(0 if draft else 3)
    return made


@pytest.mark.parametrize(
    ("book", "listed"),
    [
        (ledger(asked="create"), []),
        (ledger(asked="create"), [task()]),
        (ledger("create"), [task()]),
        (ledger("create", asked="cancel"), [task(state=BatchTaskInfo.CANCELLED)]),
        (ledger("create", asked="delete"), []),
        (ledger("create", "delete"), []),
        (ledger("create", draft=True), [task(state=BatchTaskInfo.DRAFT, total=0)]),
    ],
)
def test_what_may_be(book: Ledger, listed: list[BatchTaskInfo]) -> None:
    book.audit(listed)


@pytest.mark.parametrize(
    ("book", "listed", "why"),
    [
        (ledger("create"), [], "acknowledged and is gone"),
        (ledger("create"), [task(), task(name="m")], "made 2 times"),
        (ledger("create"), [task(name="m")], "acknowledged as n"),
        (ledger("create"), [task(label="b")], "nobody made"),
        (ledger(asked="create"), [task(total=2)], "has 2 records"),
        (ledger("create", "start", draft=True), [task(state=BatchTaskInfo.DRAFT, total=0)], "is a DRAFT"),
        (ledger("create", draft=True), [task(total=0)], "never started"),
        (ledger("create", "cancel"), [task(state=BatchTaskInfo.SUCCEEDED)], "was cancelled"),
        (ledger("create"), [task(state=BatchTaskInfo.CANCELLED)], "nobody cancelled"),
        (ledger("create", "delete"), [task()], "is back"),
    ],
)
def test_what_may_not_be(book: Ledger, listed: list[BatchTaskInfo], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        book.audit(listed)


def outcomes(plan: str) -> tuple[Entry, BatchTaskInfo, list[RecordInfo]]:
    """A task that ended as planned, and a reader that got everything."""
    states = {OK: RecordInfo.SUCCEEDED, FAIL: RecordInfo.FAILED}
    records = [RecordInfo(index=i, state=states[each], attempt=1) for i, each in enumerate(plan)]
    info = task(state=BatchTaskInfo.SUCCEEDED)
    info.counts.CopyFrom(RecordCounts(total=len(plan), succeeded=plan.count(OK), failed=plan.count(FAIL)))
    return Entry(label="a", plan=plan, seen=list(range(len(plan)))), info, records


def test_outcomes() -> None:
    check_outcomes(*outcomes(OK + FAIL + OK))
    entry, info, records = outcomes(OK + FAIL + OK)
    with pytest.raises(AssertionError, match="not every index once"):
        check_outcomes(entry, info, records[:2])
    with pytest.raises(AssertionError, match="ended otherwise"):
        check_outcomes(Entry(label="a", plan=OK * 3), info, records)
    info.counts.succeeded += 1
    with pytest.raises(AssertionError, match="but there are"):
        check_outcomes(entry, info, records)
    entry, info, records = outcomes(OK + FAIL + OK)
    entry.seen = [0, 1, 1]
    with pytest.raises(AssertionError, match="a record twice"):
        check_outcomes(entry, info, records)
    entry.seen = [0, 1]
    with pytest.raises(AssertionError, match="differs"):
        check_outcomes(entry, info, records)


def ran(index: int, attempt: int, process: str, start: int, previous: int = 0) -> str:
    """One line of the side log."""
    return f"\na {index} {attempt} {process} {start} {previous} ."


def ended(index: int, process: str, start: int, attempt: int = 1) -> RecordInfo:
    """Its outcome."""
    record = RecordInfo(index=index, state=RecordInfo.SUCCEEDED, attempt=attempt)
    record.output.text = json.dumps({"process": process, "start": start})
    return record


def test_side_log(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    path.write_text("\na 0 1 p 5 0 .\na 1 1 p" + ran(1, 1, "q", 9) + ran(2, 1, "q", 12, 3))
    side = SideLog(path)
    side.settle("a", [ended(0, "p", 5), ended(1, "q", 9), ended(2, "q", 12)])
    assert (side.executions, side.repeated) == (3, 0)
    side.check(worker_kills=0, processes=0)


@pytest.mark.parametrize(
    ("lines", "record", "why"),
    [
        ("", ended(0, "p", 5), "never run"),
        (ran(0, 1, "p", 5), ended(0, "q", 5), "but ran"),
        (ran(0, 1, "p", 5), ended(0, "p", 5, attempt=2), "but ran"),
        (ran(0, 1, "p", 5) + ran(1, 1, "p", 6), ended(0, "p", 5), "ran 2 records"),
    ],
)
def test_side_log_that_differs(tmp_path: pathlib.Path, lines: str, record: RecordInfo, why: str) -> None:
    (tmp_path / "log").write_text(lines)
    with pytest.raises(AssertionError, match=why):
        SideLog(tmp_path / "log").settle("a", [record])


def test_more_than_the_run_ahead_is_seen(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    took = 20_000_000
    lost = [ran(i, 1, "p", 1 + i, took if i else 0) for i in range(5)]
    again = [ran(i, 1, "q", 100 + i) for i in range(5)]
    path.write_text("".join(lost + again))
    side = SideLog(path)
    side.settle("a", [ended(i, "q", 100 + i) for i in range(5)])
    assert side.repeated == 5
    with pytest.raises(AssertionError, match=r"80\.0 ms ahead"):
        side.check(worker_kills=0, processes=1)
    with pytest.raises(AssertionError, match="processes lost"):
        side.check(worker_kills=0, processes=0)


def failed_attempts(*numbers: int) -> list[RecordAttempt]:
    return [RecordAttempt(attempt=n, state=RecordInfo.FAILED) for n in numbers]


def test_attempts_of_a_record_that_failed() -> None:
    entry = Entry(label="a", plan="f", retries=2)
    record = RecordInfo(index=0, state=RecordInfo.FAILED, attempt=4)
    lost = RecordAttempt(attempt=2, state=RecordInfo.CANCELLED)
    first, *rest = failed_attempts(1, 3, 4)
    assert check_attempts(entry, record, [first, lost, *rest]) == {1, 3, 4}
    for wrong in (failed_attempts(1, 4), failed_attempts(1, 2, 3, 4), failed_attempts(1, 2, 2, 4), [first, *rest[:1]]):
        with pytest.raises(AssertionError):
            check_attempts(entry, record, wrong)


def test_an_execution_that_failed_is_not_lost(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    path.write_text(ran(0, 1, "p", 1) + ran(0, 1, "q", 2) + ran(0, 2, "q", 3, 1) + ran(0, 3, "q", 4, 1))
    side = SideLog(path)
    side.settle("a", [RecordInfo(index=0, state=RecordInfo.FAILED, attempt=3)], failed={0: {1, 3}})
    assert {process: [each.start for each in lost] for process, lost in side.lost.items()} == {"p": [1], "q": [3]}
