"""Which worker processes are there? None: each stands still until the test says what becomes of its record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from batchyard_server.codec import segments
from batchyard_server.execution.worker import Callbacks, Worker
from batchyard_server.model.handler import HandlerSpec
from batchyard_worker.v1 import worker_pb2
from tests.property.events import SUCCESS, Result
from tests.support.dispatch import FakeLauncher, FakeWorker


class ModelWorker(FakeWorker):
    """A FakeWorker whose outcomes say what a real one's would.

    Attributes:
        result: of the next record that ends.
        ended: called with (subtask's number, index, result) when a record ends.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.result = SUCCESS
        self.ended: Callable[[int, int, Result], None] = lambda _number, _index, _result: None

    @property
    def has_news(self) -> bool:
        """Whether it has said something that the server has not heard."""
        return bool(self._outbox)

    @property
    def is_idle(self) -> bool:
        """Whether it could take a record at once."""
        lives = self.is_loaded and not (self.killed or self.dead)
        return lives and self.current is None and not self.runs

    def listens(self) -> bool:
        """Act on what the server has said; whether it does so."""
        lives = self.is_loaded and not (self.killed or self.dead)
        if lives:
            self.read()
        return lives

    def flush(self, last: bool = False) -> None:
        """Send what is finished, with the first errors, as the real outbox does."""
        records = [(index, RecordInfo.FromString(record)) for index, record in self._buffer]
        before = len(self._outbox)
        super().flush(last)
        for message in list(self._outbox)[before:]:
            message.outcomes.failures.extend(
                worker_pb2.Failure(index=index, status=record.error.SerializeToString())
                for index, record in records
                if record.state == RecordInfo.FAILED
            )

    def _end(self, failed: bool) -> None:
        assert self.current is not None
        assert self.running is not None
        index, run = self.running, self.current
        given = _input_of(run, index)
        super()._end(failed)
        self.ended(run.lease, index, self.result)
        record = RecordInfo.FromString(self._buffer.pop()[1])
        record.record_id = given.record_id
        if failed:
            record.ClearField("output")
            record.error.CopyFrom(_error(self.result))
        else:
            record.output.CopyFrom(given.payload)
        self._buffer.append((index, record.SerializeToString()))


class ModelLauncher(FakeLauncher):
    """Starts ModelWorkers."""

    def start(self, spec: HandlerSpec, callbacks: Callbacks) -> Worker:
        """See Launcher.start."""
        if self.error is not None:
            raise self.error
        worker = ModelWorker(spec, callbacks, self._clock)
        self.workers = [each for each in self.workers if not each.gone] + [worker]
        self.started += 1
        self.on_start(worker)
        return cast(Worker, cast(Any, worker))


def _input_of(run: worker_pb2.Run, index: int) -> RecordInput:
    """The input that came with the subtask for this record."""
    pairs = list(run.ranges)
    indexes = [at for start, end in zip(pairs[::2], pairs[1::2], strict=True) for at in range(start, end)]
    return RecordInput.FromString(segments.split_inputs(run.inputs)[indexes.index(index)])


def _error(result: Result) -> Status:
    metadata = {} if result.retryable is None else {"retryable": "true" if result.retryable else "false"}
    status = Status(code=result.code, message="the model says so")
    status.details.add().Pack(ErrorInfo(reason="RECORD_ERROR", domain="batchyard.dev", metadata=metadata))
    return status
