"""Which calls on tasks do users of seed 004 know, and what do they do here?"""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from google.protobuf.field_mask_pb2 import FieldMask

from batchyard import _task_models as models
from batchyard._info import BatchTaskInfo
from batchyard._sync.call import call, pages
from batchyard._task_calls import JobCall, Session, TaskOperationsConfig, check_read, etag_for, in_their_words
from batchyard._task_collection import Addition
from batchyard._task_errors import CreateTasksErrorException
from batchyard._task_odata import odata_to_filter
from batchyard._task_options import (
    TaskAddCollectionOptions,
    TaskAddOptions,
    TaskDeleteOptions,
    TaskGetOptions,
    TaskListOptions,
    TaskListSubtasksOptions,
    TaskReactivateOptions,
    TaskTerminateOptions,
    TaskUpdateOptions,
    expands_stats,
    page_size_of,
    read_options,
)
from batchyard._task_parameters import TaskAddParameter, TaskConstraints
from batchyard._task_results import ClientRawResponse, Paged, TaskAddCollectionResult
from batchyard._task_submit import to_constraints, to_new_task
from batchyard._task_views import (
    CloudTask,
    CloudTaskListSubtasksResult,
    SubtaskInformation,
    read_select,
)
from batchyard.v1 import batch_task_pb2, batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from batchyard._new_task import NewTask
    from batchyard._record_info import RecordInfo
    from batchyard._sync.client import Client

    Serializer: TypeAlias = Callable[[TaskAddParameter, TaskOperationsConfig], NewTask]
    Deserializer: TypeAlias = Callable[
        [BatchTaskInfo, Callable[[], RecordInfo | None], frozenset[str] | None, bool], Any
    ]
    Headers: TypeAlias = Mapping[str, str] | None


