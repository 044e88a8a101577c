"""The record_attempt table: executions that left no outcome. How often did a record run, and how did each time end?"""

# ruff: noqa: S608 - what is put into statements here are numbers of this module, never values of callers

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchyard_server.codec import attempts as codec
from batchyard_server.model import limits
from batchyard_server.model.record import PastAttempt
from batchyard_server.model.task import Attempts
from batchyard_server.store.sqlite import records, tasks
from batchyard_server.store.sqlite.readers import Reader
from batchyard_server.store.sqlite.transaction import Rows, Transaction

_INSERT = Rows(10, "INSERT OR REPLACE INTO record_attempt VALUES", "(?, ?, ?, ?, ?, ?)")
_OLDEST = "DELETE FROM record_attempt WHERE task_key = ?1 AND idx = ?2 AND (generation, attempt) <="
TRIM = Rows(11, _OLDEST, "(?3, ?4)", most=1)
TRIM_BY_NUMBER = Rows(
    11,
    _OLDEST,
    "(SELECT generation, attempt FROM record_attempt WHERE task_key = ?1 AND idx = ?2 "
    f"ORDER BY generation DESC, attempt DESC LIMIT 1 OFFSET {limits.RECORD_ATTEMPTS})",
    most=1,
)
OF_RECORD = (
    "SELECT generation, attempt, info FROM record_attempt WHERE task_key = ? AND idx = ? "
    f"ORDER BY generation DESC, attempt DESC LIMIT {limits.RECORD_ATTEMPTS}"
)


def add(
    tx: Transaction,
    task_key: int,
    generation: int,
    attempts: Mapping[int, Attempts],
    history: Sequence[tuple[int, bytes]],
    logs: Mapping[int, bytes],
) -> None:
    """Keep (index, serialized RecordAttempt) of the last executions of records; the oldest of too many go.

    `logs`: what they wrote, by index.
    """
    for index, info in history:
        begun = attempts[index].begun
        tx.add(_INSERT, (task_key, index, generation, begun, info, logs.get(index) or None))
        if begun > limits.RECORD_ATTEMPTS:  # in this generation alone: no need to count
            tx.add(TRIM, (task_key, index, generation, begun - limits.RECORD_ATTEMPTS))
        elif generation > 1:
            tx.add(TRIM_BY_NUMBER, (task_key, index))


def of_record(reader: Reader, task_key: int, index: int) -> list[PastAttempt]:
    """See Store.record_attempts."""
    task = tasks.by_key(reader, task_key)
    if task is None:
        raise tasks.deleted(reader, task_key)
    rows = reader.run(OF_RECORD, (task_key, index))
    found = [PastAttempt(generation=generation, attempt=attempt, info=info) for generation, attempt, info in rows]
    ended = 0
    for generation in range(task.generation, 0, -1):
        record = records.outcome(reader, task_key, generation, index)
        if record is not None:
            found.append(codec.of_stored(record))
            ended += 1
            if ended == limits.RECORD_ATTEMPTS:
                break
    found.sort(key=lambda each: (each.generation, each.attempt))
    return found[-limits.RECORD_ATTEMPTS :]
