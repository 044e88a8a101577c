"""The lease and ended_lease tables: live leases with the indexes that are open in them, and how others ended.

Of a task the last limits.ENDED_SUBTASKS that ended are kept, by epoch. Older ones are removed now and then, by a range
of the primary key, and are not shown from the moment on when they are too many.
"""

# ruff: noqa: S608 - what is put into statements here are names of this module, never values of callers

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.model.subtask import LeaseEnd
from batchyard_server.model.task import Task
from batchyard_server.store.sqlite.transaction import Entry, OpenLease, Row, Rows, Transaction

TRIM_EVERY = 64  # leases of a task

_INSERT = Rows(
    0,
    "INSERT INTO lease (task_key, epoch, generation, worker, node, start_us, granted, open) VALUES",
    "(?, ?, ?, ?, ?, ?, ?, ?)",
)
_LIVE = "SELECT epoch, generation, worker, node, start_us, granted, open FROM lease WHERE task_key = ?"
UPDATE = Rows(
    0,
    "UPDATE lease SET open = v.column3 FROM (VALUES",
    "(?, ?, ?)",
    ") AS v WHERE task_key = v.column1 AND epoch = v.column2",
)
DELETE = Rows(0, "DELETE FROM lease WHERE (task_key, epoch) IN (VALUES", "(?, ?)", ")")
_ENDED = "ended_lease (task_key, epoch, generation, worker, node, start_us, ranges, end_us, state, exit_code, error)"
_INSERT_ENDED = Rows(9, f"INSERT INTO {_ENDED} VALUES", "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
_END_ALL = (
    f"INSERT INTO {_ENDED} SELECT task_key, epoch, generation, worker, node, start_us, granted, ?, ?, ?, ? FROM lease"
)
TRIM = Rows(10, "DELETE FROM ended_lease WHERE task_key = ? AND epoch <= ?", "", most=1)


def of_task(tx: Transaction, held: Entry) -> Mapping[int, OpenLease]:
    """The live leases of the task, by epoch."""
    if held.leases is not None:
        return held.leases
    found = {
        epoch: OpenLease(*plain, granted=rg.unpack(granted), open=rg.unpack(open_))
        for epoch, *plain, granted, open_ in tx.run(_LIVE, (held.task.key,))
    }
    tx.learn(held.task.key, held._replace(leases=found))
    return found


def update(tx: Transaction, pairs: Sequence[tuple[Entry, Entry]]) -> None:
    """Write the leases of tasks, (as stored, as they are to be), now. One that came and went is not written at all."""
    rows: dict[Rows, list[Row]] = {_INSERT: [], UPDATE: [], DELETE: []}
    for stored, entry in pairs:
        assert stored.leases is not None, "learnt before they were changed"
        assert entry.leases is not None, "known once they are"
        key = entry.task.key
        for epoch, lease in entry.leases.items():
            before = stored.leases.get(epoch)
            if before is None:
                *plain, granted, open_ = lease
                rows[_INSERT].append((key, epoch, *plain, rg.pack(granted), rg.pack(open_)))
            elif before != lease:
                rows[UPDATE].append((key, epoch, rg.pack(lease.open)))
        rows[DELETE] += [(key, epoch) for epoch in stored.leases.keys() - entry.leases.keys()]
    for statement, values in rows.items():
        statement.write(tx, values)


def shrink(
    tx: Transaction, task: Task, live: Mapping[int, OpenLease], epoch: int, left: list[tuple[int, int]], end: LeaseEnd
) -> dict[int, OpenLease]:
    """The live leases of the task with only `left` open in this one; without any it has ended, like that."""
    if left:
        return {**live, epoch: live[epoch]._replace(open=left)}
    others = {other: each for other, each in live.items() if other != epoch}
    too_old = oldest_kept(task.next_epoch, others) - 1
    if epoch > too_old:
        *plain, granted, _ = live[epoch]
        ended = tx.clock.now_us(), end.state, end.exit_code, end.error
        tx.add(_INSERT_ENDED, (task.key, epoch, *plain, rg.pack(granted), *ended))
    if too_old > 0 and epoch % TRIM_EVERY == 0:
        tx.add(TRIM, (task.key, too_old))
    return others


def end_all(tx: Transaction, end: LeaseEnd) -> None:
    """Every live lease of every task ends, like that, now."""
    tx.run(_END_ALL, (tx.clock.now_us(), end.state, end.exit_code, end.error))
    tx.run("DELETE FROM lease")


def oldest_kept(next_epoch: int, live: Iterable[int]) -> int:
    """From which epoch on ended leases are kept: the last limits.ENDED_SUBTASKS, live ones among them not counted."""
    oldest = next_epoch - limits.ENDED_SUBTASKS
    if oldest > 1:
        for epoch in sorted(live, reverse=True):
            if epoch < oldest:
                break
            oldest -= 1
    return oldest