class TaskOperations(Session):
    """Adds, reads, changes, terminates, reactivates and deletes tasks. Use it as context manager, or `close` it.

    Every method takes, beside its arguments: `*_options` (the class that is named so, or a dict), `custom_headers`
    (sent as metadata), `raw` (True: a ClientRawResponse around what it else returns) and the keyword `timeout` in
    seconds. What cannot be honoured is refused.

    Args:
        client: a `Client`, which stays open when this is closed; or the `host:port` of the server.
        config: handler and times that hold where nothing else is said.
        serializer: called with a `TaskAddParameter` and the config, returns the `NewTask` that is submitted. None: our
            own.
        deserializer: called with a `BatchTaskInfo`, a function that reads the first record (or returns None), the names
            of the fields that are wanted (None: all) and whether statistics are; returns what `get` and `list` give
            out. None: `CloudTask`, of which a subclass does as well.
    """

    api_version: Final = "2024-02-01.19.0"
    models = models

    def __init__(
        self,
        client: Client | str,
        config: TaskOperationsConfig | None = None,
        serializer: Serializer | None = None,
        deserializer: Deserializer | None = None,
    ) -> None:
        super().__init__(client, config)
        self._serialize: Serializer = serializer or to_new_task
        self._deserialize: Deserializer = deserializer or CloudTask

    def add(
        self,
        job_id: str,
        task: TaskAddParameter,
        task_add_options: TaskAddOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        **operation_config: Any,
    ) -> ClientRawResponse | None:
        """Add a task to a job, which is made by its first task. It lives at most 180 days if it does not end.

        With `raw` the task is read once more, for the headers.

        Raises:
            BatchErrorException: "TaskExists", "HandlerNotFound", "InvalidPropertyValue", "RequestBodyTooLarge", …
            ValueError: a field of the task that cannot be honoured is set.
        """
        options = read_options(task_add_options, TaskAddOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        new = self._serialize(task, self.config)
        with in_their_words():
            (made,) = job.batch.run_many([new], timeout=job.timeout)
            task_id = made.get().task_id
        return ClientRawResponse.of_task(None, 201, job.info(task_id)) if raw else None

    def add_collection(
        self,
        job_id: str,
        value: Iterable[TaskAddParameter],
        task_add_collection_options: TaskAddCollectionOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        threads: int = 0,
        **operation_config: Any,
    ) -> TaskAddCollectionResult | ClientRawResponse:
        """Add any number of tasks to a job, at most 100 in a request, in the order given.

        A request that is too large is halved, down to one task, which then has an error of its own. What may pass (a
        server that restarts, a full disk) is tried again five times at most. A task that is there already counts as
        added, so that a collection can be added again with the same ids: no task is doubled.

        Args:
            job_id: the job.
            value: the tasks.
            task_add_collection_options: options.
            custom_headers: metadata.
            raw: whether a ClientRawResponse is wanted.
            threads: from how many threads requests are sent; 0: from this one.
            operation_config: `timeout`.

        Returns:
            What became of each, in the order given.

        Raises:
            CreateTasksErrorException: some were refused, or a request failed; it holds what was added, too.
            ValueError: threads is negative, or a field that cannot be honoured is set.
        """
        if threads < 0:
            raise ValueError(f"threads must be 0 or more, not {threads}")
        options = read_options(task_add_collection_options, TaskAddCollectionOptions)
        job = self._job(job_id, options, custom_headers, operation_config, self.config.collection_timeout)
        addition = Addition(job, [(task, self._serialize(task, self.config)) for task in value])
        addition.run(threads)
        refused = [result for result in addition.results if not result.exists]
        if refused or addition.errors:
            added = [result for result in addition.results if result.exists]
            first = addition.errors[0] if addition.errors else None
            raise CreateTasksErrorException(addition.pending, refused, addition.errors, added) from first
        result = TaskAddCollectionResult(addition.results)
        return ClientRawResponse(result, 200, {}) if raw else result

    def delete(
        self,
        job_id: str,
        task_id: str,
        task_delete_options: TaskDeleteOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        **operation_config: Any,
    ) -> ClientRawResponse | None:
        """Delete a task with its records and files, whatever its retention time; what runs is killed.

        Raises:
            BatchErrorException: "TaskNotFound", "ConditionNotMet", …
        """
        options = read_options(task_delete_options, TaskDeleteOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        etag = etag_for(job, task_id, options)
        with in_their_words():
            job.task(task_id).delete(force=True, etag=etag, timeout=job.timeout)
        return ClientRawResponse(None, 200, {}) if raw else None

    def get(
        self,
        job_id: str,
        task_id: str,
        task_get_options: TaskGetOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        **operation_config: Any,
    ) -> Any:
        """Read a task. Exit code, retry count and command line are those of its first record.

        Returns:
            A CloudTask, or what the deserializer makes.

        Raises:
            NotModified: a condition says that it is not wanted as it is.
            BatchErrorException: "TaskNotFound", "ConditionNotMet", …
        """
        options = read_options(task_get_options, TaskGetOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        select, stats = read_select(options.select, CloudTask), expands_stats(options.expand)
        info = job.info(task_id)
        check_read(options, info.etag, info.update_time, info.name)
        task = self._deserialize(info, partial(job.first_record, info), select, stats)
        if isinstance(task, CloudTask) and task.needs_record:
            task.first_record()
        return ClientRawResponse.of_task(task, 200, info) if raw else task

    def list(
        self,
        job_id: str,
        task_list_options: TaskListOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        **operation_config: Any,
    ) -> Paged:
        """Iterate over the tasks of a job, newest first, page by page as they are needed.

        What belongs to the first record of a task is read when it is asked for: see CloudTask.

        Raises:
            ODataFilterError: the filter cannot be understood; with the position.
            BatchErrorException: while iterating.
        """
        options = read_options(task_list_options, TaskListOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        select, stats = read_select(options.select, CloudTask), expands_stats(options.expand)
        request = batch_task_service_pb2.ListBatchTasksRequest(
            parent=job.parent,
            page_size=page_size_of(options.max_results),
            filter=odata_to_filter(options.filter) if options.filter else "",
        )

        def seen(message: batch_task_pb2.BatchTaskInfo) -> Any:
            info = BatchTaskInfo(message)
            return self._deserialize(info, partial(job.first_record, info), select, stats)

        def fetch() -> Iterator[Sequence[Any]]:
            with in_their_words():
                for page in pages(job.connection.service.ListBatchTasks, request, job.timeout):
                    yield [seen(message) for message in page.batch_tasks]

        return Paged(fetch, raw)

    def list_subtasks(
        self,
        job_id: str,
        task_id: str,
        task_list_subtasks_options: TaskListSubtasksOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        **operation_config: Any,
    ) -> CloudTaskListSubtasksResult | ClientRawResponse:
        """Read the subtasks of a task: none of one record, else one for each record.

        All of them at once: for very many take `Client.batch.get(task_id).records()`.

        Raises:
            BatchErrorException: "TaskNotFound", …
        """
        options = read_options(task_list_subtasks_options, TaskListSubtasksOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        select = read_select(options.select, SubtaskInformation)
        info = job.info(task_id)
        found: Sequence[SubtaskInformation] = []
        if info.counts.total > 1:
            with in_their_words():
                records = job.task(task_id).records(generation=info.generation, timeout=job.timeout)
                found = [SubtaskInformation(record, select) for record in records]
        result = CloudTaskListSubtasksResult(found)
        return ClientRawResponse.of_task(result, 200, info) if raw else result

    def reactivate(
        self,
        job_id: str,
        task_id: str,
        task_reactivate_options: TaskReactivateOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        **operation_config: Any,
    ) -> ClientRawResponse | None:
        """Run a task that has ended again: of several records those that failed or have not ended.

        Exit code and failure information are gone afterwards, its retry count is 0. A terminated task can be
        reactivated, too. With `raw` the task is read once more, for the headers.

        Raises:
            BatchErrorException: "TaskNotCompleted", "TaskSucceeded", "TaskNotFound", "ConditionNotMet", …
        """
        options = read_options(task_reactivate_options, TaskReactivateOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        etag = etag_for(job, task_id, options)
        with in_their_words():
            job.task(task_id).reactivate(etag=etag, timeout=job.timeout)
        return ClientRawResponse.of_task(None, 204, job.info(task_id)) if raw else None

    def terminate(
        self,
        job_id: str,
        task_id: str,
        task_terminate_options: TaskTerminateOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        **operation_config: Any,
    ) -> ClientRawResponse | None:
        """Stop a task for good: what runs is killed with everything it started, and then the task is completed.

        Raises:
            BatchErrorException: "TaskCompleted", "TaskNotFound", "ConditionNotMet", …
        """
        options = read_options(task_terminate_options, TaskTerminateOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        request = batch_task_service_pb2.CancelBatchTaskRequest(
            name=job.name(task_id), etag=etag_for(job, task_id, options), request_id=str(uuid.uuid4())
        )
        return _changed(job, job.connection.service.CancelBatchTask, request, 204, raw)

    def update(
        self,
        job_id: str,
        task_id: str,
        constraints: TaskConstraints | None = None,
        task_update_options: TaskUpdateOptions | Mapping[str, Any] | None = None,
        custom_headers: Headers = None,
        raw: bool = False,
        **operation_config: Any,
    ) -> ClientRawResponse | None:
        """Replace the constraints of a task: what is omitted, or None in them, gets its default.

        Of a task that has ended only retention_time can be changed.

        Raises:
            BatchErrorException: "TaskCompleted", "TaskNotFound", "ConditionNotMet", "InvalidPropertyValue", …
        """
        options = read_options(task_update_options, TaskUpdateOptions)
        job = self._job(job_id, options, custom_headers, operation_config)
        changed = to_constraints(constraints)
        etag = etag_for(job, task_id, options)
        request = batch_task_service_pb2.UpdateBatchTaskRequest(
            batch_task=batch_task_pb2.BatchTaskInfo(name=job.name(task_id), etag=etag, constraints=changed),
            update_mask=FieldMask(paths=["constraints"]),
            request_id=str(uuid.uuid4()),
        )
        return _changed(job, job.connection.service.UpdateBatchTask, request, 200, raw)


def _changed(job: JobCall, method: Any, request: Any, status_code: int, raw: bool) -> ClientRawResponse | None:
    """Make a call that answers with the task."""
    with in_their_words():
        info = BatchTaskInfo(call(method, request, job.timeout))
    return ClientRawResponse.of_task(None, status_code, info) if raw else None
