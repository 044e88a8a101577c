"""How do users of a `TaskOperations` class (seed 004) find themselves at home? The same calls, over Batchyard.

    from batchyard.task_operations import BatchServiceClient, TaskAddParameter

    with BatchServiceClient(None, "127.0.0.1:50151") as client:
        client.task.add("job", TaskAddParameter(id="one", command_line="sha256sum /etc/hosts"))
        print(client.task.get("job", "one").state)

A job is a project, a task a batch task, a subtask a record. Batchyard runs no shell: which handler runs a command line
is said by `TaskOperationsConfig.handler`.
"""

from __future__ import annotations

from typing import Any, Self

from batchyard import _task_models as models
from batchyard._sync.client import Client
from batchyard._task_calls import TaskOperationsConfig
from batchyard._task_errors import BatchErrorException, CreateTasksErrorException, NotModified
from batchyard._task_files import FileOperations
from batchyard._task_odata import ODataFilterError, odata_to_filter
from batchyard._task_parameters import EnvironmentSetting, MultiInstanceSettings, TaskAddParameter, TaskConstraints
from batchyard._task_results import ClientRawResponse, TaskAddCollectionResult, TaskAddResult
from batchyard._task_verbs import TaskOperations
from batchyard._task_views import CloudTask


class BatchServiceClient:
    """The client that makes the operations and has them as attributes. Use it as context manager, or `close` it.

    Args:
        credentials: TLS credentials (`grpc.ssl_channel_credentials(...)`). None: plaintext.
        batch_url: `host:port` of the server, or any gRPC target.
        config: handler and times that hold where nothing else is said.

    Attributes:
        task: the operations on tasks.
        file: the operations on their files.
    """

    def __init__(self, credentials: Any, batch_url: str, *, config: TaskOperationsConfig | None = None) -> None:
        self._client = Client(batch_url, credentials=credentials)
        self.task = TaskOperations(self._client, config)
        self.file = FileOperations(self._client, config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; tasks go on."""
        self._client.close()


__all__ = [
    "BatchErrorException",
    "BatchServiceClient",
    "ClientRawResponse",
    "CloudTask",
    "CreateTasksErrorException",
    "EnvironmentSetting",
    "FileOperations",
    "MultiInstanceSettings",
    "NotModified",
    "ODataFilterError",
    "TaskAddCollectionResult",
    "TaskAddParameter",
    "TaskAddResult",
    "TaskConstraints",
    "TaskOperations",
    "TaskOperationsConfig",
    "models",
    "odata_to_filter",
]
