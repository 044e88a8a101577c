"""What does a poll of a batch answer, in ML Server's words? A `BatchResponse`, and of each record a `ServiceResponse`.

Both hold little: outcomes, logs and files are read when they are asked for.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from batchyard._enums import RecordState
from batchyard._service_reading import Artifacts

if TYPE_CHECKING:
    from batchyard._enums import BatchTaskState
    from batchyard._info import BatchTaskInfo
    from batchyard._record_info import RecordInfo
    from batchyard._service_reading import Files, Outcomes

# Of the states of tasks and of records alike; every other one is "Pending".
_WORDS: Final = {"SUCCEEDED": "Complete", "FAILED": "Failed", "CANCELLED": "Failed"}


class BatchResponse:
    """How far a batch was when it was polled. Made by `Batch.results`."""

    def __init__(self, api: str, info: BatchTaskInfo, outcomes: Outcomes | None, files: Files) -> None:
        self._api = api
        self._info = info
        self._outcomes = outcomes
        self._files = files

    def __repr__(self) -> str:
        counts = f"{self.completed_item_count}/{self.total_item_count}"
        return f"<{type(self).__name__} {self.execution_id} {self.state} {counts}>"

    @property
    def api(self) -> str:
        """Resource name of the handler, `projects/{project}/handlers/{handler}`."""
        return self._api

    @property
    def execution_id(self) -> str:
        """Id of the batch task."""
        return self._info.task_id

    @property
    def state(self) -> str:
        """Complete (SUCCEEDED: single records may have failed), Failed (FAILED, CANCELLED), else Pending."""
        return _WORDS.get(self._info.state.name, "Pending")

    @property
    def task_state(self) -> BatchTaskState:
        """The exact state of the task."""
        return self._info.state

    @property
    def info(self) -> BatchTaskInfo:
        """Everything about the task, e.g. `.error`: why it is "Failed"."""
        return self._info

    @property
    def completed_item_count(self) -> int:
        """How many records have succeeded or failed; those that were cancelled are none of them."""
        return self._info.counts.succeeded + self._info.counts.failed

    @property
    def total_item_count(self) -> int:
        """How many records the batch has."""
        return self._info.counts.total

    def execution(self, index: int) -> ServiceResponse:
        """Return what became of record `index`, which is always the same record, ended or not.

        Args:
            index: 0-based position in the records of the batch.

        Raises:
            IndexError: the batch has no such record.
            ValueError: the batch had not ended, and partial results were not wanted.
            NotFoundError: the task was deleted.
            RpcError: not answered within the service's timeout, or refused.
        """
        if not 0 <= index < self.total_item_count:
            raise IndexError(f"batch {self.execution_id} has {self.total_item_count} records, none has index {index}")
        if self._outcomes is None:
            raise ValueError(f"batch {self.execution_id} had not ended, and partial results were not asked for")
        return ServiceResponse(self._api, self._outcomes.record(index), self._files)


class ServiceResponse:
    """What became of one record. Made by `BatchResponse.execution`.

    Log and files are read when they are first asked for, and then kept.
    """

    def __init__(self, api: str, record: RecordInfo, files: Files) -> None:
        self._api = api
        self._record = record
        self._files = files
        self._console_output: str | None = None
        self._artifacts: Artifacts | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._record.index} {self.state}>"

    @property
    def api(self) -> str:
        """Resource name of the handler, `projects/{project}/handlers/{handler}`."""
        return self._api

    @property
    def state(self) -> str:
        """Complete, Failed (cancelled too) or, if it has not ended, Pending."""
        return _WORDS.get(self._record.state.name, "Pending")

    @property
    def record(self) -> RecordInfo:
        """Everything about the record but its input; e.g. `.state`, the exact one, and `.error`, an exception."""
        return self._record

    @property
    def error(self) -> str:
        """Why it failed, empty if it did not."""
        if self._record.state is RecordState.CANCELLED:
            return "cancelled before it ended"
        error = self._record.error
        return "" if error is None else error.message or error.reason

    @property
    def console_output(self) -> str:
        """What the record wrote: its log, a section for each execution; empty if it wrote nothing."""
        if self._console_output is None:
            self._console_output = self._files.log(self._record.index)
        return self._console_output

    @property
    def outputs(self) -> Any:
        """What the handler returned, decoded; None if it returned nothing or has not ended well."""
        return self._record.output

    @property
    def raw_outputs(self) -> Any:
        """The same as `outputs`: there is no schema by which they could differ."""
        return self._record.output

    def output(self, output: str) -> Any:
        """Return one of the outputs of a handler that returns an object, by name.

        Raises:
            KeyError: no such output, or none at all.
        """
        outputs = self.outputs
        if isinstance(outputs, dict) and output in outputs:
            return outputs[output]
        raise KeyError(output)

    @property
    def artifacts(self) -> Artifacts:
        """The files that the record left: iterates over their names, `artifacts[name]` reads one."""
        if self._artifacts is None:
            self._artifacts = Artifacts(self._files, self._record.index)
        return self._artifacts

    def artifact(self, artifact_name: str, decode: bool = True, encoding: str | None = None) -> bytes | str:
        """Read one of the files.

        Args:
            artifact_name: as in `artifacts`.
            decode: False: the bytes as Base64 text.
            encoding: the text that the bytes are in this encoding. None: the bytes. Only with decode.

        Raises:
            KeyError: no such file.
            ValueError: an encoding without decode, or bytes that are not of this encoding.
            LookupError: no such encoding.
        """
        if encoding is not None and not decode:
            raise ValueError("Base64 text has no encoding: leave it out, or decode")
        data = self.artifacts[artifact_name]
        if not decode:
            return base64.b64encode(data).decode("ascii")
        return data if encoding is None else data.decode(encoding)
