"""A batch task that is to be created among others: what `run_many` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchyard._records import check_records
from batchyard._settings import new_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable
    from typing import Unpack

    from batchyard._settings import TaskSettings


class NewTask:
    """One task for `run_many`.

    Args:
        handler: id of a handler of the server.
        records: what `run` takes; read when its turn has come.
        task_id: id of the new task, `[a-zA-Z0-9_-]{1,64}`. None: made by the server.
        record_ids: one id per record, in the same order.
        start: False leaves a draft.
        settings: what `TaskSettings` lists: parameters, labels, priority, …

    Raises:
        TypeError, ValueError: a setting that does not exist, or a value that it cannot have; `records` is no iterable
            of records.
    """

    __slots__ = ("message", "record_ids", "records", "start", "task_id")

    def __init__(
        self,
        handler: str,
        records: Iterable[object] | AsyncIterable[object],
        *,
        task_id: str | None = None,
        record_ids: Iterable[str] | None = None,
        start: bool = True,
        **settings: Unpack[TaskSettings],
    ) -> None:
        check_records(records)
        self.message = new_task(handler, settings)
        self.records: Any = records
        self.task_id = task_id
        self.record_ids = record_ids
        self.start = start

    def __repr__(self) -> str:
        return f"<NewTask {self.task_id or '(new id)'} handler={self.message.handler}>"
