"""Integers beyond 64 bits are found wherever JSON may have them, in a page that is not parsed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard_worker import payload
from batchyard_worker.v1 import worker_pb2

BIG = 2**70
SCALARS = st.one_of(st.integers(), st.text(max_size=40), st.floats(allow_nan=False, allow_infinity=False), st.none())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


def page_of(*texts: str) -> bytes:
    """A page as the worker gets it."""
    records = [worker_pb2.RecordInput(payload=worker_pb2.Payload(text=text)) for text in texts]
    return worker_pb2.InputPage(records=records).SerializeToString()


@pytest.mark.parametrize(
    "text",
    [f"{BIG}", f"-{BIG}", f"[{BIG}]", f"[1,{BIG}]", f'{{"a": {BIG}}}', f'{{"a":\n{BIG}}}', f" {BIG} ", f'["x",-{BIG}]']
    + [str(10**digits) for digits in range(18, 130)],
)
def test_found(text: str) -> None:
    assert payload.may_hold_long_integer(page_of('{"n":1}', text, '{"n":2}')) or len(text) < 19


def test_digits_within_strings_are_not_meant() -> None:
    texts = [f'{{"id":"a{"1234567890" * 6}f","n":{n}}}' for n in range(500)]
    assert not payload.may_hold_long_integer(page_of(*texts))


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_no_digit_is_lost(values: list[object]) -> None:
    texts = [json.dumps(value, ensure_ascii=False) for value in values]
    if payload.orjson is not None and not payload.may_hold_long_integer(page_of(*texts)):
        assert [payload.orjson.loads(text) for text in texts] == values
