# Generated from _aio/artifacts.py by client/python/unasync.py; change that file and run `make gen`.
"""The files that handlers left for the records of one task."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from batchyard._artifact_errors import DownloadError, OffsetBeyondEndError
from batchyard._artifact_info import Artifact
from batchyard._download import Destination
from batchyard._errors import NotFoundError
from batchyard._progress import DownloadReporter
from batchyard._sync.call import call, stream
from batchyard._sync.call import pages as pages_of
from batchyard._transport_sync import in_thread
from batchyard.v1 import batch_task_service_pb2

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Iterator

    from batchyard._download import Part
    from batchyard._progress import OnDownload
    from batchyard._sync.connection import Connection

# An artifact may be replaced while it is read, by the outcome of a later generation; not again and again.
_TRIES: Final = 5
_ARTIFACT_TYPE: Final = "batchyard.dev/Artifact"
_LOG_PATH: Final = ".batchyard/log.txt"


class ArtifactReader:
    """Reads the artifacts of one task. Base of the handle and of the result.

    Always those that there are now: of each record those of its newest outcome.
    """

    _connection: Connection
    _task_name: str

    def artifacts(
        self, index: int | None = None, *, prefix: str = "", page_size: int = 0, timeout: float = 60
    ) -> Iterator[Artifact]:
        """Yield artifacts by index, then path; also while the task runs.

        Args:
            index: of one record; None: of all.
            prefix: only those whose path begins with it.
            page_size: most artifacts in one page, which is read when it is needed; 0: the server's choice.
            timeout: seconds to wait for one page.

        Raises:
            NotFoundError: no such index, or the task was deleted.
            RpcError: a page was not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.ListArtifactsRequest(
            parent=f"{self._task_name}/records/{'-' if index is None else index}", page_size=page_size, prefix=prefix
        )
        for page in pages_of(self._connection.service.ListArtifacts, request, timeout):
            for artifact in page.artifacts:
                yield Artifact(artifact)

    def get_artifact(self, index: int, path: str, *, timeout: float = 60) -> Artifact:
        """Read what is known of one artifact.

        Raises:
            NotFoundError: there is none.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        return self._described(self._artifact_name(index, path), timeout)

    def read_artifact(
        self, index: int, path: str, *, offset: int = 0, limit: int = 0, timeout: float = 60
    ) -> Iterator[bytes]:
        """Yield the bytes of one artifact, at most 64 KiB at once. A cut stream goes on where it was.

        Args:
            index: of its record.
            path: as in `Artifact.path`.
            offset: the first byte.
            limit: most bytes; 0: to the end.
            timeout: seconds to wait for the next bytes.

        Raises:
            NotFoundError: there is none.
            OffsetBeyondEndError: it ends before `offset`.
            ArtifactDamagedError: the server has not what was stored.
            DownloadError: it was replaced by another one while it was read.
            RpcError: nothing came within `timeout` seconds, or refused.
        """
        return self._bytes(self._artifact_name(index, path), offset, limit, timeout)

    def delete_artifact(
        self,
        index: int,
        path: str,
        *,
        allow_missing: bool = False,
        request_id: str | None = None,
        timeout: float = 60,
    ) -> None:
        """Delete one artifact; the record and its outcome stay as they are.

        Args:
            index: of its record.
            path: as in `Artifact.path`.
            allow_missing: no error if there is none.
            request_id: UUID4 that makes the call safe to repeat from another process. None: a new one.
            timeout: seconds.

        Raises:
            NotFoundError: there is none.
            RpcError: not answered within `timeout` seconds, or refused.
        """
        request = batch_task_service_pb2.DeleteArtifactRequest(
            name=self._artifact_name(index, path),
            request_id=request_id or str(uuid.uuid4()),
            allow_missing=allow_missing,
        )
        call(self._connection.service.DeleteArtifact, request, timeout)

    def log(self, index: int, *, timeout: float = 60) -> str:
        """Return what a record wrote by `context.log`, to its standard output or error; "" if it wrote nothing.

        A section for each of its executions in the last generation in which one ended, also if that goes on. Bytes that
        are not UTF-8 become backslash escapes.

        Args:
            index: position of the record in the task.
            timeout: seconds to wait for the next bytes.

        Raises:
            NotFoundError: no such index.
            ArtifactDamagedError: the server has not what was stored.
            RpcError: nothing came within `timeout` seconds, or refused.
        """
        tries = _TRIES
        while True:
            text = bytearray()
            try:
                for data in self.read_artifact(index, _LOG_PATH, timeout=timeout):
                    text += data
                return text.decode("utf-8", "backslashreplace")
            except NotFoundError as error:
                if error.detail.resource_type != _ARTIFACT_TYPE:
                    raise
                return ""
            except (OffsetBeyondEndError, DownloadError):  # it has another section now, or is of another generation
                tries -= 1
                if not tries:
                    raise

    def download(
        self,
        index: int | None = None,
        destination: str | os.PathLike[str] = ".",
        *,
        prefix: str = "",
        progress: OnDownload = None,
        timeout: float = 60,
    ) -> list[pathlib.Path]:
        """Write artifacts into a folder; each appears whole, with its checksum verified, or not at all.

        Of one record under their paths; of all records each under `{index}/` and its path. What is there under such a
        name is replaced. Nothing is ever written outside the folder.

        Args:
            index: of one record; None: of all.
            destination: the folder, made if it is not there.
            prefix: only those whose path begins with it.
            progress: called with a `DownloadProgress` as bytes come; "bar" shows a bar on stderr (extra `cli`).
            timeout: seconds to wait for one page of the list, and for the next bytes.

        Returns:
            The paths of the files, in the order of the artifacts.

        Raises:
            NotFoundError: no such index, or the task was deleted.
            ArtifactDamagedError: the server has not what was stored.
            DownloadError: a path that leads out of the folder, or bytes that do not fit their checksum.
            OSError: a file cannot be written.
            RpcError: nothing came within `timeout` seconds, or refused.
        """
        folder = Destination(destination, by_record=index is None)
        report = DownloadReporter(progress)
        try:
            found = self.artifacts(index, prefix=prefix, timeout=timeout)
            return [self._fetch(artifact, folder, report, timeout) for artifact in found]
        finally:
            report.close()

    def download_artifact(
        self,
        index: int,
        path: str,
        destination: str | os.PathLike[str] = ".",
        *,
        progress: OnDownload = None,
        timeout: float = 60,
    ) -> pathlib.Path:
        """Write one artifact into a folder, under its path; arguments, errors and promises as of `download`.

        Returns:
            The path of the file.

        Raises:
            NotFoundError: there is none.
        """
        report = DownloadReporter(progress)
        try:
            artifact = self._described(self._artifact_name(index, path), timeout)
            return self._fetch(artifact, Destination(destination, by_record=False), report, timeout)
        finally:
            report.close()

    def _fetch(self, artifact: Artifact, folder: Destination, report: DownloadReporter, timeout: float) -> pathlib.Path:
        for _ in range(_TRIES):
            part = folder.open(artifact)
            try:
                if self._fill(part, artifact, report, timeout):
                    report.finished(artifact)
                    return part.finish()
            finally:
                part.discard()
            known, artifact = artifact, self._described(artifact.name, timeout)
            if artifact == known:
                break
        raise DownloadError(artifact.name, "what came does not fit its checksum")

    def _fill(self, part: Part, artifact: Artifact, report: DownloadReporter, timeout: float) -> bool:
        """Write the bytes; False if they are not those of this artifact: perhaps another one took its place."""
        try:
            for data in self._bytes(artifact.name, 0, 0, timeout):
                in_thread(part.write, data)
                report.received(artifact, part.received)
        except (OffsetBeyondEndError, DownloadError):
            return False
        return part.is_whole

    def _bytes(self, name: str, offset: int, limit: int, timeout: float) -> Iterator[bytes]:
        request = batch_task_service_pb2.ReadArtifactRequest(name=name, offset=offset, limit=limit)
        checksum = 0
        for message in stream(self._connection.service.ReadArtifact, request, timeout, _go_on):
            if checksum and message.crc32c not in {0, checksum}:  # the first message of a stream that was cut
                raise DownloadError(name, "it was replaced while it was read")
            checksum = checksum or message.crc32c
            if message.data:
                yield message.data
            if limit and not request.limit:  # nothing more is wanted; 0 would be all
                return

    def _described(self, name: str, timeout: float) -> Artifact:
        request = batch_task_service_pb2.GetArtifactRequest(name=name)
        return Artifact(call(self._connection.service.GetArtifact, request, timeout))

    def _artifact_name(self, index: int, path: str) -> str:
        return f"{self._task_name}/records/{index}/artifacts/{path}"


def _go_on(request: Any, message: Any) -> None:
    """Let the request ask for what comes after the message."""
    request.offset += len(message.data)
    if request.limit:
        request.limit -= len(message.data)
