"""Records of a filter: the same ones as of all, one by one, in both orders, in pages of any size, of every generation."""

from __future__ import annotations

import itertools
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.model import limits
from batchyard_server.model.record import EVERY_GENERATION, Order, View
from batchyard_server.model.task import Attempts
from batchyard_server.store.protocols import Store
from tests.conformance.store.conftest import Driver
from tests.support import store as make
from tests.support.outcomes import flush
from tests.support.record_history import History

TOTAL = 48
S = RecordInfo.State
_OPS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Filter:
    """Its text, and what it means."""

    text: str
    means: Callable[[RecordInfo], bool]


def _value(record: RecordInfo, field: str) -> Any:
    if field == "error.code":
        return record.error.code if record.HasField("error") else None
    if field == "exit_code":
        return record.exit_code if record.HasField("exit_code") else None
    return getattr(record, field)


def _compared(field: str, op: str, value: int, written: str = "") -> Filter:
    def means(record: RecordInfo) -> bool:
        found = _value(record, field)
        return found is not None and _OPS[op](found, value)

    return Filter(f"{field} {op} {written or value}", means)


def _set(field: str) -> Filter:
    return Filter(f"{field}:*", lambda record: _value(record, field) not in (None, ""))


numbers = {
    "index": st.integers(-2, TOTAL + 2),
    "attempt": st.integers(0, 4),
    "exit_code": st.sampled_from((-9, 0, 1, 2, 7)),
    "error.code": st.sampled_from((3, 5, 13, 14)),
}
singles = st.one_of(
    st.builds(lambda op, state: _compared("state", op, state, S.Name(state)), st.sampled_from([*_OPS]), st.integers(1, 5)),
    *(st.builds(_compared, st.just(field), st.sampled_from([*_OPS]), values) for field, values in numbers.items()),
    st.sampled_from(
        [
            _set("error.code"),
            _set("exit_code"),
            _set("record_id"),
            _compared("error.code", "=", 5, "NOT_FOUND"),
            Filter('record_id = ""', lambda record: not record.record_id),
            Filter('record_id = "r1*"', lambda record: record.record_id.startswith("r1")),
            Filter('record_id != "r1*"', lambda record: not record.record_id.startswith("r1")),
            Filter('record_id:"2"', lambda record: "2" in record.record_id),
            Filter('record_id < "r2"', lambda record: record.record_id < "r2"),
        ]
    ),
    st.builds(
        lambda op, number: Filter(
            f'record_id {op} "r{number}"', lambda record: _OPS[op](record.record_id, f"r{number}")
        ),
        st.sampled_from(["=", "!="]),
        st.integers(0, TOTAL + 2),
    ),
)
filters = st.recursive(
    singles,
    lambda inner: st.one_of(
        st.builds(lambda it: Filter(f"NOT ({it.text})", lambda record: not it.means(record)), inner),
        st.builds(
            lambda a, b: Filter(f"({a.text}) AND ({b.text})", lambda record: a.means(record) and b.means(record)),
            inner,
            inner,
        ),
        st.builds(
            lambda a, b: Filter(f"({a.text}) OR ({b.text})", lambda record: a.means(record) or b.means(record)),
            inner,
            inner,
        ),
    ),
    max_leaves=4,
)
_names = (f"t{number}" for number in itertools.count())


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(seed=st.integers(0, 2**32), asked=st.lists(filters, min_size=6, max_size=6))
async def test_what_is_found_is_what_a_look_at_every_record_finds(
    driver: Driver, seed: int, asked: list[Filter], monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    store = await driver.reopen() if not hasattr(driver, "kept") else driver.kept
    driver.kept = store
    history = await History.lived(store, next(_names), chance, TOTAL)
    task = history.task
    for one in asked:
        order, view = chance.choice(list(Order)), chance.choice(list(View))
        every = [EVERY_GENERATION] if order is Order.COMPLETION else []
        generation = chance.choice([0, *range(1, task.generation + 1), *every])
        running = history.running if generation in (0, task.generation) and order is Order.INDEX else frozenset[int]()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, "EXAMINED_RECORDS", 1 << 20)
            everything = (await make.search(store, task, "*", order, view=view, generation=generation, running=running))[0]
            wanted = [raw for raw in everything if one.means(RecordInfo.FromString(raw))]
            patch.setattr(limits, "EXAMINED_RECORDS", chance.choice((1, 5, 50_000)))
            for size in (1, 2, 7, 1000):
                found, _ = await make.search(
                    store,
                    task,
                    one.text,
                    order,
                    view=view,
                    max_records=size,
                    max_bytes=chance.choice((1, 300, make.BIG)),
                    whole=chance.random() < 0.5,
                    generation=generation,
                    running=running,
                )
                assert make.parse(found) == make.parse(wanted), (one.text, order, view, generation, size)
                assert found == wanted
