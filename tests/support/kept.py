"""Is what a store keeps the same as what could be counted? Of a store in SQLite, open or closed, or killed."""

from __future__ import annotations

import contextlib
import pathlib

import apsw

_DIFFERENT = """
WITH counted AS (SELECT project, state, count(*) FROM task WHERE id_fold IS NOT NULL GROUP BY project, state),
     kept AS (SELECT project, state, count FROM task_count WHERE count <> 0)
SELECT 'kept', * FROM (SELECT * FROM kept EXCEPT SELECT * FROM counted)
UNION ALL SELECT 'counted', * FROM (SELECT * FROM counted EXCEPT SELECT * FROM kept)
"""
_WRONGLY_ENDED = "SELECT task_id, state, end_us FROM task WHERE (state >= 7) <> (end_us > 0)"


def check_counts(directory: pathlib.Path) -> None:
    """Compare the kept counts of tasks by state with the tasks that there are, in the store of a data directory.

    And whether those that are final have an end_time, and no other: the index of that order is made of that.
    """
    path = directory / "store.sqlite3"
    if not path.exists():
        return
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        assert list(connection.execute(_DIFFERENT)) == []
        assert list(connection.execute(_WRONGLY_ENDED)) == []
