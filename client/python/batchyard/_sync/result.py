# Generated from _aio/result.py by client/python/unasync.py; change that file and run `make gen`.
"""What a batch task left behind: its outcomes, read when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from batchyard._info import BatchTaskInfo
from batchyard._record_info import RecordAttempt, RecordInfo
from batchyard._sync.artifacts import ArtifactReader
from batchyard._sync.call import call, stream
from batchyard._sync.call import pages as pages_of
from batchyard.v1 import batch_task_service_pb2, record_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard._sync.connection import Connection
    from batchyard.v1.batch_task_pb2 import RecordCounts
    from batchyard.v1.batch_task_service_pb2 import StreamRecordsResponse

Order: TypeAlias = Literal["index", "completion"]
View: TypeAlias = Literal["basic", "full"]
OnFailure: TypeAlias = Literal["raise", "skip", "none"]

_ORDERS: Final = {"index": record_pb2.RecordInfo.INDEX, "completion": record_pb2.RecordInfo.COMPLETION}
VIEWS: Final = {"basic": record_pb2.RecordInfo.BASIC, "full": record_pb2.RecordInfo.FULL}
_SUCCEEDED: Final = record_pb2.RecordInfo.SUCCEEDED


def word(words: Mapping[str, int], name: str, word: str) -> Any:
    """Return the number that a word stands for.

    Raises:
        ValueError: it is none of the words.
    """
    if word not in words:
        raise ValueError(f"{name} must be one of {list(words)}, not {word!r}")
    return words[word]


class RecordReader(ArtifactReader):
    """Reads the records of one task, and their artifacts. Base of the handle and of the result.

    `generation` is the same everywhere: the records as they were at the end of that generation of the task. None: of a
    result its own, of a handle the task's current one. −1, only with order "completion": every outcome of every
    generation.
    """

    _own_generation = 0  # as in the contract, 0 is the current one

    def pages(
        self,
        *,
        filter: str = "",
        order: Order = "index",
        view: View = "basic",
        resume_token: str = "",
        page_size: int = 0,
        generation: int | None = None,
        timeout: float = 60,
    ) -> Iterator[StreamRecordsResponse]:
        """Yield records page by page, as messages: the fastest way to read many.

        Args:
            filter: which ones, as in AIP-160; "": all. Fields: state, index, record_id, error.code, attempt, exit_code.
                `state = FAILED AND index >= 1000`, `error.code = UNAVAILABLE OR attempt > 1`, `record_id = "a*"`.
            order: "index": dense, placeholders for what has no outcome yet; "completion": only what ended, in the order
                of commits.
            view: "full" adds the input.
            resume_token: of a page read before, in any process and at any time: goes on after it. Needs the same
                filter, order and generation.
            page_size: most records in one page; 0: the server's choice. A page also ends at 256 KiB.
            generation: as they were at the end of this one; see the class.
            timeout: seconds to wait for one page. A cut stream resumes within it.

        Yields:
            Pages: `.records` (`batchyard.v1.RecordInfo`) and `.resume_token`. Ends at the present. With a filter a
            page may have no records: it says how far the search has come.

        Raises:
            ValueError: order or view is none of the words.
            InvalidArgumentError: a wrong filter (`error.metadata["position"]` says where), or no such generation.
            RpcError: no page within `timeout`, or the task is gone.
        """
        request = batch_task_service_pb2.StreamRecordsRequest(
            parent=self._task_name,
            page_size=page_size,
            resume_token=resume_token,
            filter=filter,
            order=word(_ORDERS, "order", order),
            view=word(VIEWS, "view", view),
            generation=self._chosen(generation),
        )
        return stream(self._connection.service.StreamRecords, request, timeout)

    def records(
        self,
        *,
        filter: str = "",
        order: Order = "index",
        view: View = "basic",
        resume_token: str = "",
        page_size: int = 0,
        generation: int | None = None,
        timeout: float = 60,
    ) -> Iterator[RecordInfo]:
        """Yield every record as `RecordInfo`; arguments and errors as of `pages`."""
        for page in self.pages(
            filter=filter,
            order=order,
            view=view,
            resume_token=resume_token,
            page_size=page_size,
            generation=generation,
            timeout=timeout,
        ):
            for record in page.records:
                yield RecordInfo(record)

    def failed(
        self, *, view: View = "basic", generation: int | None = None, timeout: float = 60
    ) -> Iterator[RecordInfo]:
        """Yield the records that failed so far, in the order in which they ended. The server looks at no others."""
        for page in self.pages(
            filter="state = FAILED", order="completion", view=view, generation=generation, timeout=timeout
        ):
            for record in page.records:
                yield RecordInfo(record)

    def outputs(
        self, *, on_failure: OnFailure = "raise", generation: int | None = None, timeout: float = 60
    ) -> Iterator[Any]:
        """Yield the decoded output of every record, by index.

        Args:
            on_failure: what becomes of a record without an output because it failed, was cancelled or has not ended:
                "raise" its error, "skip" it, or yield "none" in its place. (A handler that returned nothing yields None
                in any case.)
            generation: as they were at the end of this one; see the class.
            timeout: seconds to wait for one page.

        Raises:
            RecordFailedError: of the first record that failed; ValueError for one that has not ended well otherwise.
            RpcError: as of `pages`.
        """
        if on_failure not in {"raise", "skip", "none"}:
            raise ValueError(f'on_failure must be "raise", "skip" or "none", not {on_failure!r}')
        for page in self.pages(generation=generation, timeout=timeout):
            for message in page.records:
                record = RecordInfo(message)
                if message.state == _SUCCEEDED:
                    yield record.output
                elif on_failure == "raise":
                    raise record.error or ValueError(f"record {record.index} has no output: {record.state.name}")
                elif on_failure == "none":
                    yield None

    def get_record(
        self, index: int, *, view: View = "full", generation: int | None = None, timeout: float = 60
    ) -> RecordInfo:
        """Read one record.

        Raises:
            ValueError: view is none of the words.
            NotFoundError: no such index, or no such generation.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.GetRecordRequest(
            name=f"{self._task_name}/records/{index}",
            view=word(VIEWS, "view", view),
            generation=self._chosen(generation),
        )
        return RecordInfo(call(self._connection.service.GetRecord, request, timeout))

    def attempts(self, index: int, *, page_size: int = 0, timeout: float = 60) -> Iterator[RecordAttempt]:
        """Yield the executions of one record that ended, over all generations, oldest first; the last 100 are kept.

        Args:
            index: position of the record in the task.
            page_size: most attempts in one page, which is read when it is needed; 0: the server's choice.
            timeout: seconds to wait for one page.

        Raises:
            NotFoundError: no such index.
            RpcError: a page was not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.ListRecordAttemptsRequest(
            parent=f"{self._task_name}/records/{index}", page_size=page_size
        )
        for page in pages_of(self._connection.service.ListRecordAttempts, request, timeout):
            for attempt in page.attempts:
                yield RecordAttempt(attempt, index)

    def _chosen(self, generation: int | None) -> int:
        return self._own_generation if generation is None else generation


class BatchTaskResult(RecordReader):
    """A batch task that ended: its final description, and its records, read when they are asked for.

    It stays what it is when the task is reactivated: its records are those of its own generation.

    Attributes:
        info: the task as it ended.
    """

    def __init__(self, connection: Connection, info: BatchTaskInfo) -> None:
        self._connection = connection
        self._task_name = info.name
        self._own_generation = info.generation
        self.info = info

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.info!r}>"

    @property
    def counts(self) -> RecordCounts:
        """How many records succeeded, failed and were cancelled."""
        return self.info.counts
