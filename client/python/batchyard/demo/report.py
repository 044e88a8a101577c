"""What the demonstration prints about a batch task that has ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console

    from batchyard import BatchTaskInfo, RecordInfo

# Rows of each list of extremes.
_ROWS: Final = 8


@dataclass
class Audit:
    """The outcomes of all records.

    Attributes:
        outputs: record_id → what `python_audit` returned.
        failures: record_id → the error's text.
    """

    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[RecordInfo]) -> Audit:
        """Sort the records by how they ended."""
        audit = cls()
        for record in records:
            if record.error is not None:
                audit.failures[record.record_id] = record.error.message
            else:
                audit.outputs[record.record_id] = record.output
        return audit

    def sum(self, key: str) -> int:
        """Add one number up over all files."""
        return sum(output[key] for output in self.outputs.values())


def show_totals(console: Console, audit: Audit, info: BatchTaskInfo, size: int) -> None:
    """Print what was audited and how fast."""
    assert info.start_time is not None
    assert info.end_time is not None
    seconds = (info.end_time - info.start_time).total_seconds()
    table = _table("Totals", "", right=("",))
    table.add_row("files", f"{info.counts.total:,}")
    table.add_row("bytes", f"{size:,}")
    for key in ("lines", "functions", "classes"):
        table.add_row(key, f"{audit.sum(key):,}")
    table.add_row("cyclomatic complexity", f"{sum(o['complexity']['total'] for o in audit.outputs.values()):,}")
    table.add_row("audited / failed", f"{info.counts.succeeded:,} / {info.counts.failed:,}")
    table.add_row("run time", f"{seconds:.2f} s")
    table.add_row("records per second", f"{info.counts.total / seconds:,.0f}")
    console.print(table)


def show_extremes(console: Console, audit: Audit) -> None:
    """Print the biggest and the most complex files."""
    table = _table("Biggest files", "file", right=("lines", "functions", "classes"))
    for name, output in _most(audit, _lines):
        table.add_row(name, *(f"{output[key]:,}" for key in ("lines", "functions", "classes")))
    console.print(table)
    table = _table("Most complex functions", "file", right=("complexity",))
    table.add_column("function")
    for name, output in _most(audit, _complexity):
        table.add_row(name, str(output["complexity"]["max"]), output["complexity"]["function"])
    console.print(table)


def show_failures(console: Console, audit: Audit) -> None:
    """Print the files that are no Python programs."""
    table = _table("Files that failed", "file")
    table.add_column("error", overflow="fold")
    for name, message in sorted(audit.failures.items()):
        table.add_row(name, message)
    console.print(table)


def _lines(output: dict[str, Any]) -> int:
    return output["lines"]


def _complexity(output: dict[str, Any]) -> int:
    return output["complexity"]["max"]


def _most(audit: Audit, key: Callable[[dict[str, Any]], int]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(audit.outputs.items(), key=lambda item: key(item[1]), reverse=True)[:_ROWS]


def _table(title: str, first: str, right: Iterable[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=bool(first), min_width=60)
    table.add_column(first, overflow="fold")
    for name in right:
        table.add_column(name, justify="right")
    return table
