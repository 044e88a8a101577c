"""The builder: messages within their bounds, in order, complete."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard import Record, RecordValueError
from batchyard._records import MESSAGE_BYTES, MESSAGE_RECORDS, MessageBuilder
from batchyard.v1.batch_task_service_pb2 import AppendRecordsRequest


def messages(values: list[Any], ids: list[str] | None = None) -> list[AppendRecordsRequest]:
    builder, source, made = MessageBuilder(ids), iter(values), []
    more = True
    while more:
        more = builder.fill(source)
        while (message := builder.take()) is not None:
            made.append(message)
            if more:
                break
    builder.finish()
    return made


@settings(deadline=None)
@given(st.lists(st.sampled_from([1, 1000, 200_000, 600_000, MESSAGE_BYTES - 16, MESSAGE_BYTES]), max_size=12))
def test_messages_are_bounded_and_complete(sizes: list[int]) -> None:
    values = [bytes([index % 256]) * size for index, size in enumerate(sizes)]
    made = messages(values)
    assert [record.payload.data for message in made for record in message.records] == values
    index = 0
    for message in made:
        assert message.first_index == index
        assert message.HasField("first_index")
        index += len(message.records)
        assert len(message.records) == 1 or message.ByteSize() <= MESSAGE_BYTES


@pytest.mark.parametrize(
    "count", [0, 1, MESSAGE_RECORDS - 1, MESSAGE_RECORDS, MESSAGE_RECORDS + 1, 3 * MESSAGE_RECORDS]
)
def test_messages_hold_so_many_records(count: int) -> None:
    made = messages(list(range(count)))
    assert [int(record.payload.text) for message in made for record in message.records] == list(range(count))
    assert all(len(message.records) <= MESSAGE_RECORDS for message in made)


def test_the_first_index_can_be_any() -> None:
    builder = MessageBuilder()
    builder.begin_at(7)
    builder.fill(iter([1, 2]))
    first = builder.take()
    builder.fill(iter([3]))
    second = builder.take()
    assert first is not None
    assert second is not None
    assert (first.first_index, second.first_index) == (7, 9)
    assert builder.take() is None


def test_an_index_of_a_bad_value_counts_all_messages() -> None:
    values: list[Any] = [*range(MESSAGE_RECORDS + 5), {"x": float("nan")}]
    with pytest.raises(RecordValueError) as caught:
        messages(values)
    assert caught.value.index == MESSAGE_RECORDS + 5
    assert isinstance(caught.value, ValueError)


def test_record_ids_replace_those_of_records() -> None:
    (message,) = messages([Record(1, "a"), 2], ["x", "y"])
    assert [record.record_id for record in message.records] == ["x", "y"]


def test_none_is_no_end_of_ids() -> None:
    with pytest.raises(RecordValueError, match="fewer entries"):
        messages([1, 2], ["only"])
    with pytest.raises(ValueError, match="more entries"):
        messages([1], ["a", "b"])
