"""Run the benchmarks and write the table and the JSON.

    python -m tests.bench [--rows a,b] [--rounds N] [--quick] [--json FILE] [--dir FOLDER] [--list]

Exit code: 0 if every row was measured, whether its goals were met or not; 1 if one was not.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

from tests.bench import machine
from tests.bench.harness import Env, Row, RowError, judge, run_rounds
from tests.bench.procs import ROOT
from tests.bench.report import Measured, head_lines, row_lines, summary_lines

# In the order of the table.
ROWS = (
    "noop",
    "latency",
    "listing",
    "outcomes",
    "reads",
    "creates",
    "bulk",
    "upload",
    "wakeup",
    "pages",
    "record_pages",
    "restart",
    "reactivate",
    "idle",
    "memory",
)
ROUNDS, QUICK_ROUNDS = 5, 2


def load_row(name: str) -> Row:
    """The `ROW` of `tests/bench/rows/NAME.py`."""
    row: Row = importlib.import_module(f"tests.bench.rows.{name}").ROW
    return row


def measure(row: Row, env: Env) -> Measured:
    """Open a row, run its rounds, judge them. What stops it becomes its error; the other rows go on."""
    began = time.monotonic()
    measured = Measured(row)
    try:
        with row.open(env) as plan:
            measured.arms, measured.facts = plan.arms, plan.facts
            measured.series = run_rounds(plan, env.rounds, lambda text: print(text, file=sys.stderr, flush=True))
            measured.verdicts = [judge(goal, measured.series) for goal in plan.goals]
    except RowError as error:
        measured.error = str(error)
    except Exception as error:  # noqa: BLE001 - one broken row must not hide the figures of the others
        traceback.print_exc()
        measured.error = f"{type(error).__name__}: {error}"
    measured.seconds = time.monotonic() - began
    return measured


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Ours beside baselines, in one run.")
    parser.add_argument("--rows", default=",".join(ROWS), help="names, comma-separated (default: all)")
    parser.add_argument("--rounds", type=int, help=f"default: {ROUNDS}, quick {QUICK_ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that the rows work")
    parser.add_argument("--json", type=Path, help="where the JSON goes (default: bench-results/ with the time)")
    parser.add_argument("--dir", help="folder on a disk for data (default: where temporary files go)")
    parser.add_argument("--keep", action="store_true", help="keep the data and the logs")
    parser.add_argument("--list", action="store_true", help="only name the rows")
    chosen = parser.parse_args(argv)
    unknown = [name for name in chosen.rows.split(",") if name not in ROWS]
    if unknown:
        parser.error(f"unknown rows {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Run the chosen rows; returns the exit code."""
    chosen = parse(argv)
    rows = [load_row(name) for name in chosen.rows.split(",")]
    if chosen.list:
        print("\n".join(f"{row.name:14s}{row.title}" for row in rows))
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    rounds = chosen.rounds or (QUICK_ROUNDS if chosen.quick else ROUNDS)
    started = datetime.datetime.now(datetime.UTC)
    folder = machine.disk_folder(chosen.dir)
    try:
        facts = machine.describe(folder)
        print("\n".join(head_lines(facts, rounds=rounds, quick=chosen.quick)), flush=True)
        results = []
        for row in rows:
            print(f"{row.name} …", file=sys.stderr, flush=True)
            env = Env(rounds=rounds, quick=chosen.quick, workdir=folder / row.name, slots=os.cpu_count() or 1)
            env.workdir.mkdir()
            results.append(measure(row, env))
            print("\n".join(row_lines(results[-1])), flush=True)
            if not chosen.keep:
                shutil.rmtree(env.workdir)
    finally:
        if chosen.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(summary_lines(results)), flush=True)
    target = chosen.json or ROOT / "bench-results" / f"{started:%Y%m%dT%H%M%SZ}.json"
    _write(
        target,
        {
            "started": started.isoformat(timespec="seconds"),
            "machine": facts,
            "rounds": rounds,
            "quick": chosen.quick,
            "rows": [result.as_json() for result in results],
        },
    )
    return 1 if any(result.error for result in results) else 0


def _write(target: Path, document: dict[str, object]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"JSON: {target}", file=sys.stderr)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the run as Ctrl-C does: everything that was started is ended first."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
