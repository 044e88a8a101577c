"""How are the subtasks of a task listed? Its live and its ended leases in one order, the newest first."""

from __future__ import annotations

from contextlib import closing

from batchyard_server.codec import pages, subtasks
from batchyard_server.model.states import SubtaskState
from batchyard_server.model.subtask import LeaseEnd, SubtaskInfo
from batchyard_server.store.protocols import SubtaskPage
from batchyard_server.store.sqlite import leases, tasks
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Row

LIVE = "SELECT epoch FROM lease WHERE task_key = ?"
ROWS = (
    "SELECT epoch, worker, node, start_us, granted, 0, NULL, NULL, NULL FROM lease WHERE task_key = ? AND epoch < ? "
    "UNION ALL SELECT epoch, worker, node, start_us, ranges, end_us, state, exit_code, error FROM ended_lease "
    "WHERE task_key = ? AND epoch < ? AND epoch >= ? ORDER BY epoch DESC LIMIT ?"
)


def page(reader: Reader, task_key: int, before_epoch: int, limit: int, max_bytes: int) -> SubtaskPage:
    """See Store.subtasks."""
    task = tasks.by_key(reader, task_key)
    if task is None:
        raise tasks.deleted(reader, task_key)
    oldest = leases.oldest_kept(task.next_epoch, (epoch for (epoch,) in reader.run(LIVE, (task_key,))))
    entries: list[bytes] = []
    size, last, more = 0, before_epoch, False
    values = (task_key, before_epoch, task_key, before_epoch, oldest, limit + 1)
    with closing(reader.stream(ROWS, values)) as rows:
        for row in rows:
            more = len(entries) == limit
            if more:
                break
            entry = pages.entry(subtasks.info(task.name, _of_row(row)))
            size += len(entry)
            more = size > max_bytes and bool(entries)
            if more:
                break
            entries.append(entry)
            last = row[0]
    return SubtaskPage(entries=b"".join(entries), count=len(entries), last_epoch=last, more=more)


def _of_row(row: Row) -> SubtaskInfo:
    epoch, worker, node, start_us, ranges, end_us, state, exit_code, error = row
    end = None if state is None else LeaseEnd(state=SubtaskState(state), exit_code=exit_code, error=error)
    return SubtaskInfo(epoch=epoch, worker=worker, node=node, ranges=ranges, start_us=start_us, end_us=end_us, end=end)
