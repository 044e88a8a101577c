"""What a worker would have sent."""

from __future__ import annotations

from collections.abc import Sequence

from google.rpc.status_pb2 import Status

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec.v1.shadow_pb2 import RawRecordPage
from batchyard_server.model.names import TaskName
from batchyard_server.model.ranges import from_indexes
from batchyard_server.model.task import Flush

FAILURE = Status(code=3, message="a test made it fail")


def flush(name: TaskName, *, ok: Sequence[int] = (), failed: Sequence[int] = (), generation: int = 1) -> Flush:
    """Outcomes of these records: output is the JSON text of the index."""
    indexes = sorted([*ok, *failed])
    records: list[bytes] = []
    for index in indexes:
        record = RecordInfo(name=f"{name}/records/{index}", index=index, attempt=1, generation=generation)
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
    )
