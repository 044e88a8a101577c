"""Are outcomes written by hand what protobuf reads?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard_worker import wire
from batchyard_worker.v1 import worker_pb2

TASK = "projects/p-1/batchTasks/Täsk"
OFFSET = 1_700_000_000_123_456_789

int64 = st.integers(0, 2**63 - 1)
results = st.binary(max_size=2000).map(lambda data: data.hex().encode()) | st.builds(
    wire.Ended,
    output=st.none() | st.binary(max_size=300).map(lambda data: wire.delimited(0x1A, data)),
    error=st.none()
    | st.text(min_size=1, max_size=300).map(lambda text: wire.delimited(0x12, text.encode("utf-8", "replace"))),
    exit_code=st.none() | st.integers(-64, 255),
)
steps = st.lists(
    st.tuples(
        int64 | st.integers(0, 20_000),
        st.text(max_size=20).filter(lambda text: text.isprintable()),
        st.integers(1, 300),
        results,
        st.integers(0, 3_000_000_000) | st.integers(0, 5000),
    ),
    max_size=8,
)


def stamp(now: int) -> worker_pb2.Timestamp:
    return worker_pb2.Timestamp(seconds=(now + OFFSET) // 10**9, nanos=(now + OFFSET) % 10**9)


def built(index: int, record_id: str, attempt: int, result: object, start: int, end: int, generation: int):
    """The same outcome by protobuf."""
    info = worker_pb2.RecordInfo(
        name=f"{TASK}/records/{index}",
        index=index,
        record_id=record_id,
        state=3,
        attempt=attempt,
        generation=generation,
        start_time=stamp(start),
        end_time=stamp(end),
    )
    if isinstance(result, bytes):
        info.output.text = result.decode()
        return info
    assert isinstance(result, wire.Ended)
    if result.output is not None:
        info.output.CopyFrom(worker_pb2.Payload.FromString(result.output))
    if result.error is not None:
        info.state = 4
        info.error.CopyFrom(worker_pb2.Status.FromString(result.error))
    if result.exit_code is not None:
        info.exit_code = result.exit_code
    return info


@given(steps, st.integers(1, 2**40), st.integers(0, 10**15))
def test_pages(records: list[tuple[int, str, int, object, int]], generation: int, start: int) -> None:
    encoder = wire.RecordEncoder(TASK, generation, OFFSET, start)
    page, expected, now = b"", [], start
    for index, record_id, attempt, result, duration in records:
        end = now + duration
        page += encoder.encode(index, record_id, attempt, result, end)
        expected.append(built(index, record_id, attempt, result, now, end, generation))
        now = end
    assert worker_pb2.RecordPage.FromString(page) == worker_pb2.RecordPage(records=expected)
    assert page == worker_pb2.RecordPage(records=expected).SerializeToString(deterministic=True)


def test_restart() -> None:
    encoder = wire.RecordEncoder(TASK, 1, OFFSET, 0)
    encoder.encode(0, "", 1, b"1", 10)
    encoder.restart(7_000_000_000)
    (record,) = worker_pb2.RecordPage.FromString(encoder.encode(1, "", 1, b"2", 7_000_000_005)).records
    assert (record.start_time, record.end_time) == (stamp(7_000_000_000), stamp(7_000_000_005))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 1000, 1023, 1024, 16_383, 16_384, 16_380, 300_000])
def test_sizes_around_the_tables(size: int) -> None:
    text = b"x" * size
    payload = worker_pb2.Payload(text=text.decode())
    assert wire.text_payload(text) == payload.SerializeToString() or not size
    assert worker_pb2.Payload.FromString(wire.text_payload(text)) == payload
    encoder = wire.RecordEncoder(TASK, 1, OFFSET, 0)
    (record,) = worker_pb2.RecordPage.FromString(encoder.encode(0, "", 1, text, 1)).records
    assert record.output == payload


@given(st.integers(-(2**63), 2**63 - 1))
def test_varints(value: int) -> None:
    message = worker_pb2.Ack(flush=value)
    assert (b"\x08" + wire.varint(value) if value else b"") == message.SerializeToString()
