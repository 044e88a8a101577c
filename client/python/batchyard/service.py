"""How does a user of ML Server's Python SDK run a batch here? As there: `Service`, `Batch`, `BatchResponse`.

    from batchyard.service import Service

    with Service("127.0.0.1:50151", "echo") as service:
        batch = service.batch([{"n": 1}, {"n": 2}], parallel_count=2).start()
        while (response := batch.results()).state == "Pending":
            time.sleep(1)
        print(response.execution(0).outputs)

A service is a handler, an execution is a batch task, its id is the task's. What differs from the original is listed in
`client/README.md`; whoever needs no SDK of old takes `batchyard.Client`.
"""

from __future__ import annotations

import os
import pathlib
import uuid
from typing import TYPE_CHECKING, Any, Self, cast

from batchyard._filter_text import quoted
from batchyard._names import last_id, project_name
from batchyard._service_reading import Artifacts, Files, Outcomes
from batchyard._service_records import rows_of
from batchyard._service_response import BatchResponse, ServiceResponse
from batchyard._settings import TaskSettings, new_task
from batchyard._sync.client import Client

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Unpack

_OPEN = "NOT (state = SUCCEEDED OR state = FAILED OR state = CANCELLED)"

__all__ = ["Artifacts", "Batch", "BatchResponse", "Service", "ServiceResponse"]


class Service:
    """A handler of the server, under which batches of records are run.

    Args:
        client: a `batchyard.Client`, in whose project the batches are; or the target of a server, `host:port`: a client
            of the service's own, which `close`, or the end of a `with`, closes.
        name: id of the handler.
        timeout: seconds, of each call.
        settings: how its batches are to be run: what `TaskSettings` lists but parallel_count, which each batch has.

    Raises:
        TypeError, ValueError: a setting that does not exist, or a value that it cannot have.
    """

    def __init__(
        self, client: Client | str, name: str, *, timeout: float = 60, **settings: Unpack[TaskSettings]
    ) -> None:
        if "parallel_count" in settings:
            raise TypeError("parallel_count is an argument of each batch")
        new_task(name, settings)
        self._owns_client = isinstance(client, str)
        self._client = Client(client) if isinstance(client, str) else client
        self._name = last_id(name)
        self._timeout = timeout
        self._settings = settings

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.api}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the client, if it is the service's own; batches go on. May be repeated."""
        if self._owns_client:
            self._client.close()

    @property
    def api(self) -> str:
        """Resource name of the handler, `projects/{project}/handlers/{handler}`."""
        return f"{project_name(self._client.project)}/handlers/{self._name}"

    @property
    def client(self) -> Client:
        """The client; for what this interface has no words for, e.g. `client.batch.reactivate(batch.execution_id)`."""
        return self._client

    @property
    def name(self) -> str:
        """Id of the handler."""
        return self._name

    @property
    def timeout(self) -> float:
        """Seconds, of each call."""
        return self._timeout

    @property
    def settings(self) -> TaskSettings:
        """How its batches are to be run, a copy."""
        return self._settings.copy()

    def batch(self, records: object, parallel_count: int | None = 10) -> Batch:
        """Make a batch of records; nothing happens before its `start`. Arguments and errors as of `Batch`."""
        return Batch(self, records, parallel_count)

    def get_batch(self, execution_id: str) -> Batch:
        """Return the batch of an execution, which is not looked up; it knows no records."""
        return Batch(self, execution_id=execution_id)

    def list_batch_executions(self) -> list[str]:
        """Return the ids of the executions of this service that have not ended, newest first.

        Raises:
            RpcError: not answered within the timeout, or refused.
        """
        found = self._client.batch.list_info(
            filter=f"handler = {quoted(self._name)} AND {_OPEN}", timeout=self._timeout
        )
        return [info.task_id for info in found]

    def capabilities(self) -> dict[str, Any]:
        """Return what the server says about the handler: api, name, description, kind, isolation, available.

        Raises:
            NotFoundError: there is no such handler.
            RpcError: not answered within the timeout, or refused.
        """
        info = self._client.handlers.get(self._name, timeout=self._timeout)
        return {
            "api": self.api,
            "name": info.handler_id,
            "description": info.description,
            "kind": info.kind.name,
            "isolation": info.isolation.name,
            "available": info.available,
        }


