"""What do the task operations answer with, beside the tasks themselves?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from batchyard._task_errors import BatchError, Response

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from batchyard._info import BatchTaskInfo


class TaskAddStatus(StrEnum):
    """What became of one task of a collection."""

    success = "success"
    client_error = "clienterror"
    server_error = "servererror"


class TaskAddResult:
    """What became of one task of a collection.

    Attributes:
        task_id: its id.
        status: success; clienterror: refused, and would be again; servererror: refused for what may pass.
        error: why it was refused; of one that was there already "TaskExists". None if it was added.
        location: its resource name; None if it was refused.
    """

    __slots__ = ("_found", "_read", "error", "location", "status", "task_id")

    def __init__(
        self,
        task_id: str,
        status: TaskAddStatus,
        error: BatchError | None = None,
        *,
        location: str | None = None,
        read: Callable[[], BatchTaskInfo] | None = None,
    ) -> None:
        self.task_id = task_id
        self.status = status
        self.error = error
        self.location = location
        self._read = read
        self._found: BatchTaskInfo | None = None

    def __repr__(self) -> str:
        return f"<TaskAddResult {self.task_id} {self.error.code if self.error else self.status}>"

    @property
    def exists(self) -> bool:
        """Whether the task is there: it was added now, or before."""
        return self.error is None or self.error.code == "TaskExists"

    @property
    def e_tag(self) -> str | None:
        """Its etag, read from the server at the first use; None if the task was refused.

        Raises:
            BatchErrorException: it cannot be read.
        """
        info = self._info()
        return info.etag if info is not None else None

    @property
    def last_modified(self) -> datetime | None:
        """When it last changed, read like `e_tag`; None if the task was refused."""
        info = self._info()
        return info.update_time if info is not None else None

    def _info(self) -> BatchTaskInfo | None:
        if self._found is None and self._read is not None:
            self._found = self._read()
        return self._found


@dataclass(frozen=True, slots=True)
class TaskAddCollectionResult:
    """`value`: what became of each task, in the order given."""

    value: Sequence[TaskAddResult]


class ClientRawResponse:
    """What a call answers with `raw=True`.

    Attributes:
        output: what it answers without.
        response: `status_code` and `headers`.
        headers: those headers: `ETag`, `Last-Modified` and `DataServiceId` (the resource name) of the task.
    """

    def __init__(self, output: Any, status_code: int, headers: Mapping[str, str]) -> None:
        self.output = output
        self.headers = dict(headers)
        self.response = Response(status_code, self.headers)

    @classmethod
    def of_task(cls, output: Any, status_code: int, info: BatchTaskInfo) -> Self:
        """Return one about a task."""
        headers = {"ETag": info.etag, "DataServiceId": info.name}
        if info.update_time is not None:
            headers["Last-Modified"] = http_date(info.update_time)
        return cls(output, status_code, headers)


def http_date(time: datetime) -> str:
    """Return a time (UTC) as HTTP headers have it, to the second."""
    return format_datetime(time, usegmt=True)


class Paged(Iterator[Any]):
    """Iterates over items that are fetched page by page, when they are needed.

    After an error it goes on where it was. With `raw` each page is also there as `raw`, a ClientRawResponse.

    Args:
        fetch: yields the pages that are still to come, each as a sequence; called at the beginning and after an error.
        raw: whether `raw` is wanted.

    Attributes:
        current_page: the items of the page that was fetched last.
        raw: the same as a ClientRawResponse; None unless asked for.
    """

    def __init__(self, fetch: Callable[[], Iterator[Sequence[Any]]], raw: bool) -> None:
        self.current_page: Sequence[Any] = []
        self.raw: ClientRawResponse | None = None
        self._fetch = fetch
        self._pages: Iterator[Sequence[Any]] | None = None
        self._wants_raw = raw
        self._next = 0

    def __next__(self) -> Any:
        while self._next == len(self.current_page):
            self.advance_page()
        self._next += 1
        return self.current_page[self._next - 1]

    next = __next__

    def advance_page(self) -> Sequence[Any]:
        """Fetch the next page, which may be empty, and return its items.

        Raises:
            StopIteration: there is none.
            BatchErrorException: it cannot be fetched.
        """
        if self._pages is None:
            self._pages = self._fetch()
        try:
            self.current_page, self._next = next(self._pages), 0
        except StopIteration:
            raise
        except Exception:
            self._pages = None
            raise
        self.raw = ClientRawResponse(self.current_page, 200, {}) if self._wants_raw else None
        return self.current_page
