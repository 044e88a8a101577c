"""The table of a run, and its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.harness import Arm, Row, Series, Verdict


@dataclass
class Measured:
    """A row after its rounds, or what stopped it.

    Attributes:
        row: What was measured.
        seconds: How long it took, set-up included.
        error: Why there are no figures; empty if there are.
    """

    row: Row
    seconds: float = 0.0
    arms: Sequence[Arm] = ()
    series: dict[str, Series] = field(default_factory=dict)
    verdicts: Sequence[Verdict] = ()
    facts: dict[str, str] = field(default_factory=dict)
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "name": self.row.name,
            "title": self.row.title,
            "seconds": round(self.seconds, 1),
            "settings": {arm.name: arm.settings for arm in self.arms},
            "figures": {name: series.as_json() for name, series in self.series.items()},
            "goals": [verdict.as_json() for verdict in self.verdicts],
            "facts": self.facts,
            "error": self.error,
        }


def number(value: float) -> str:
    """Three significant digits and more where they are whole, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def grid(rows: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    """Columns side by side; those in `right` are set to the right. The first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    lines.insert(1, "  " + "  ".join("─" * width for width in widths))
    return lines


def row_lines(measured: Measured) -> list[str]:
    """One row of the benchmark: its figures, its goals, how each arm is set up."""
    lines = ["", f"■ {measured.row.title}  ({measured.row.name}, {measured.seconds:.0f} s)"]
    if measured.error:
        return [*lines, f"  NOT MEASURED: {measured.error}"]
    table = [["arm", "figure", "median", "min", "max", "n"]]
    seen = ""
    for name, series in measured.series.items():
        arm, _, metric = name.rpartition(".")
        low, high = min(series.values), max(series.values)
        shown = [number(series.median), number(low), number(high), str(len(series.values))]
        table.append(["" if arm == seen else arm, metric, *shown])
        seen = arm
    lines += grid(table, right=(2, 3, 4, 5))
    if measured.verdicts:
        lines += [
            "",
            *grid([["goal", "is", "min–max", "wanted", ""], *map(_goal_cells, measured.verdicts)], right=(1, 3)),
        ]
    lines += ["", *(f"  {arm.name}: {arm.settings}" for arm in measured.arms)]
    lines += [f"  {key}: {words}" for key, words in measured.facts.items()]
    return lines


def _goal_cells(verdict: Verdict) -> list[str]:
    goal = verdict.goal
    what = f"{goal.figure} / {verdict.baseline}" if verdict.baseline else goal.figure
    if goal.note:
        what += f" ({goal.note})"
    unit = " ×" if verdict.baseline else ""
    spread = f"{number(verdict.low)}–{number(verdict.high)}"
    wanted = f"{goal.relation} {number(goal.bound)}{unit}"
    return [what, number(verdict.value) + unit, spread, wanted, "met" if verdict.met else "MISSED"]


def head_lines(machine: dict[str, str], *, rounds: int, quick: bool) -> list[str]:
    """What the figures were measured on and how."""
    lines = [f"  {key}: {words}" for key, words in machine.items()]
    lines.append(
        f"  rounds: {rounds}, arms in turns within each; a ratio is that of the medians, min–max of the rounds"
    )
    lines.append("  clients, servers, workers and Redis share the machine; loopback, no TLS")
    if quick:
        lines.append("  QUICK: small sizes; the figures show that the rows work and are not to be quoted")
    return lines


def summary_lines(rows: Sequence[Measured]) -> list[str]:
    """The last words: what was met, missed and not measured."""
    verdicts = [(measured.row.name, verdict) for measured in rows for verdict in measured.verdicts]
    missed = [f"{name}: {verdict.goal.figure}" for name, verdict in verdicts if not verdict.met]
    failed = [measured.row.name for measured in rows if measured.error]
    lines = ["", f"{len(verdicts) - len(missed)} goals met, {len(missed)} missed, {len(failed)} rows not measured"]
    lines += [f"  missed: {words}" for words in missed]
    lines += [f"  not measured: {name}" for name in failed]
    return lines
