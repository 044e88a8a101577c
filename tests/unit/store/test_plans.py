"""Every statement that is run often finds its rows by an index, in order, and without a sorter."""

from __future__ import annotations

import pathlib

import pytest

from batchyard_server.model.clock import SystemClock, SystemRandomness
from batchyard_server.model.failpoints import OFF
from batchyard_server.store.sqlite import (
    artifacts,
    events,
    history,
    inputs,
    leases,
    listing,
    logged,
    merge,
    open_sqlite,
    operation_search,
    operations,
    outcomes,
    record_search,
    records,
    requests,
    search_by_completion,
    subtasks,
    sweep,
    tasks,
)
from batchyard_server.store.sqlite.filters import Expression

STATEMENTS = {
    "task by name": tasks.BY_NAME,
    "task by key": tasks.BY_KEY,
    "task as it is shown": tasks.INFO,
    "tasks of a project, older ones": listing.ROWS_OLDER,
    "tasks of a project, of one time": listing.ROWS_EQUAL,
    "older tasks in one row": listing.WHOLE_OLDER,
    "tasks of one time in one row": listing.WHOLE_EQUAL,
    "whether there are older tasks": listing.ANY_OLDER,
    "whether there are more of one time": listing.ANY_EQUAL,
    "live tasks": tasks.LIVE,
    "oldest unfinished task": tasks.OLDEST,
    "tasks whose time has come": tasks.DUE,
    "when the next one's comes": tasks.NEXT_DUE,
    "operation by id": operations.BY_ID,
    "operations of a project, older ones": operations.LIST_OLDER,
    "operations of a project, of one time": operations.LIST_EQUAL,
    "operations that are looked at": operation_search.BOUND,
    "operations that match": operation_search.statement(Expression("(length(result) > 0)", ())),
    "input segments": inputs.BETWEEN,
    "narrow outcome segments": outcomes.NARROW_ONES,
    "wide outcome segments": outcomes.WIDE_ONES,
    "all outcome segments": outcomes.ALL,
    "narrow outcome segments and what failed": outcomes.COUNTED_NARROW,
    "wide outcome segments and what failed": outcomes.COUNTED_WIDE,
    "narrow outcome segments with failures": outcomes.FAILED_NARROW,
    "wide outcome segments with failures": outcomes.FAILED_WIDE,
    "outcomes by completion": records.SEQUENCE,
    "all outcomes by completion": search_by_completion.EVERY,
    "failed outcomes by completion": search_by_completion.WITH_FAILED,
    "a record by its id": record_search.BY_ID,
    "outcomes of an earlier generation by completion": records.INHERITED,
    "narrow outcome segments of an earlier generation": outcomes.INHERITED_NARROW,
    "wide outcome segments of an earlier generation": outcomes.INHERITED_WIDE,
    "what narrow ones of an earlier generation hold": outcomes.NARROW_SETS,
    "what wide ones of an earlier generation hold": outcomes.WIDE_SETS,
    "generations of a task": operations.GENERATIONS,
    "what began of some records": outcomes.BEGUN,
    "outcomes that failed": outcomes.FAILED,
    "counts of tasks": tasks.UPDATE_COUNTS.statement(8),
    "all that changes of tasks": tasks.UPDATE_ALL.statement(8),
    "configurations of tasks": tasks.UPDATE_CONFIGURATION.statement(8),
    "ends of operations": operations.FINISH.statement(8),
    "open indexes of leases": leases.UPDATE.statement(8),
    "ended leases": leases.DELETE.statement(8),
    "leases that are too old": leases.TRIM.statement(1),
    "epochs of live leases": subtasks.LIVE,
    "subtasks of a task": subtasks.ROWS,
    "segments to join": merge.NEXT,
    "parts to join": merge.PARTS,
    "changes of a project": events.OF_PROJECT,
    "changes of a task": events.OF_TASK,
    "changes that are too old": events.TRIM,
    "a task with its operation": events.WATCHED,
    "a task with its operation, by key": events.WATCHED_BY_KEY,
    "older tasks with their operations": events.WATCHED_OLDER,
    "tasks of one time with their operations": events.WATCHED_EQUAL,
    "attempts of a record": history.OF_RECORD,
    "attempts that are too old": history.TRIM.statement(1),
    "attempts that are too many": history.TRIM_BY_NUMBER.statement(1),
    "an artifact": artifacts.ONE,
    "artifacts of a record": artifacts.OF_RECORD,
    "artifacts of a task": artifacts.OF_TASK,
    "whether a task has artifacts": artifacts.ANY,
    "artifacts of earlier generations": artifacts.EARLIER,
    "artifacts in a stage": artifacts.IN_STAGE,
    "artifacts that are replaced": artifacts.REMOVE.statement(8),
    "executions of a record in a generation": logged.OF_ATTEMPTS,
    "narrow outcome segments with logs": logged.NARROW_ONES,
    "wide outcome segments with logs": logged.WIDE_ONES,
    "executions with logs": logged.ATTEMPTS,
    "what to sweep": sweep.NEXT,
    "operations to sweep": operations.REMOVE,
    "calls about a task that is gone": requests.LET_EXPIRE,
    "its create": requests.LET_CREATE_EXPIRE,
    "calls to forget": requests.FORGET,
}
READ = ("USING", "VALUES", "subquery")  # a scan of these is of what another line of the plan found
COVERED = {
    "narrow outcome segments",
    "wide outcome segments",
    "all outcome segments",
    "failed outcomes by completion",
    "narrow outcome segments with failures",
    "generations of a task",
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_is_answered_by_an_index(name: str, tmp_path: pathlib.Path) -> None:
    store = await open_sqlite(tmp_path, clock=SystemClock(), randomness=SystemRandomness(), failpoints=OFF)
    sql = STATEMENTS[name]
    rows = store.writer.connection.execute(
        "EXPLAIN QUERY PLAN " + sql, (None,) * next((n for n in (4, 2) if f"?{n}" in sql), sql.count("?"))
    ).fetchall()
    await store.close()
    plan = [row[3] for row in rows]
    assert not any("TEMP B-TREE" in line for line in plan), plan
    assert not any(line.startswith("SCAN") and not any(word in line for word in READ) for line in plan), plan
    if name in COVERED:
        assert any("COVERING INDEX" in line for line in plan), plan
