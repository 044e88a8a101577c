"""How are all tasks listed, newest first? A page is one row: SQLite puts the stored entries of its message together.

Row by row, each one would give the interpreter away and win it back from a busy event loop, which takes longer than to
read it. Only a page with tasks that live, or are too large to be kept as one entry, is read like that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batchyard_server.codec import pages, task_bytes
from batchyard_server.model.task_query import Position, TaskQuery
from batchyard_server.store.protocols import TaskPage
from batchyard_server.store.sqlite import tasks
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Row

ENTRY_BYTES = 384  # of a usual task: how many are tried at once follows from it

# Two ranges of the index, each begun at its first row: one statement with OR would read all equal times again.
_OF_PROJECT = "FROM task WHERE project = ? AND id_fold IS NOT NULL"
_EQUAL = f"{_OF_PROJECT} AND create_us = ? AND task_id > ? ORDER BY task_id LIMIT ?"
_OLDER = f"{_OF_PROJECT} AND create_us < ? ORDER BY create_us DESC, task_id LIMIT ?"
_COLUMNS = "SELECT key, state IN (2, 3, 4, 6), fixed_size, info"
ROWS_EQUAL, ROWS_OLDER = f"{_COLUMNS} {_EQUAL}", f"{_COLUMNS} {_OLDER}"
# group_concat goes on as a string what comes as bytes: tests/unit/store/test_listing.py holds SQLite to that.
_WHOLE = (
    "SELECT count(*), coalesce(min(as_is), 1), CAST(coalesce(group_concat(info, ''), '') AS BLOB) "
    "FROM (SELECT as_is, info "
)
WHOLE_EQUAL, WHOLE_OLDER = f"{_WHOLE}{_EQUAL})", f"{_WHOLE}{_OLDER})"
ANY_EQUAL, ANY_OLDER = f"SELECT 1 {_EQUAL}", f"SELECT 1 {_OLDER}"
_LATEST: Position = (2**63 - 1, "")


def page(reader: Reader, query: TaskQuery) -> TaskPage:
    """See Store.list_tasks: of a query that `is_usual`."""
    project, after, max_bytes = query.project, query.after, query.max_bytes
    tried = min(query.limit, max_bytes // ENTRY_BYTES + 1)
    count, as_is, entries = _whole(reader, project, after, tried)
    if not count:
        return TaskPage(entries=b"", count=0, live=(), last=None, more=False)
    if not as_is or len(entries) > max_bytes:
        return _by_rows(reader, project, _rows(reader, project, after, tried), tried, max_bytes)
    last = task_bytes.position_of(pages.infos(entries)[-1])
    more = count == tried and _more(reader, project, last)
    return TaskPage(entries=entries, count=count, live=(), last=last, more=more)


def _whole(reader: Reader, project: str, after: Position | None, limit: int) -> tuple[int, int, bytes]:
    """How many tasks there are, whether they may go out as they are, and their entries."""
    count, as_is, entries = reader.run(WHOLE_EQUAL, (project, *after, limit))[0] if after else (0, 1, b"")
    if count < limit:
        older = reader.run(WHOLE_OLDER, (project, (after or _LATEST)[0], limit - count))[0]
        return count + older[0], min(as_is, older[1]), entries + older[2]
    return count, as_is, entries


def _rows(reader: Reader, project: str, after: Position | None, limit: int) -> list[Row]:
    rows = reader.run(ROWS_EQUAL, (project, *after, limit)) if after else []
    if len(rows) < limit:
        rows += reader.run(ROWS_OLDER, (project, (after or _LATEST)[0], limit - len(rows)))
    return rows


def _more(reader: Reader, project: str, after: Position) -> bool:
    """Whether there are tasks after that one."""
    return bool(reader.run(ANY_OLDER, (project, after[0], 1)) or reader.run(ANY_EQUAL, (project, *after, 1)))


def fitting(met: Iterable[tuple[int, bool, bytes]], max_bytes: int) -> tuple[list[bytes], list[tuple[int, int]]]:
    """Of (key, whether it lives, entry) the entries that fit, at least one; and (place, key) of those that live."""
    entries: list[bytes] = []
    live: list[tuple[int, int]] = []
    size = 0
    for key, lives, entry in met:
        size += len(entry)
        if size > max_bytes and entries:
            break
        if lives:
            live.append((len(entries), key))
        entries.append(entry)
    return entries, live


def _by_rows(reader: Reader, project: str, rows: Sequence[Row], tried: int, max_bytes: int) -> TaskPage:
    """The same, looking at each row."""
    met = (
        (key, lives, info if fixed_size else pages.entry(tasks.fixed_apart(reader, key) + info))
        for key, lives, fixed_size, info in rows
    )
    entries, live = fitting(met, max_bytes)
    last = task_bytes.position_of(pages.info_of(entries[-1]))
    more = len(entries) < len(rows) or (len(rows) == tried and _more(reader, project, last))
    return TaskPage(entries=b"".join(entries), count=len(entries), live=live, last=last, more=more)