class Batch:
    """The life of one execution of a service over a batch of records.

    Args:
        service: what runs them.
        records: a list of what a record can be (see `batchyard.Client`: a dict or whatever else JSON can say, a str,
            bytes, …); or a dict of lists of equal length, one for each field; or a pandas DataFrame. Copied; what has
            no form on the wire, such as a NaN, is refused by `start`.
        parallel_count: at most so many records run at the same time. None: as many as there are slots.
        execution_id: of a batch that was started already.

    Raises:
        ValueError: lists of unequal length.
        TypeError: records are none of these.
    """

    def __init__(
        self,
        service: Service,
        records: object = [],  # as documented; it is copied
        parallel_count: int | None = 10,
        execution_id: str | None = None,
    ) -> None:
        self._service = service
        self._records = rows_of(records)
        self._parallel_count = parallel_count
        self._execution_id = execution_id
        self._request_id = str(uuid.uuid4())
        self._files: Files | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._service.name} {self._execution_id or 'not started'}>"

    @property
    def api(self) -> str:
        """Resource name of the handler, `projects/{project}/handlers/{handler}`."""
        return self._service.api

    @property
    def execution_id(self) -> str | None:
        """Id of the batch task, also once that was reactivated; None before the start."""
        return self._execution_id

    @property
    def parallel_count(self) -> int | None:
        """At most so many records run at the same time."""
        return self._parallel_count

    @property
    def records(self) -> list[Any]:
        """The records, a list; of a batch that was got by its id, an empty one."""
        return self._records

    def start(self) -> Batch:
        """Start the batch, unless it was started; return it.

        May be repeated if it raised, e.g. for want of an answer: no second task is made, and an upload goes on where
        it was cut.

        Raises:
            RecordValueError: a record has no form on the wire (it names the index).
            NotFoundError: there is no such handler.
            InvalidArgumentError: there are no records, or a bound is exceeded.
            RequestIdReusedError: the records were changed since an earlier try.
            RpcError: any other refusal, or no answer within the service's timeout.
        """
        if self._execution_id is None:
            settings = cast("TaskSettings", {**self._service.settings, "parallel_count": self._parallel_count})
            task = self._service.client.batch.run(
                self._service.name,
                self._records,
                request_id=self._request_id,
                timeout=self._service.timeout,
                **settings,
            )
            self._execution_id = task.task_id
        return self

    def results(self, show_partial_results: bool = True) -> BatchResponse | None:
        """Ask how far the batch is; None if it was not started.

        Args:
            show_partial_results: False: outcomes can be read only if all has ended, before that counts and state alone.

        Raises:
            NotFoundError: there is no such execution, or its task was deleted.
            RpcError: not answered within the service's timeout, or refused.
        """
        if self._execution_id is None:
            return None
        client, timeout = self._service.client, self._service.timeout
        info = client.batch.get_info(self._execution_id, timeout=timeout)
        task = client.batch.get(info)
        wanted = show_partial_results or info.state.is_final
        outcomes = Outcomes(task, info.generation, timeout) if wanted else None
        return BatchResponse(self.api, info, outcomes, Files(task, timeout))

    def artifact(self, index: int, file_name: str) -> bytes:
        """Return the bytes of a file that record `index` left.

        Raises:
            ValueError: the batch was not started.
            NotFoundError: no such record or file.
            RpcError: not answered within the service's timeout, or refused.
        """
        return self._reader().read(index, file_name)

    def list_artifacts(self, index: int) -> list[str]:
        """Return the names of the files that record `index` left; its log is not among them.

        Raises:
            ValueError: the batch was not started.
            NotFoundError: no such record.
            RpcError: not answered within the service's timeout, or refused.
        """
        return self._reader().names(index)

    def download(
        self, index: int, file_name: str | None = None, destination: str | os.PathLike[str] | None = None
    ) -> list[str]:
        """Write files that record `index` left into a folder; each appears whole and verified, or not at all.

        What is there under such a name is replaced. Nothing is ever written outside the folder.

        Args:
            index: of the record.
            file_name: of one file. None: all of them; the record's log is none.
            destination: the folder. None: the one that is current when this is called.

        Returns:
            The paths of the files.

        Raises:
            ValueError: the batch was not started, or there is no such folder.
            NotFoundError: no such record or file.
            ArtifactDamagedError: the server has not what was stored.
            DownloadError: a path that leads out of the folder, or bytes that do not fit their checksum.
            OSError: a file cannot be written.
            RpcError: not answered within the service's timeout, or refused.
        """
        reader = self._reader()
        folder = pathlib.Path.cwd() if destination is None else pathlib.Path(destination)
        if not folder.is_dir():
            raise ValueError(f"destination {str(folder)!r} is no folder")
        names = reader.names(index) if file_name is None else [file_name]
        return [str(reader.download(index, name, folder)) for name in names]

    def cancel(self) -> Batch:
        """Stop the batch for good; what runs is killed. Of one that has ended: no effect. Returns the batch.

        Raises:
            ValueError: the batch was not started.
            NotFoundError: there is no such execution, or its task was deleted.
            RpcError: not answered within the service's timeout, or refused.
        """
        timeout = self._service.timeout
        self._service.client.batch.get(self._started(), timeout=timeout).cancel(timeout=timeout)
        return self

    def _started(self) -> str:
        if self._execution_id is None:
            raise ValueError("the batch was not started: it has no execution_id")
        return self._execution_id

    def _reader(self) -> Files:
        """Return what reads its files; the task is looked up once."""
        if self._files is None:
            timeout = self._service.timeout
            self._files = Files(self._service.client.batch.get(self._started(), timeout=timeout), timeout)
        return self._files
