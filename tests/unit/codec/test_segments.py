"""Segments are messages: cut by number and size, compressed when it pays, put together by concatenation."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.v1.batch_task_service_pb2 import ListRecordsResponse
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from batchyard_server.codec import segments
from batchyard_server.codec.v1.shadow_pb2 import RawInputs
from batchyard_server.model import limits
from batchyard_server.model.names import TaskName
from batchyard_server.model.states import RecordState


def inputs(sizes: Sequence[int]) -> list[bytes]:
    return [RecordInput(payload=Payload(data=bytes(size))).SerializeToString() for size in sizes]


@given(sizes=st.lists(st.integers(0, 3) | st.integers(0, 200_000), max_size=60), first=st.integers(0, 10**8))
def test_segments_hold_all_records_in_order_within_their_bounds(sizes: list[int], first: int) -> None:
    records = inputs(sizes)
    cut = segments.cut_inputs(records, first)
    assert [record for segment in cut for record in segments.split_inputs(segment.blob)] == records
    for segment in cut:
        assert segment.first == first
        assert segment.count == len(segments.split_inputs(segment.blob)) <= limits.SEGMENT_RECORDS
        assert len(segment.blob) <= limits.SEGMENT_BYTES or segment.count == 1
        first += segment.count


def test_many_small_records_are_cut_by_number() -> None:
    cut = segments.cut_inputs(inputs([1] * 2500), 0)
    assert [segment.count for segment in cut] == [1024, 1024, 452]


def test_compression_is_kept_only_if_it_pays() -> None:
    compressor = segments.Compressor()
    for blob in (b"", b"x" * 500, os.urandom(10_000), os.urandom(9_000) + bytes(1_000)):
        assert compressor.pack(blob) == (segments.PLAIN, blob)
    kind, small = compressor.pack(b"record " * 10_000)
    assert kind == segments.ZSTD
    assert len(small) < 7_000
    assert compressor.unpack(kind, small) == b"record " * 10_000
    assert compressor.unpack(segments.PLAIN, b"as it is") == b"as it is"


@given(st.lists(st.binary(max_size=300), max_size=20), st.lists(st.binary(max_size=300), max_size=20))
def test_pages_put_one_after_the_other_are_a_page(first: list[bytes], second: list[bytes]) -> None:
    page = segments.join_page(first) + segments.join_page(second)
    assert segments.split_page(page) == first + second
    assert len(page) == sum(segments.framed(len(record)) for record in first + second)


@pytest.mark.parametrize("size", [0, 1023, 1024, 20_000])
def test_inputs_are_the_field_of_the_request_however_large_they_are(size: int) -> None:
    records = [b"\x12" + bytes([number]) * size for number in range(5)]
    assert segments.split_inputs(segments.join_inputs(records)) == records
    assert segments.join_inputs(records) == RawInputs(records=records).SerializeToString()
    assert segments.join_inputs([]) == b""


def test_a_page_is_the_public_response() -> None:
    record = RecordInfo(name="n", index=3, state=RecordInfo.FAILED)
    page = ListRecordsResponse.FromString(segments.join_page([record.SerializeToString()]))
    assert list(page.records) == [record]


def test_a_placeholder_is_a_record_without_an_outcome() -> None:
    make = segments.Placeholders(TaskName("p", "t"), 2)
    with_id = RecordInput(record_id="mine", payload=Payload(text="1")).SerializeToString()
    assert RecordInfo.FromString(make.make(0, RecordState.CANCELLED, with_id, 3)) == RecordInfo(
        name="projects/p/batchTasks/t/records/0",
        index=0,
        record_id="mine",
        state=RecordInfo.CANCELLED,
        attempt=3,
        generation=2,
    )
    assert RecordInfo.FromString(make.make(7, RecordState.PENDING, None, 0)).HasField("index")


@given(st.binary(max_size=400))
def test_the_input_is_laid_over_a_record(data: bytes) -> None:
    record = RecordInfo(name="n", index=0, state=RecordInfo.SUCCEEDED)
    given_input = RecordInput(record_id="mine", payload=Payload(data=data))
    full = RecordInfo.FromString(segments.with_input(record.SerializeToString(), given_input.SerializeToString()))
    assert full == RecordInfo(name="n", index=0, state=RecordInfo.SUCCEEDED, input=given_input.payload)


def test_no_payload_is_not_an_empty_one() -> None:
    record = RecordInfo(name="n").SerializeToString()
    assert segments.with_input(record, RecordInput(record_id="x").SerializeToString()) == record
    empty = RecordInfo.FromString(segments.with_input(record, RecordInput(payload={}).SerializeToString()))
    assert empty.HasField("input")
