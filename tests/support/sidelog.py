"""What did the handlers really run? The side log of `tests/crash/handlers/noted.py`, held against what was recorded.

A worker may be ahead of what is durable by 50 ms of work and the record that it then begins. So of the executions that
a worker process lost (the record was run again elsewhere), all but the last together took at most 50 ms.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from batchyard.v1.record_pb2 import RecordInfo
from tests.support.ledger import ENDED

RUN_AHEAD_NS = 50_000_000


@dataclass(slots=True)
class Execution:
    """One execution. `took_ns`: by the process's next line; None for its last."""

    process: str
    start: int
    attempt: int
    took_ns: int | None = None


@dataclass
class SideLog:
    """Reads the log as it grows.

    Attributes:
        left: processes of an earlier server that a new worker saw.
        lost: executions that were run again, by process.
        repeated: how many they are.
        bumped: records whose attempt is higher than the times they were run.
    """

    path: pathlib.Path
    left: list[str] = field(default_factory=list[str])
    lost: dict[str, list[Execution]] = field(default_factory=dict[str, list[Execution]])
    repeated: int = 0
    bumped: int = 0
    executions: int = 0
    _jobs: dict[str, dict[int, list[Execution]]] = field(default_factory=dict[str, dict[int, list[Execution]]])
    _last: dict[str, Execution] = field(default_factory=dict[str, Execution])
    _position: int = 0

    def read(self) -> None:
        """Take in the lines that came since the last time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        whole = data if data.endswith(b" .") else data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.decode().splitlines():
            if line.startswith("left "):
                self.left.append(line)
            elif line.endswith(" ."):  # else it was torn: its process was killed before the record began
                self._take(line)

    def _take(self, line: str) -> None:
        job, index, attempt, process, start, previous, _ = line.split()
        execution = Execution(process, int(start), int(attempt))
        before = self._last.get(process)
        if before is not None:
            before.took_ns = int(previous)
        self._last[process] = execution
        self._jobs.setdefault(job, {}).setdefault(int(index), []).append(execution)
        self.executions += 1

    def runs(self, job: str, index: int) -> list[Execution]:
        """The executions of one record, in order. It must not have been settled."""
        return self._jobs.get(job, {}).get(index, [])

    def all(self) -> Iterator[Execution]:
        """Every execution of what has not been settled."""
        return (each for job in self._jobs.values() for runs in job.values() for each in runs)

    def settle(
        self,
        job: str,
        records: Sequence[RecordInfo],
        *,
        cancelled: bool = False,
        failed: Mapping[int, Collection[int]] = MappingProxyType({}),
    ) -> None:
        """Hold the recorded outcomes of a final task against its executions, then forget these. AssertionError.

        `failed`: the attempts of a record, by index, that are known to have failed.
        """
        self.read()
        for record in records:
            if record.state in ENDED:
                self._settle(job, record, self.runs(job, record.index), failed.get(record.index, ()))
        ran = self._jobs.pop(job, {})
        ended = {record.index for record in records if record.state in ENDED}
        if not cancelled:
            assert ran.keys() == ended, f"{job}: ran {len(ran)} records, {len(ended)} have an outcome"

    def _settle(self, job: str, record: RecordInfo, runs: Sequence[Execution], failed: Collection[int]) -> None:
        what = f"{job}[{record.index}]"
        assert runs, f"{what} has an outcome and was never run"
        recorded = runs[-1]
        if record.state == RecordInfo.SUCCEEDED:
            output = json.loads(record.output.text)
            assert output == {"process": recorded.process, "start": recorded.start}, f"{what}: {output}, but ran {runs}"
        assert record.attempt == recorded.attempt, f"{what}: {record}, but ran {runs}"
        assert record.attempt >= 1, f"{what}: {record}"
        self.bumped += max(record.attempt - len(runs), 0)
        last = {execution.attempt: execution for execution in runs}
        for execution in runs[:-1]:
            if execution.attempt in failed and execution is last[execution.attempt]:
                continue  # tried again because it failed, not because it was lost
            self.repeated += 1
            self.lost.setdefault(execution.process, []).append(execution)

    def check(self, *, worker_kills: int, processes: int) -> None:
        """Hold everything that was run again against the run-ahead. Raises AssertionError.

        Args:
            worker_kills: workers that were killed while their server lived: each may have been killed between the
                moment in which a record began and its line, which then counts as an execution without a line.
            processes: how many workers were lost at most.
        """
        assert self.left == [], f"workers began while those of an earlier server lived: {self.left[:5]}"
        assert self.bumped <= worker_kills, f"{self.bumped} records have an attempt that was never run"
        assert len(self.lost) <= processes, f"{len(self.lost)} processes lost executions, {processes} were killed"
        for process, lost in self.lost.items():
            lost.sort(key=lambda each: each.start)
            ahead = sum(each.took_ns or 0 for each in lost[:-1])
            assert ahead <= RUN_AHEAD_NS, f"{process} was {ahead / 1e6:.1f} ms ahead, in {len(lost)} executions"
            assert all(each.took_ns is not None for each in lost[:-1])
