"""Which bytes are an execution of a record that ended? RecordAttempts, of outcomes and of what left none."""

from __future__ import annotations

from collections.abc import Sequence

from google.rpc.status_pb2 import Status

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.record_pb2 import RecordAttempt, RecordInfo
from batchyard_server.codec import parts
from batchyard_server.model.record import PastAttempt


def of_outcome(record: RecordInfo, worker: str = "") -> bytes:
    """Serialized RecordAttempt of an execution that ended by itself; `worker` is empty if it is not known."""
    attempt = RecordAttempt(attempt=record.attempt, generation=record.generation, state=record.state, worker=worker)
    if record.HasField("error"):
        attempt.error.CopyFrom(record.error)
    if record.HasField("exit_code"):
        attempt.exit_code = record.exit_code
    if record.HasField("start_time"):
        attempt.start_time.CopyFrom(record.start_time)
    if record.HasField("end_time"):
        attempt.end_time.CopyFrom(record.end_time)
    return attempt.SerializeToString()


def of_stored(record: bytes) -> PastAttempt:
    """The execution behind a stored outcome, a serialized RecordInfo."""
    info = RecordInfo.FromString(record)
    return PastAttempt(generation=info.generation, attempt=info.attempt, info=of_outcome(info))


def interrupted(
    generation: int, attempt: int, *, error: bytes, worker: str, start_us: int = 0, end_us: int = 0
) -> bytes:
    """Serialized RecordAttempt of an execution whose worker went away.

    `error`: serialized google.rpc.Status, why it did. Times: 0 = not known.
    """
    return RecordAttempt(
        attempt=attempt,
        generation=generation,
        state=RecordInfo.CANCELLED,
        error=Status.FromString(error),
        worker=worker,
        start_time=parts.timestamp(start_us) if start_us else None,
        end_time=parts.timestamp(end_us) if end_us else None,
    ).SerializeToString()


def page(attempts: Sequence[PastAttempt], token: str) -> bytes:
    """Serialized ListRecordAttemptsResponse."""
    infos = [RecordAttempt.FromString(each.info) for each in attempts]
    return service.ListRecordAttemptsResponse(attempts=infos, next_page_token=token).SerializeToString()
