"""How is one call of the task operations made? With its headers and its time, in its job, under its conditions."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

from batchyard._errors import RpcError
from batchyard._names import child_name, project_name
from batchyard._records import RecordValueError
from batchyard._sync.batch import Batch
from batchyard._sync.client import Client
from batchyard._sync.connection import Connection
from batchyard._sync.task import BatchTaskOperation
from batchyard._task_errors import TOO_LARGE, refused, translated
from batchyard._task_options import metadata_of, timeout_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from batchyard._info import BatchTaskInfo
    from batchyard._policies import RetryPolicy
    from batchyard._record_info import RecordInfo
    from batchyard._task_options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOperationsConfig:
    """What holds for every call that does not say otherwise.

    Attributes:
        handler: id of the handler that runs tasks which name none; the operator registers it, for example with argv
            `["/bin/sh", "-c", "{command_line}"]`. Default: `command`.
        timeout: seconds of a call. Default: 30.
        collection_timeout: seconds of each request of `add_collection`. Default: 120.
        retry_policy: when, and after which errors, a task is tried again. Default: see `RetryPolicy`.
    """

    handler: str = "command"
    timeout: float = 30
    collection_timeout: float = 120
    retry_policy: RetryPolicy | None = None


@contextmanager
def in_their_words() -> Generator[None]:
    """Raise what fails inside as BatchErrorException."""
    try:
        yield
    except RpcError as error:
        raise translated(error) from error
    except RecordValueError as error:
        if error.__cause__ is not None:
            raise
        raise refused(*TOO_LARGE, str(error)) from error  # it has a form, but no room


class _WithMetadata:
    """The stubs, with metadata on every call."""

    def __init__(self, stub: Any, metadata: Sequence[tuple[str, str]]) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(self._stub, name), metadata=self._metadata)


@dataclass(frozen=True, slots=True)
class JobCall:
    """One call: the stubs with its metadata, in its job, and its seconds."""

    connection: Connection
    timeout: float

    @property
    def batch(self) -> Batch:
        """The tasks of the job."""
        return Batch(self.connection)

    @property
    def parent(self) -> str:
        """Resource name of the job."""
        return project_name(self.connection.project)

    def name(self, task_id: str) -> str:
        """Return the resource name of a task."""
        if "/" in task_id:
            raise ValueError(f"{task_id!r} is no id of a task")
        return child_name(self.connection.project, "batchTasks", task_id)

    def task(self, task_id: str) -> BatchTaskOperation:
        """Return the handle of a task, which knows no operation."""
        return BatchTaskOperation(self.connection, self.name(task_id), "")

    def info(self, task_id: str) -> BatchTaskInfo:
        """Read a task.

        Raises:
            BatchErrorException: "TaskNotFound", …
        """
        with in_their_words():
            return self.task(task_id).get_task_info(timeout=self.timeout)

    def first_record(self, info: BatchTaskInfo) -> RecordInfo | None:
        """Read the first record of a task as it is in the task's generation; None if it has none."""
        if not info.counts.total:
            return None
        with in_their_words():
            task = self.task(info.task_id)
            return task.get_record(0, generation=info.generation, timeout=self.timeout)


class Session:
    """The connection that the task operations share.

    Args:
        client: a `Client`, which stays open when this is closed, or the target of one of our own.
        config: what holds for every call; None: the defaults.
    """

    def __init__(self, client: Client | str, config: TaskOperationsConfig | None) -> None:
        _check_client(client)
        self.config = config or TaskOperationsConfig()
        self._own = client if isinstance(client, str) else None
        self._client = Client(client) if isinstance(client, str) else client
        self._base = Connection(self._client.channel, self._client.project)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection if it is our own; tasks go on."""
        if self._own is not None:
            self._client.close()

    def _job(
        self,
        job_id: str,
        options: Options,
        custom_headers: Mapping[str, str] | None,
        operation_config: Mapping[str, Any],
        default: float | None = None,
    ) -> JobCall:
        """Return what one call needs.

        Raises:
            TypeError, ValueError: an argument that it cannot have.
        """
        if not job_id:
            raise ValueError("job_id must not be empty")
        timeout = timeout_of(options, operation_config, default or self.config.timeout)
        metadata = metadata_of(custom_headers, options)
        connection = copy.copy(self._base)
        connection.project = job_id
        connection.service = _WithMetadata(self._base.service, metadata) if metadata else self._base.service
        return JobCall(connection, timeout)


def _check_client(client: object) -> None:
    """Callers may have no type checker."""
    if not isinstance(client, (str, Client)):
        raise TypeError(f"a batchyard.Client or the target of a server is expected, not {type(client).__name__}")


def _condition(options: Any) -> tuple[str, Any] | None:
    """Return the condition that was given and its value, None if none was.

    Raises:
        BatchErrorException: "MultipleConditionHeadersNotSupported".
    """
    fields = ("if_match", "if_none_match", "if_modified_since", "if_unmodified_since")
    given = [(field, value) for field in fields if (value := getattr(options, field, None)) is not None]
    if len(given) > 1:
        names = ", ".join(field for field, _ in given)
        raise refused(400, "MultipleConditionHeadersNotSupported", f"one condition at a time, not {names}")
    return given[0] if given else None


def _quoted(etag: str) -> str:
    """Return an etag as the server gives it out, in quotes."""
    return '"' + etag.removeprefix("W/").strip('"') + '"'


def holds(condition: tuple[str, Any], etag: str, modified: datetime | None) -> bool:
    """Whether a condition holds.

    Raises:
        ValueError: a time that names no offset.
    """
    field, value = condition
    if field in {"if_match", "if_none_match"}:
        same = value == "*" or _quoted(value) == etag
        return same if field == "if_match" else not same
    since = cast("datetime", value)
    if since.tzinfo is None:
        raise ValueError(f"{field} must be an aware time, such as datetime(2026, 1, 31, tzinfo=UTC)")
    later = modified is not None and modified > since
    return later if field == "if_modified_since" else not later


def check_read(options: Any, etag: str, modified: datetime | None, name: str) -> None:
    """Check the condition of a call that changes nothing.

    Raises:
        NotModified: it has not changed.
        BatchErrorException: "ConditionNotMet": it is not the one that is meant.
    """
    condition = _condition(options)
    if condition is None or holds(condition, etag, modified):
        return
    status = 304 if condition[0] in {"if_none_match", "if_modified_since"} else 412
    raise refused(status, "ConditionNotMet", f"{condition[0]} does not hold of {name}")


def etag_for(call: JobCall, task_id: str, options: Any) -> str:
    """Return the etag with which a change is to be asked for, "" for none.

    An `if_match` is left to the server. Another condition is checked here first, and the change is then asked for with
    the etag that was seen, so that the configuration is still that one.

    Raises:
        BatchErrorException: "ConditionNotMet"; or the task cannot be read.
    """
    condition = _condition(options)
    if condition is None or condition == ("if_match", "*"):
        return ""
    if condition[0] == "if_match":
        return _quoted(condition[1])
    info = call.info(task_id)
    if not holds(condition, info.etag, info.update_time):
        raise refused(412, "ConditionNotMet", f"{condition[0]} does not hold of {info.name}")
    return info.etag
