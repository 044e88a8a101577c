"""How are outcomes and files of a batch read by index for `batchyard.service`? Lazily, and what has ended only once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from batchyard._record_info import RecordInfo

if TYPE_CHECKING:
    import os
    import pathlib

    from batchyard._sync.task import BatchTaskOperation
    from batchyard.v1.batch_task_service_pb2 import StreamRecordsResponse

# The first segment of paths that only the server makes: its log of each record is no file of the user's.
_RESERVED: Final = ".batchyard/"
_PAGE_RECORDS: Final = 500
# What is kept of the outcomes that were read; older ones are read again.
_KEPT_BYTES: Final = 64 * 1024 * 1024


class Files:
    """The files and logs of a task's records, of their newest outcomes.

    Every method raises NotFoundError if there is no such record or file, or if the task was deleted.
    """

    def __init__(self, task: BatchTaskOperation, timeout: float) -> None:
        self._task = task
        self._timeout = timeout

    def names(self, index: int) -> list[str]:
        """Return the names of the files that one record left, without its log."""
        paths = (artifact.path for artifact in self._task.artifacts(index, timeout=self._timeout))
        return [path for path in paths if not path.startswith(_RESERVED)]

    def read(self, index: int, name: str) -> bytes:
        """Return the bytes of one file."""
        return b"".join(self._task.read_artifact(index, name, timeout=self._timeout))

    def log(self, index: int) -> str:
        """Return what one record wrote, empty if it wrote nothing."""
        return self._task.log(index, timeout=self._timeout)

    def download(self, index: int, name: str, destination: str | os.PathLike[str]) -> pathlib.Path:
        """Write one file into a folder, whole and verified or not at all; return its path."""
        return self._task.download_artifact(index, name, destination, timeout=self._timeout)


class Artifacts(Mapping[str, bytes]):
    """The files of one record by name. The names are read when they are first asked for, the bytes each time."""

    def __init__(self, files: Files, index: int) -> None:
        self._files = files
        self._index = index
        self._known: dict[str, None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of record {self._index}>"

    def __getitem__(self, name: str) -> bytes:
        if name not in self._names():
            raise KeyError(name)
        return self._files.read(self._index, name)

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> dict[str, None]:
        if self._known is None:
            self._known = dict.fromkeys(self._files.names(self._index))
        return self._known


class Outcomes:
    """The records of one generation of a task, by index, each read when it is asked for.

    Who asks for one after the other gets them by pages, who asks for one far away gets that alone. What has ended is
    kept, what has not is asked for again; as it was when this was made, or later. May be shared by threads.
    """

    def __init__(self, task: BatchTaskOperation, generation: int, timeout: float) -> None:
        self._task = task
        self._generation = generation
        self._timeout = timeout
        self._pages: Iterator[StreamRecordsResponse] | None = None
        self._token = ""
        self._next = 0  # the first index that the pages have not brought
        self._read: dict[int, RecordInfo] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def record(self, index: int) -> RecordInfo:
        """Return one record, without its input.

        Raises:
            NotFoundError: no such index, or the task was deleted.
        """
        with self._lock:
            if index not in self._read and 0 <= index - self._next < _PAGE_RECORDS:
                self._read_pages(index)
            if index not in self._read:
                self._keep(
                    self._task.get_record(index, view="basic", generation=self._generation, timeout=self._timeout)
                )
            record = self._read[index]
            if not record.state.is_final:
                self._drop(index)
            return record

    def _read_pages(self, index: int) -> None:
        """Read on until there is this record."""
        pages = self._pages or self._task.pages(
            resume_token=self._token, page_size=_PAGE_RECORDS, generation=self._generation, timeout=self._timeout
        )
        self._pages = None  # one that fails is opened again, where it stopped
        while self._next <= index and (page := next(pages, None)) is not None:
            for message in page.records:
                if message.index not in self._read:  # else it has ended, which a page on its way may not know
                    self._keep(RecordInfo(message))
                self._next = message.index + 1
            self._token = page.resume_token
        self._pages = pages

    def _keep(self, record: RecordInfo) -> None:
        self._bytes += record.message.ByteSize()
        while self._read and self._bytes > _KEPT_BYTES:
            self._drop(next(iter(self._read)))
        self._read[record.index] = record

    def _drop(self, index: int) -> None:
        self._bytes -= self._read.pop(index).message.ByteSize()
