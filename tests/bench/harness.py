"""What a row is: arms that are measured in turns, round by round, and goals that compare their figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What one round of one arm gives: metric to value. The metric's name says its unit.
Sample = dict[str, float]


class RowError(Exception):
    """A row cannot be measured, or what was measured does not count; the text says why."""


@dataclass(frozen=True)
class Env:
    """What every row is given.

    Attributes:
        rounds: How many times every arm is measured.
        quick: Small sizes: the figures show that the row works and are not to be quoted.
        workdir: An empty folder on a disk.
        slots: Worker processes that every system gets.
    """

    rounds: int
    quick: bool
    workdir: Path
    slots: int

    def size(self, full: int, quick: int) -> int:
        """`full`, or `quick` in a quick run."""
        return quick if self.quick else full

    def folder(self, name: str) -> Path:
        """A new folder below `workdir`."""
        path = self.workdir / name
        path.mkdir(parents=True)
        return path


@dataclass(frozen=True)
class Arm:
    """One alternative of a row: ours or a baseline.

    Attributes:
        name: Shown in the table; unique in its row, without a dot.
        settings: How it is set up, in words for the table.
        measure: Runs one round and returns its figures.
    """

    name: str
    settings: str
    measure: Callable[[], Sample]


@dataclass(frozen=True)
class Goal:
    """A bound on a figure, or on its ratio to a baseline of the same run.

    Attributes:
        figure: `arm.metric` that is judged.
        relation: `>=` or `<=`.
        bound: The ratio to reach, or the figure itself without a baseline.
        baselines: `arm.metric` each; the ratio is taken to the one that is hardest to beat. Empty: no ratio.
        note: More words for the table.
    """

    figure: str
    relation: str
    bound: float
    baselines: tuple[str, ...] = ()
    note: str = ""


@dataclass
class Plan:
    """An opened row.

    Attributes:
        arms: In the order of the first round; the order turns from round to round.
        goals: What is compared.
        facts: What else has to be known to read the figures (checks that were made, sizes).
        settle: Runs before every arm; waits until the server is idle, so that no arm pays for another one's.
    """

    arms: list[Arm]
    goals: list[Goal]
    facts: dict[str, str] = field(default_factory=dict)
    settle: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Row:
    """One row of the benchmark table.

    Attributes:
        name: What `--rows` takes.
        title: What is measured.
        open: Sets everything up, yields the plan, and ends everything that it started.
    """

    name: str
    title: str
    open: Callable[[Env], AbstractContextManager[Plan]]


@dataclass(frozen=True)
class Series:
    """All rounds of one figure."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.values)

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        low, high = min(self.values), max(self.values)
        return {"median": self.median, "min": low, "max": high, "n": len(self.values), "values": list(self.values)}


def run_rounds(plan: Plan, rounds: int, tell: Callable[[str], None]) -> dict[str, Series]:
    """Measure every arm once per round; each round begins with the next arm, so none always runs first.

    Returns:
        `arm.metric` to its series, in the order of the arms.
    """
    arms = plan.arms
    samples: dict[str, list[Sample]] = {arm.name: [] for arm in arms}
    for turn in range(rounds):
        shift = turn % len(arms)
        for arm in [*arms[shift:], *arms[:shift]]:
            plan.settle()
            sample = arm.measure()
            samples[arm.name].append(sample)
            shown = " ".join(f"{metric}={value:.5g}" for metric, value in sample.items())
            tell(f"  round {turn + 1}/{rounds}  {arm.name}: {shown}")
    series: dict[str, Series] = {}
    for arm in arms:
        for metric in samples[arm.name][0]:
            series[f"{arm.name}.{metric}"] = Series(tuple(sample[metric] for sample in samples[arm.name]))
    return series


@dataclass(frozen=True)
class Verdict:
    """A goal with what was measured.

    Attributes:
        goal: What was judged.
        baseline: The baseline it was compared with; empty if none.
        value: Ratio of the medians, or the median itself without a baseline.
        low: Least ratio (or value) of a single round.
        high: Greatest of a single round.
    """

    goal: Goal
    baseline: str
    value: float
    low: float
    high: float

    @property
    def met(self) -> bool:
        """Whether the bound holds for the medians."""
        if self.goal.relation == ">=":
            return self.value >= self.goal.bound
        return self.value <= self.goal.bound

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        goal = self.goal
        return {
            "figure": goal.figure,
            "baseline": self.baseline,
            "value": self.value,
            "min": self.low,
            "max": self.high,
            "relation": goal.relation,
            "bound": goal.bound,
            "met": self.met,
            "note": goal.note,
        }


def judge(goal: Goal, series: dict[str, Series]) -> Verdict:
    """Compare a goal with the measured series.

    Raises:
        KeyError: The goal names a figure that was not measured.
    """
    ours = series[goal.figure]
    if not goal.baselines:
        return Verdict(goal, "", ours.median, min(ours.values), max(ours.values))
    hardest = max if goal.relation == ">=" else min
    name = hardest(goal.baselines, key=lambda baseline: series[baseline].median)
    base = series[name]
    ratios = [mine / theirs for mine, theirs in zip(ours.values, base.values, strict=True)]
    return Verdict(goal, name, ours.median / base.median, min(ratios), max(ratios))
