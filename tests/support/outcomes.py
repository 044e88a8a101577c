"""What a worker would have sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.rpc.status_pb2 import Status

from batchyard.v1.record_pb2 import RecordAttempt, RecordInfo
from batchyard_server.codec import logs, outcomes
from batchyard_server.codec.v1.shadow_pb2 import RawRecordPage
from batchyard_server.model.artifact import NewArtifact
from batchyard_server.model.names import TaskName
from batchyard_server.model.ranges import from_indexes
from batchyard_server.model.task import Attempts, Flush, Retries
from batchyard_server.store.log_store import NO_LOGS

FAILURE = Status(code=3, message="a test made it fail")


def flush(
    name: TaskName,
    *,
    ok: Sequence[int] = (),
    failed: Sequence[int] = (),
    generation: int = 1,
    attempt: int = 1,
    logs: Mapping[int, bytes] = NO_LOGS,
    artifacts: Sequence[NewArtifact] = (),
) -> Flush:
    """Outcomes of these records: output is the JSON text of the index. `logs`: what they wrote, by index."""
    indexes = sorted([*ok, *failed])
    records: list[bytes] = []
    for index in indexes:
        record = RecordInfo(name=f"{name}/records/{index}", index=index, attempt=attempt, generation=generation)
        if index in failed:
            record.state = RecordInfo.FAILED
            record.error.CopyFrom(FAILURE)
        else:
            record.state = RecordInfo.SUCCEEDED
            record.output.text = str(index)
        records.append(record.SerializeToString())
    return Flush(
        ranges=from_indexes(indexes),
        count=len(indexes),
        page=RawRecordPage(records=records).SerializeToString(),
        failed=sorted(failed),
        failures=[(index, FAILURE.SerializeToString()) for index in sorted(failed)[:100]],
        logs=list(logs.items()),
        artifacts=artifacts,
    )


def retries(sent: Flush, attempts: Mapping[int, Attempts]) -> Retries:
    """Of the failed records of a flush those in `attempts` are tried again, with these."""
    failed = outcomes.failed_records(sent, "worker")
    history: list[tuple[int, bytes]] = []
    for each in failed:
        if each.index in attempts:
            attempt = RecordAttempt.FromString(each.attempt)
            attempt.attempt = attempts[each.index].begun
            history.append((each.index, attempt.SerializeToString()))
    rest, texts = outcomes.without(sent, attempts, failed), logs.of_attempts(sent.logs, attempts)
    return Retries(rest=rest, attempts=attempts, history=history, logs=texts)


def interrupted(index: int, attempt: int, *, generation: int = 1, message: str = "gone") -> tuple[int, bytes]:
    """An execution that left no outcome, as a release takes it."""
    error = Status(code=10, message=message)
    made = RecordAttempt(attempt=attempt, generation=generation, state=RecordInfo.CANCELLED, error=error)
    return index, made.SerializeToString()
