"""What workers, time and the machine do in a random sequence of steps. Shrinks to the fewest that still go wrong."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.property import asked
from tests.property.callers import SMALL, YES, Callers
from tests.property.events import SUCCESS, Result
from tests.property.real import RealWorld

RESULT = st.sampled_from(asked.RESULTS)
UPSETS = ("crash", "crash", "reap", "reap", "reap", "break", "mend")
RARELY = st.sampled_from((False, False, False, True))


class Machine(Callers):
    """One sequence."""

    @rule(who=SMALL, result=RESULT, keep=YES, over=RARELY)
    def work(self, who: int, result: Result, keep: bool, over: bool) -> None:
        self.played.rules["work"] += 1
        self._work(who, result, keep=keep, over=over)

    def _work(self, who: int, result: Result, *, keep: bool = False, over: bool = False) -> None:
        """A worker goes on, if it lives."""
        worker = self.worker(who)
        if worker is not None and not (worker.killed or worker.dead):
            self.world.work(worker, result, keep=keep, over=over)
            self.session.sync()

    @rule(who=SMALL, results=st.lists(RESULT, min_size=1, max_size=4))
    def work_on(self, who: int, results: list[Result]) -> None:
        """One worker ends some records."""
        self.played.rules["work_on"] += 1
        for result in results:
            self._work(who, result)

    @rule(steps=st.integers(1, 4))
    def drive(self, steps: int) -> None:
        """All goes well for a while."""
        self.played.rules["drive"] += 1
        self._drive(steps, SUCCESS)

    @rule(steps=st.integers(1, 4), result=RESULT)
    def drive_badly(self, steps: int, result: Result) -> None:
        """Every record ends so for a while."""
        self.played.rules["drive_badly"] += 1
        self._drive(steps, result)

    def _drive(self, steps: int, result: Result) -> None:
        for _ in range(steps):
            for who in range(len(self.world.workers)):
                self._work(who, result)

    @rule(what=st.sampled_from(UPSETS), who=SMALL, result=st.sampled_from((None, *asked.RESULTS)), unreaped=RARELY)
    def upset(self, what: str, who: int, result: Result | None, unreaped: bool) -> None:
        """A worker dies, or is gone at last (with a result its record had ended before); none can be started."""
        self.played.rules[what] += 1
        ending = [worker for worker in self.world.workers if worker.killed or worker.dead]
        worker = self.worker(who)
        if what == "crash" and worker is not None:
            self.world.crash(worker)
        elif what == "reap" and ending:
            left_behind = unreaped and len(self.world.workers) > 1
            self.world.reap(ending[who % len(ending)], result, unreaped=left_behind)
        elif what in ("break", "mend"):
            self.world.break_launcher(OSError("the model says so") if what == "break" else None)
        self.session.sync()

    @rule(seconds=st.sampled_from(asked.JUMPS))
    def pass_time(self, seconds: float) -> None:
        self.played.rules["pass_time"] += 1
        self.session.tick(seconds)

    @rule(how=st.sampled_from(("patient", "at once", "killed")))
    def restart(self, how: str) -> None:
        """The server ends, and another one begins."""
        self.played.rules["restart"] += 1
        if how == "killed":
            self.world.kill()
            self.session.waiters.killed()
        else:
            self.world.stop(patient=how == "patient")
            self.session.waiters.drained()
        self.session.next_server()


class RealMachine(Machine):
    """One sequence over a gRPC channel, with worker processes: without what would take real time."""

    world_kind = RealWorld
    pass_time = None  # type: ignore[assignment]

    def wait_long(self, who: int) -> None:
        """Nobody does: when an answer arrives is not known."""

    def suits(self, config: dict[str, Any]) -> bool:
        """See Callers.suits: nothing waits before a retry, and nothing is over before it is looked at."""
        constraints = config.get("constraints", {})
        waits = "max_retry_count" in constraints and config.get("retry_policy", {}).get("initial_backoff") != 0
        return not waits and "record_timeout" not in constraints and constraints.get("retention_time") != 0
