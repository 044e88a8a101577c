"""Play very many sequences of the model on all cores.

    python -m tests.property [--sequences N] [--jobs N] [--seed N]

Exit code: 0 if the server did what the model says, 1 if not; then the smallest sequence that shows it is printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed

from tests.property.machine import Machine
from tests.property.play import STEPS, play
from tests.property.verbs import Played

PART = 250  # sequences of one part; each has a seed of its own


def part(number: int, sequences: int) -> Played:
    """Play one part."""
    with tempfile.TemporaryDirectory() as folder:
        return play(Machine, pathlib.Path(folder), sequences, number)


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m tests.property", description=__doc__)
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    began, total = time.monotonic(), Played()
    sizes = [min(PART, asked.sequences - at) for at in range(0, asked.sequences, PART)]
    with ProcessPoolExecutor(asked.jobs) as pool:
        parts: dict[Future[Played], int] = {
            pool.submit(part, asked.seed + number, size): number for number, size in enumerate(sizes)
        }
        for done in as_completed(parts):
            error = done.exception()
            if error is not None:
                pool.shutdown(wait=False, cancel_futures=True)
                print(f"with --seed {asked.seed + parts[done]}: {error}", *getattr(error, "__notes__", ()), sep="\n")
                for other in multiprocessing.active_children():  # nobody wants to know what else they would find
                    other.terminate()
                return 1
            total.add(done.result())
            print(f"{total.rules['sequences']} sequences, {time.monotonic() - began:.0f} s", flush=True)
    tell(total, time.monotonic() - began)
    assert total.rules["steps"] >= STEPS * asked.sequences
    return 0


def tell(total: Played, seconds: float) -> None:
    """What was played."""
    rules = dict(total.rules)
    sequences, steps = rules.pop("sequences"), rules.pop("steps")
    print(f"{sequences} sequences, {steps} steps in {seconds:.0f} s: no violation")
    print("steps:", ", ".join(f"{name} {count}" for name, count in sorted(rules.items(), key=lambda each: -each[1])))
    print("tasks:")
    for (before, after, reason), count in sorted(total.transitions.items()):
        print(f"{count:>9} {before} → {after} {reason.lower()}".rstrip())


if __name__ == "__main__":
    sys.exit(main())
