"""The artifact table: which files did handlers leave for records, and where are they?

Rows come and go with outcomes; the files themselves are somebody else's. What of them no row names any more is told
after the commit, see Store.watch_unnamed.
"""

# ruff: noqa: S608 - what is put into statements here are names of this module, never values of callers

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing

from batchyard_server.model import limits
from batchyard_server.model.artifact import LOG_PATH, Artifact, ArtifactPage, ArtifactQuery, Content, NewArtifact, Stage
from batchyard_server.model.errors import NotFound
from batchyard_server.model.names import ARTIFACT_TYPE, ArtifactName, TaskName
from batchyard_server.model.task import Flush, RequestKey, Task
from batchyard_server.store.artifact_store import Unnamed
from batchyard_server.store.sqlite import logged, requests, tasks
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Entry, Row, Rows, Transaction

_COLUMNS = "idx, path, stage, size, crc32c, sha256, content_type, create_us"
ONE = f"SELECT {_COLUMNS} FROM artifact WHERE task_key = ? AND idx = ? AND path = ?"
OF_RECORD = (
    f"SELECT {_COLUMNS} FROM artifact WHERE task_key = ? AND idx = ? AND path > ? AND path >= ? AND path < ? "
    "ORDER BY path LIMIT ?"
)
OF_TASK = f"SELECT {_COLUMNS} FROM artifact WHERE task_key = ? AND (idx, path) > (?, ?) ORDER BY idx, path LIMIT ?"
ANY = "SELECT 1 FROM artifact WHERE task_key = ? LIMIT 1"
EARLIER = (
    "SELECT idx, path, stage FROM artifact WHERE task_key = ? AND idx >= ? AND idx < ? AND generation < ? "
    "ORDER BY idx, path"
)
IN_STAGE = "SELECT path FROM artifact WHERE task_key = ? AND idx = ? AND stage = ?"
REMOVE = Rows(12, "DELETE FROM artifact WHERE (task_key, idx, path) IN (VALUES", "(?, ?, ?)", ")")
_INSERT = Rows(
    13,
    "INSERT INTO artifact (task_key, generation, create_us, idx, path, stage, size, crc32c, sha256, content_type) "
    "VALUES",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
)
_LAST = "\U0010ffff"  # the last code point
_ABOVE_ALL = _LAST * (limits.ARTIFACT_PATH.maximum // 4 + 1)  # longer than any path of it


def replace(tx: Transaction, held: Entry, flush: Flush, unnamed: list[Unnamed]) -> Entry:
    """Outcomes come: store their artifacts, and remove what their records had from earlier generations.

    `unnamed` is told where that was. Returns the entry that knows more. Looks into the table only if the task may have
    artifacts and is not in its first generation.
    """
    if held.task.generation > 1:
        if held.artifacts is None:
            held = held._replace(artifacts=bool(tx.run(ANY, (held.task.key,))))
        if held.artifacts:
            unnamed += _remove_earlier(tx, held.task, flush.ranges)
    if flush.artifacts:
        _add(tx, held.task, flush.artifacts)
        held = held._replace(artifacts=True)
    return held


def _remove_earlier(tx: Transaction, task: Task, ranges: Sequence[tuple[int, int]]) -> list[Unnamed]:
    by_stage: defaultdict[str, set[int]] = defaultdict(set)
    for start, end in ranges:
        for index, path, stage in tx.run(EARLIER, (task.key, start, end, task.generation)):
            tx.add(REMOVE, (task.key, index, path))
            by_stage[stage].add(index)
    return [Unnamed(Stage(task.folder, stage), frozenset(indexes)) for stage, indexes in by_stage.items()]


def _add(tx: Transaction, task: Task, found: Sequence[NewArtifact]) -> None:
    now_us = tx.clock.now_us()
    for each in found:
        content = each.content
        what = (content.path, each.stage, content.size, content.crc32c, content.sha256, content.content_type)
        tx.add(_INSERT, (task.key, task.generation, now_us, each.index, *what))


def delete(
    tx: Transaction, name: ArtifactName, request: RequestKey | None, allow_missing: bool, unnamed: list[Unnamed]
) -> None:
    """See Store.delete_artifact."""
    known = requests.known(tx, request)
    task = tasks.named_entry(tx, TaskName(name.project, name.task)).task
    if known is not None:
        return
    rows = tx.run(ONE, (task.key, name.index, name.path))
    forgotten = name.path == LOG_PATH and logged.delete(tx, task, name.index)
    if not rows and not forgotten and not allow_missing:
        raise NotFound(ARTIFACT_TYPE, str(name))
    requests.remember(tx, request, task)
    if rows:
        tx.run("DELETE FROM artifact WHERE task_key = ? AND idx = ? AND path = ?", (task.key, name.index, name.path))
        unnamed.append(Unnamed(Stage(task.folder, _artifact(rows[0]).stage), frozenset((name.index,))))


def one(reader: Reader, task_key: int, index: int, path: str) -> Artifact | None:
    """See Store.artifact."""
    rows = reader.run(ONE, (task_key, index, path))
    return _artifact(rows[0]) if rows else None


def page(reader: Reader, query: ArtifactQuery) -> ArtifactPage:
    """See Store.artifact_page. Raises NotFound if the task was deleted."""
    if tasks.by_key(reader, query.task_key) is None:
        raise tasks.deleted(reader, query.task_key)
    return _of_task(reader, query) if query.index is None else _of_record(reader, query, query.index)


def _of_record(reader: Reader, query: ArtifactQuery, index: int) -> ArtifactPage:
    after = query.after[1] if query.after else ""
    end = after_prefix(query.prefix)
    rows = reader.run(OF_RECORD, (query.task_key, index, after, query.prefix, end, query.limit + 1))
    found = [_artifact(row) for row in rows[: query.limit]]
    return ArtifactPage(artifacts=found, next=_position(found[-1]) if len(rows) > len(found) else None)


def _of_task(reader: Reader, query: ArtifactQuery) -> ArtifactPage:
    """Ends after limits.ARTIFACT_ROWS, whatever it found: who asks for a prefix that is rare gets short pages."""
    found: list[Artifact] = []
    last = query.after or (-1, "")
    room = limits.ARTIFACT_ROWS
    with closing(reader.stream(OF_TASK, (query.task_key, *last, room))) as rows:
        for row in rows:
            if len(found) == query.limit:
                return ArtifactPage(artifacts=found, next=last)
            room, last = room - 1, row[:2]
            if row[1].startswith(query.prefix):
                found.append(_artifact(row))
    return ArtifactPage(artifacts=found, next=None if room else last)


def named(reader: Reader, task_key: int, stage: str, indexes: Sequence[int]) -> Mapping[int, frozenset[str]]:
    """See Store.artifacts_in."""
    paths = {index: frozenset(path for (path,) in reader.run(IN_STAGE, (task_key, index, stage))) for index in indexes}
    return {index: found for index, found in paths.items() if found}


def after_prefix(prefix: str) -> str:
    """What comes after every text that begins with the prefix, in the order of code points (that of UTF-8's bytes)."""
    kept = prefix.rstrip(_LAST)
    if not kept:
        return _ABOVE_ALL
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)


def _artifact(row: Row) -> Artifact:
    index, path, stage, size, crc32c, sha256, content_type, create_us = row
    content = Content(path=path, size=size, crc32c=crc32c, sha256=sha256, content_type=content_type)
    return Artifact(index=index, stage=stage, content=content, create_us=create_us)


def _position(artifact: Artifact) -> tuple[int, str]:
    return artifact.index, artifact.content.path
