"""What a batch task left behind: its outcomes, read when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from batchyard._aio.call import stream
from batchyard._info import BatchTaskInfo, RecordInfo
from batchyard.v1 import batch_task_service_pb2, record_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batchyard._aio.connection import AsyncConnection
    from batchyard.v1.batch_task_pb2 import RecordCounts
    from batchyard.v1.batch_task_service_pb2 import StreamRecordsResponse

Order: TypeAlias = Literal["index", "completion"]
View: TypeAlias = Literal["basic", "full"]
OnFailure: TypeAlias = Literal["raise", "skip", "none"]

_ORDERS: Final = {"index": record_pb2.RecordInfo.INDEX, "completion": record_pb2.RecordInfo.COMPLETION}
VIEWS: Final = {"basic": record_pb2.RecordInfo.BASIC, "full": record_pb2.RecordInfo.FULL}
_FAILED: Final = record_pb2.RecordInfo.FAILED
_SUCCEEDED: Final = record_pb2.RecordInfo.SUCCEEDED


def record_pages(
    connection: AsyncConnection, task: str, *, order: str, view: str, resume_token: str, page_size: int, timeout: float
) -> AsyncIterator[StreamRecordsResponse]:
    """Yield the messages of StreamRecords; resumes after cuts.

    Raises:
        ValueError: order or view is none of the words.
        RpcError: see `stream`.
    """
    if order not in _ORDERS or view not in VIEWS:
        raise ValueError(f"order must be one of {list(_ORDERS)}, view one of {list(VIEWS)}")
    request = batch_task_service_pb2.StreamRecordsRequest(
        parent=task, page_size=page_size, resume_token=resume_token, order=_ORDERS[order], view=VIEWS[view]
    )
    return stream(connection.service.StreamRecords, request, timeout)


class AsyncRecordReader:
    """Reads the records of one task. Base of the handle and of the result."""

    _connection: AsyncConnection
    _task_name: str

    def pages(
        self,
        *,
        order: Order = "index",
        view: View = "basic",
        resume_token: str = "",
        page_size: int = 0,
        timeout: float = 60,
    ) -> AsyncIterator[StreamRecordsResponse]:
        """Yield records page by page, as messages: the fastest way to read many.

        Args:
            order: "index": dense, placeholders for what has no outcome yet; "completion": only what ended, in the order
                of commits.
            view: "full" adds the input.
            resume_token: of a page read before, in any process and at any time: goes on after it. Needs the same order.
            page_size: most records in one page; 0: the server's choice. A page also ends at 256 KiB.
            timeout: seconds to wait for one page. A cut stream resumes within it.

        Yields:
            Pages: `.records` (`batchyard.v1.RecordInfo`) and `.resume_token`. Ends at the present.

        Raises:
            RpcError: no page within `timeout`, or the task is gone.
        """
        return record_pages(
            self._connection,
            self._task_name,
            order=order,
            view=view,
            resume_token=resume_token,
            page_size=page_size,
            timeout=timeout,
        )

    async def records(
        self,
        *,
        order: Order = "index",
        view: View = "basic",
        resume_token: str = "",
        page_size: int = 0,
        timeout: float = 60,
    ) -> AsyncIterator[RecordInfo]:
        """Yield every record as `RecordInfo`; arguments and errors as of `pages`."""
        async for page in self.pages(
            order=order, view=view, resume_token=resume_token, page_size=page_size, timeout=timeout
        ):
            for record in page.records:
                yield RecordInfo(record)

    async def failed(self, *, view: View = "basic", timeout: float = 60) -> AsyncIterator[RecordInfo]:
        """Yield the records that failed so far, in the order in which they ended. Reads all outcomes."""
        async for page in self.pages(order="completion", view=view, timeout=timeout):
            for record in page.records:
                if record.state == _FAILED:
                    yield RecordInfo(record)

    async def outputs(self, *, on_failure: OnFailure = "raise", timeout: float = 60) -> AsyncIterator[Any]:
        """Yield the decoded output of every record, by index.

        Args:
            on_failure: what becomes of a record without an output because it failed, was cancelled or has not ended:
                "raise" its error, "skip" it, or yield "none" in its place. (A handler that returned nothing yields None
                in any case.)
            timeout: seconds to wait for one page.

        Raises:
            RecordFailedError: of the first record that failed; ValueError for one that has not ended well otherwise.
            RpcError: as of `pages`.
        """
        if on_failure not in {"raise", "skip", "none"}:
            raise ValueError(f'on_failure must be "raise", "skip" or "none", not {on_failure!r}')
        async for page in self.pages(timeout=timeout):
            for message in page.records:
                record = RecordInfo(message)
                if message.state == _SUCCEEDED:
                    yield record.output
                elif on_failure == "raise":
                    raise record.error or ValueError(f"record {record.index} has no output: {record.state.name}")
                elif on_failure == "none":
                    yield None


class AsyncBatchTaskResult(AsyncRecordReader):
    """A batch task that ended: its final description, and its records, read when they are asked for.

    Attributes:
        info: the task as it ended.
    """

    def __init__(self, connection: AsyncConnection, info: BatchTaskInfo) -> None:
        self._connection = connection
        self._task_name = info.name
        self.info = info

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.info!r}>"

    @property
    def counts(self) -> RecordCounts:
        """How many records succeeded, failed and were cancelled."""
        return self.info.counts
