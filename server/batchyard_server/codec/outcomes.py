"""Which bytes are an outcome that the server itself gives? Those that workers send pass through unparsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchyard.v1 import record_pb2
from batchyard_server.codec import parts, segments
from batchyard_server.codec.v1 import shadow_pb2
from batchyard_server.model.errors import Code, Reason
from batchyard_server.model.task import Flush, Task


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
