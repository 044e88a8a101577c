"""Are figures compared as the table says they are?"""

from __future__ import annotations

import itertools

import orjson
import pytest

from tests.bench import records
from tests.bench.drivers.reader import canonical
from tests.bench.drivers.submitter import fill_value
from tests.bench.harness import Arm, Goal, Plan, Row, Series, judge, run_rounds
from tests.bench.report import Measured, row_lines, summary_lines


def series(**values: tuple[float, ...]) -> dict[str, Series]:
    return {f"{arm}.rate": Series(found) for arm, found in values.items()}


def test_a_ratio_is_that_of_the_medians_with_the_spread_of_the_rounds() -> None:
    found = judge(Goal("ours.rate", ">=", 2.0, ("base.rate",)), series(ours=(10, 30, 20), base=(10, 10, 5)))
    assert (found.value, found.low, found.high, found.met) == (2.0, 1.0, 4.0, True)


@pytest.mark.parametrize(("relation", "hardest"), [(">=", "fast.rate"), ("<=", "slow.rate")])
def test_the_hardest_baseline_is_the_one_compared_with(relation: str, hardest: str) -> None:
    measured = series(ours=(4,), slow=(1,), fast=(2,))
    assert judge(Goal("ours.rate", relation, 1.0, ("slow.rate", "fast.rate")), measured).baseline == hardest


def test_a_goal_without_a_baseline_is_judged_by_its_figure() -> None:
    assert not judge(Goal("ours.rate", "<=", 1.0), series(ours=(2, 1, 3))).met


def test_every_arm_runs_once_a_round_and_another_one_begins_each() -> None:
    order: list[str] = []
    counter = itertools.count()

    def arm(name: str) -> Arm:
        return Arm(name, "", lambda: order.append(name) or {"turn": next(counter)})

    found = run_rounds(Plan([arm("a"), arm("b"), arm("c")], []), 3, lambda text: None)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert found["a.turn"].values == (0, 5, 7)


def test_records_are_distinct_and_of_the_size_that_the_table_names() -> None:
    made = records.make(2_000) + records.make(2_000, seed=1)
    assert {len(record) for record in made} == {records.RECORD_BYTES}
    assert len(set(made)) == len(made)
    assert [orjson.dumps(orjson.loads(record)) for record in made] == made


def test_a_record_comes_back_from_a_value_as_the_same_bytes() -> None:
    from google.protobuf import json_format, struct_pb2

    value = struct_pb2.Value()
    record = records.make(8)[7]
    fill_value(value, orjson.loads(record))
    plain = json_format.MessageToDict(value)
    plain["id"] = int(plain["id"])  # as the worker restores integral numbers
    assert canonical(orjson.dumps(plain).decode()) == record


def test_a_row_that_was_not_measured_says_why() -> None:
    failed = Measured(Row("noop", "records per second", lambda env: pytest.fail("never opened")), error="no Redis here")
    assert "  NOT MEASURED: no Redis here" in row_lines(failed)
    assert summary_lines([failed])[-1] == "  not measured: noop"
