"""Which files did a task leave? The seed's operations on files, over artifacts.

Names are paths in the folder that the handler wrote to; of a task of several records with the index before: `3/a.txt`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from batchyard._artifact_info import Artifact
from batchyard._errors import NotFoundError
from batchyard._sync.call import pages
from batchyard._task_calls import JobCall, Session, TaskOperationsConfig, check_read, in_their_words
from batchyard._task_errors import refused
from batchyard._task_odata import odata_name_prefix
from batchyard._task_options import (
    FileDeleteFromTaskOptions,
    FileGetFromTaskOptions,
    FileGetPropertiesFromTaskOptions,
    FileListFromTaskOptions,
    page_size_of,
    read_options,
)
from batchyard._task_results import ClientRawResponse, Paged, http_date
from batchyard.v1 import batch_task_service_pb2

if TYPE_CHECKING:
    from datetime import datetime

    from batchyard._sync.client import Client

Headers: TypeAlias = Mapping[str, str] | None
# What users of the seed call what a command wrote to its standard streams, unless it left a file of that name.
_STDOUT: Final = "stdout.txt"
_STDERR: Final = "stderr.txt"
_LOG: Final = ".batchyard/log.txt"
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")
_INDEX: Final = re.compile(r"0|[1-9]\d*")


@dataclass(frozen=True, slots=True)
class FileProperties:
    """What is known of a file. A file never changes, so `last_modified` is when it came."""

    creation_time: datetime | None
    last_modified: datetime | None
    content_length: int
    content_type: str


@dataclass(frozen=True, slots=True)
class NodeFile:
    """A file or folder of a task.

    Attributes:
        name: its path.
        url: resource name of the artifact; None of a folder.
        is_directory: whether it is a folder.
        properties: of a file; None of a folder.
    """

    name: str
    url: str | None
    is_directory: bool
    properties: FileProperties | None


@dataclass(frozen=True, slots=True)
class _Found:
    """A file, and how its bytes are read: (offset, limit; 0: to the end) → parts."""

    name: str
    url: str
    properties: FileProperties
    read: Callable[[int, int], Iterator[bytes]]

    @property
    def headers(self) -> Mapping[str, str]:
        """What is known of it, as headers."""
        known, created = self.properties, self.properties.creation_time
        headers = {
            "Content-Length": str(known.content_length),
            "Content-Type": known.content_type,
            "ocp-batch-file-isdirectory": "false",
            "ocp-batch-file-url": self.url,
        }
        if created is not None:
            headers |= {"Last-Modified": http_date(created), "ocp-creation-time": http_date(created)}
        return headers


class FileOperations(Session):
    """Lists, reads and deletes the files that tasks left. Use it as context manager, or `close` it.

    Besides what is listed, `get_from_task` and `get_properties_from_task` know what a command wrote, unless it left
    files of these names: `stdout.txt`, the output of a record that succeeded, and `stderr.txt`, the log of one that
    ended. Arguments that all methods take are those of `TaskOperations`.

    Args:
        client: a `Client`, which stays open when this is closed; or the `host:port` of the server.
        config: times that hold where nothing else is said.
    """

    def __init__(self, client: Client | str, config: TaskOperationsConfig | None = None) -> None:
        super().__init__(client, config)

    def list_from_task(
        self,
        job_id: str,
        task_id: str,
        recursive: bool | None = None,
        file_list_from_task_options: FileListFromTaskOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        **operation_config: Any,
    ) -> Paged:
        """Iterate over the files and folders of a task, by name; without `recursive` over those at the top.

        Raises:
            ODataFilterError: the filter is no `startswith(name, '…')`.
            BatchErrorException: while iterating; "TaskNotFound", …
        """
        options = read_options(file_list_from_task_options, FileListFromTaskOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        prefix = odata_name_prefix(options.filter) if options.filter else ""
        size = page_size_of(options.max_results)

        def fetch() -> Iterator[Sequence[NodeFile]]:
            several = job.info(task_id).counts.total > 1
            nodes = _Nodes(prefix, recursive=bool(recursive))
            with in_their_words():
                for page in _artifacts(job, task_id, several, prefix, size):
                    yield [node for artifact in page for node in nodes.of(artifact, several)]

        return Paged(fetch, raw)

    def get_from_task(
        self,
        job_id: str,
        task_id: str,
        file_path: str,
        file_get_from_task_options: FileGetFromTaskOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        callback: Callable[[bytes, Any], object] | None = None,
        **operation_config: Any,
    ) -> Iterator[bytes] | ClientRawResponse:
        """Read a file; a cut stream goes on where it was.

        Args:
            job_id: the job.
            task_id: the task.
            file_path: its name.
            file_get_from_task_options: options.
            custom_headers: metadata.
            raw: whether a ClientRawResponse is wanted, with the properties as headers.
            callback: called with each part, and with the response.
            operation_config: `timeout`, here of the first and of every further part.

        Returns:
            Its bytes, in parts of at most 64 KiB.

        Raises:
            BatchErrorException: "FileNotFound", "TaskNotFound", "InvalidRange", "ConditionNotMet", …
            ValueError: ocp_range is no such range.
        """
        options = read_options(file_get_from_task_options, FileGetFromTaskOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        found = _find(job, task_id, file_path)
        check_read(options, "", found.properties.creation_time, found.name)
        offset, limit = _range(options.ocp_range, found)
        answer = ClientRawResponse(None, 200 if options.ocp_range is None else 206, found.headers)

        def parts() -> Iterator[bytes]:
            with in_their_words():
                for part in found.read(offset, limit):
                    if callback is not None:
                        callback(part, answer.response)
                    yield part

        answer.output = parts()
        return answer if raw else answer.output

    def get_properties_from_task(
        self,
        job_id: str,
        task_id: str,
        file_path: str,
        file_get_properties_from_task_options: FileGetPropertiesFromTaskOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        **operation_config: Any,
    ) -> ClientRawResponse | None:
        """Look whether there is a file; with `raw` its properties are the headers.

        Raises:
            BatchErrorException: "FileNotFound", "TaskNotFound", "ConditionNotMet", …
        """
        options = read_options(file_get_properties_from_task_options, FileGetPropertiesFromTaskOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        found = _find(job, task_id, file_path)
        check_read(options, "", found.properties.creation_time, found.name)
        return ClientRawResponse(None, 200, found.headers) if raw else None

    def delete_from_task(
        self,
        job_id: str,
        task_id: str,
        file_path: str,
        recursive: bool | None = None,
        file_delete_from_task_options: FileDeleteFromTaskOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        **operation_config: Any,
    ) -> ClientRawResponse | None:
        """Delete a file, or with `recursive` a folder with all that is in it. The record and its outcome stay.

        Raises:
            BatchErrorException: "FileNotFound", "TaskNotFound"; "OperationInvalidForCurrentState": a folder, and not
                recursive.
        """
        options = read_options(file_delete_from_task_options, FileDeleteFromTaskOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        several = job.info(task_id).counts.total > 1
        path = file_path.rstrip("/")
        task = job.task(task_id)
        with in_their_words():
            found = list(_matching(job, task_id, several, path)) if path == file_path else []
            if not found:
                found = list(_matching(job, task_id, several, path + "/"))
                if found and not recursive:
                    raise refused(409, "OperationInvalidForCurrentState", f"{path} is a folder that is not empty")
            if not found:
                raise _missing(job, task_id, file_path)
            for artifact in found:
                task.delete_artifact(artifact.index, artifact.path, allow_missing=True, timeout=job.timeout)
        return ClientRawResponse(None, 200, {}) if raw else None


class _Nodes:
    """Makes files and folders of artifacts that come by name."""

    def __init__(self, prefix: str, *, recursive: bool) -> None:
        self._prefix = prefix
        self._recursive = recursive
        self._last: Sequence[str] = ()

    def of(self, artifact: Artifact, several: bool) -> Iterator[NodeFile]:
        """Yield the folders in which it is the first, and itself."""
        name = _name(artifact, several)
        *folders, _ = name.split("/")
        for depth in range(1, len(folders) + 1 if self._recursive else min(len(folders), 1) + 1):
            if list(self._last[:depth]) != folders[:depth] and (folder := "/".join(folders[:depth])):
                yield from self._wanted(NodeFile(folder, None, True, None))
        self._last = folders
        if self._recursive or not folders:
            yield from self._wanted(NodeFile(name, artifact.name, False, _properties(artifact)))

    def _wanted(self, node: NodeFile) -> Iterator[NodeFile]:
        if node.name.startswith(self._prefix):
            yield node


def _name(artifact: Artifact, several: bool) -> str:
    return f"{artifact.index}/{artifact.path}" if several else artifact.path


def _properties(artifact: Artifact) -> FileProperties:
    created = artifact.create_time
    return FileProperties(created, created, artifact.size, artifact.content_type)


def _artifacts(
    job: JobCall, task_id: str, several: bool, prefix: str, page_size: int = 0
) -> Iterator[Sequence[Artifact]]:
    """Yield pages of artifacts, at least all whose name begins with the prefix, in the order of names."""
    index, slash, rest = prefix.partition("/") if several else ("0", "/", prefix)
    if slash and not _INDEX.fullmatch(index):
        return
    request = batch_task_service_pb2.ListArtifactsRequest(
        parent=f"{job.name(task_id)}/records/{index if slash else '-'}", page_size=page_size, prefix=rest
    )
    try:
        for page in pages(job.connection.service.ListArtifacts, request, job.timeout):
            yield [Artifact(message) for message in page.artifacts]
    except NotFoundError as error:
        if error.detail.resource_type != "batchyard.dev/Record":  # no such index: nothing begins so
            raise


def _matching(job: JobCall, task_id: str, several: bool, path: str) -> Iterator[Artifact]:
    """Yield the artifact of that name; of a name that ends in `/` all that are in it."""
    for page in _artifacts(job, task_id, several, path):
        for artifact in page:
            name = _name(artifact, several)
            if name == path or (path.endswith("/") and name.startswith(path)):
                yield artifact


def _find(job: JobCall, task_id: str, path: str) -> _Found:
    """Return the file of that name.

    Raises:
        BatchErrorException: "FileNotFound", "TaskNotFound", …
    """
    several = job.info(task_id).counts.total > 1
    given, _, rest = path.partition("/") if several else ("0", "/", path)
    if not rest or not _INDEX.fullmatch(given):
        raise _missing(job, task_id, path)
    index = int(given)
    with in_their_words():
        found = _artifact(job, task_id, index, rest, path)
        if found is None and rest == _STDERR:
            found = _artifact(job, task_id, index, _LOG, path)
        if found is None and rest in {_STDOUT, _STDERR}:
            found = _written(job, task_id, index, path)
    if found is None:
        raise _missing(job, task_id, path)
    return found


def _artifact(job: JobCall, task_id: str, index: int, path: str, name: str) -> _Found | None:
    task = job.task(task_id)
    try:
        artifact = task.get_artifact(index, path, timeout=job.timeout)
    except NotFoundError:
        return None

    def read(offset: int, limit: int) -> Iterator[bytes]:
        return task.read_artifact(index, path, offset=offset, limit=limit, timeout=job.timeout)

    return _Found(name, artifact.name, _properties(artifact), read)


def _written(job: JobCall, task_id: str, index: int, name: str) -> _Found | None:
    """Return the output of a record that succeeded as a file, or the log of one that ended and has none."""
    try:
        record = job.task(task_id).get_record(index, view="basic", timeout=job.timeout)
    except NotFoundError:
        return None
    output = record.message.output
    printed = name.endswith(_STDOUT)
    if not (record.is_succeeded or (record.is_failed and not printed)):
        return None
    data = (output.data or output.text.encode()) if printed else b""
    known = FileProperties(record.end_time, record.end_time, len(data), output.content_type)

    def read(offset: int, limit: int) -> Iterator[bytes]:
        return filter(None, [data[offset : offset + limit if limit else None]])

    return _Found(name, record.name, known, read)


def _missing(job: JobCall, task_id: str, path: str) -> Exception:
    return refused(404, "FileNotFound", f"{job.name(task_id)} has no file {path}")


def _range(ocp_range: str | None, found: _Found) -> tuple[int, int]:
    """Return offset and limit (0: to the end) of a range.

    Raises:
        ValueError: it is no range.
        BatchErrorException: "InvalidRange": it begins behind the end.
    """
    if ocp_range is None:
        return 0, 0
    match = _RANGE.fullmatch(ocp_range)
    if match is None or (match[2] and int(match[2]) < int(match[1])):
        raise ValueError(f"ocp_range is bytes=FIRST-LAST or bytes=FIRST-, not {ocp_range!r}")
    first = int(match[1])
    if first >= found.properties.content_length:
        text = f"{found.name} has {found.properties.content_length} bytes, so none from {first} on"
        raise refused(416, "InvalidRange", text)
    return first, int(match[2]) - first + 1 if match[2] else 0
