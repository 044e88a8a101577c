"""Which bytes are an outcome that the server itself gives? Those that workers send pass through unparsed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from batchyard.v1 import record_pb2
from batchyard_server.codec import attempts, parts, segments
from batchyard_server.codec.v1 import shadow_pb2
from batchyard_server.model import limits
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.task import Flush, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A record of a flush that failed.

    Attributes:
        code: number of google.rpc.Code.
        retryable: what the handler said of it, None if nothing.
        error: serialized google.rpc.Status.
        attempt: serialized RecordAttempt.
    """

    index: int
    code: int
    retryable: bool | None
    error: bytes
    attempt: bytes


def failed_record(
    task: Task,
    index: int,
    *,
    inputs: bytes,
    position: int,
    attempt: int,
    code: Code,
    reason: Reason,
    message: str,
    metadata: Mapping[str, str],
    start_us: int,
    end_us: int,
) -> Flush:
    """The FAILED outcome of one record, which is the `position`-th in `inputs` (serialized RawInputs)."""
    raw = segments.split_inputs(inputs)[position]
    error = parts.status(code, reason, message, metadata)
    record = record_pb2.RecordInfo(
        name=f"{task.name}/records/{index}",
        index=index,
        record_id=shadow_pb2.RecordInputHead.FromString(raw).record_id,
        state=record_pb2.RecordInfo.FAILED,
        error=error,
        attempt=attempt,
        generation=task.generation,
        start_time=parts.timestamp(start_us),
        end_time=parts.timestamp(end_us),
    )
    return Flush(
        ranges=[(index, index + 1)],
        count=1,
        page=segments.join_page([record.SerializeToString()]),
        failed=[index],
        failures=[(index, error.SerializeToString())],
    )


def of_records(ranges: list[tuple[int, int]], records: Sequence[bytes]) -> Flush:
    """The outcomes in serialized RecordInfos, whose indexes are `ranges`, as a worker would send them."""
    infos = map(record_pb2.RecordInfo.FromString, records)
    failures = [(info.index, info.error.SerializeToString()) for info in infos if info.HasField("error")]
    return Flush(
        ranges=ranges,
        count=len(records),
        page=segments.join_page(records),
        failed=[index for index, _ in failures],
        failures=failures,
    )


def exit_code(flush: Flush) -> int | None:
    """That of the only outcome in a flush; None if it has none."""
    [head] = shadow_pb2.RecordHeads.FromString(flush.page).records
    return head.exit_code if head.HasField("exit_code") else None


def failed_records(flush: Flush, worker: str) -> list[Failed]:
    """Those of a flush of `worker` that failed, in its order."""
    wanted = set(flush.failed)
    records = zip(rg.indexes(flush.ranges), segments.split_page(flush.page), strict=True)
    return [_failed(index, record, worker) for index, record in records if index in wanted]


def without(flush: Flush, taken: Collection[int], failed: Sequence[Failed]) -> Flush:
    """The flush without these of its records; `failed` are those that failed of all of them."""
    records = zip(rg.indexes(flush.ranges), segments.split_page(flush.page), strict=True)
    kept = [(index, record) for index, record in records if index not in taken]
    left = [each for each in failed if each.index not in taken]
    return replace(
        flush,
        ranges=rg.from_indexes(index for index, _ in kept),
        count=len(kept),
        page=segments.join_page(record for _, record in kept),
        failed=[each.index for each in left],
        failures=_first(left),
        logs=[each for each in flush.logs if each[0] not in taken],
        staged=tuple(index for index in flush.staged if index not in taken),
        artifacts=tuple(each for each in flush.artifacts if each.index not in taken),
    )


def _failed(index: int, record: bytes, worker: str) -> Failed:
    info = record_pb2.RecordInfo.FromString(record)
    return Failed(
        index=index,
        code=info.error.code,
        retryable=_retryable(info.error),
        error=info.error.SerializeToString(),
        attempt=attempts.of_outcome(info, worker),
    )


def _retryable(error: Status) -> bool | None:
    info = ErrorInfo()
    for detail in error.details:
        if detail.Unpack(info):
            return {"true": True, "false": False}.get(info.metadata.get("retryable", ""))
    return None


def _first(failed: Sequence[Failed]) -> list[tuple[int, bytes]]:
    """Errors of the first ones, as many as are ever kept of a task; none after one that was passed over."""
    found: list[tuple[int, bytes]] = []
    room = limits.FAILED_REQUESTS_BYTES
    for each in failed[: limits.FAILED_REQUESTS]:
        room -= len(each.error)
        if room < 0:
            break
        found.append((each.index, each.error))
    return found
