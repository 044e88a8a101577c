"""The worst that handlers do, through a real server at every isolation level: the right outcome, and nothing left."""

from __future__ import annotations

import dataclasses
import pathlib
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.record_pb2 import RecordInfo
from tests.support import processes, zoo
from tests.support.eventually import eventually
from tests.zoo.keeper import LEVELS, NEIGHBOURS, REAPED_SECONDS, Keeper, check_neighbours, error_info, keeping

HUGE = f"head -c {zoo.HUGE} /dev/zero"
STUBBORN = "trap '' TERM HUP; touch {ready}; while :; do sleep 1000; done"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A record, and how it ends: with `reason`, or well."""

    handler: str = "cage"
    bad: dict[str, Any]
    timeout: float = 0.0
    reason: str = ""
    attempt: int = 1


CASES = {
    "segfault": Case(bad={"animal": "segfault"}, reason="WORKER_LOST", attempt=3),
    "tree": Case(bad={"animal": "tree"}),
    "sigterm_ignorer": Case(bad={"animal": "sigterm_ignorer"}),
    "daemon": Case(bad={"animal": "daemon"}),
    "respawner": Case(bad={"animal": "respawner"}),
    "endless_output": Case(bad={"animal": "endless_output"}, timeout=0.9, reason="RECORD_TIMEOUT"),
    "huge_result": Case(bad={"animal": "huge_result"}, reason="OUTPUT_TOO_LARGE"),
    "never_returns": Case(bad={"animal": "never_returns"}, timeout=0.9, reason="RECORD_TIMEOUT"),
    "command_endless_output": Case(handler="shell", bad={"script": "yes"}, reason="OUTPUT_TOO_LARGE"),
    "command_huge_result": Case(handler="shell", bad={"script": HUGE}, reason="OUTPUT_TOO_LARGE"),
    "command_never_returns": Case(
        handler="shell", bad={"script": STUBBORN.format(ready="/dev/null")}, timeout=0.9, reason="RECORD_TIMEOUT"
    ),
    "command_segfault": Case(handler="shell", bad={"script": "kill -SEGV $$"}, reason="NONZERO_EXIT"),
    "command_daemon": Case(handler="shell", bad={"script": "setsid sleep 1000 & setsid -f sleep 1000"}),
}
LINGERING = ("never_returns", "tree", "sigterm_ignorer", "daemon", "respawner", "command")


def check(keeper: Keeper, case: Case) -> None:
    """Run the case to its end."""
    info, records = keeper.finish(keeper.submit(case.handler, case.bad, case.timeout))
    assert info.state == BatchTaskInfo.SUCCEEDED, info
    check_neighbours(records, crashes=case.attempt if case.reason == "WORKER_LOST" else 0)
    bad = records[NEIGHBOURS]
    assert bad.attempt == case.attempt, bad
    if case.reason:
        assert bad.state == RecordInfo.FAILED, bad
        assert error_info(bad).reason == case.reason, bad
    else:
        assert bad.state == RecordInfo.SUCCEEDED, bad
    if case.reason == "WORKER_LOST":
        assert error_info(bad).metadata["exit"] == "signal 11 (SIGSEGV)"
    keeper.check_clean()
    keeper.check_healthy()


def linger(keeper: Keeper, name: str, ready: pathlib.Path) -> Any:
    """Submit a record that never returns, and wait until all it starts is there."""
    ready.unlink(missing_ok=True)
    if name == "command":
        operation = keeper.submit("shell", {"script": STUBBORN.format(ready=ready)})
    else:
        operation = keeper.submit("cage", {"animal": name, "ready": str(ready), "linger": True})
    eventually(ready.exists, what=f"{name} is ready")
    return operation


@pytest.fixture(scope="module", params=LEVELS)
def keeper(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    with keeping(tmp_path_factory.mktemp(request.param), request.param) as keeper:
        yield keeper


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_outcome(keeper: Keeper, name: str) -> None:
    check(keeper, CASES[name])


@pytest.mark.long
@pytest.mark.parametrize("name", LINGERING)
def test_cancel(keeper: Keeper, name: str, tmp_path: pathlib.Path) -> None:
    operation = linger(keeper, name, tmp_path / "ready")
    keeper.cancel(operation)
    keeper.check_clean()
    keeper.check_healthy()


@pytest.mark.long
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("names", [("daemon", "respawner"), ("sigterm_ignorer", "command")], ids="-".join)
def test_kill_of_the_server(level: str, names: tuple[str, str], tmp_path: pathlib.Path) -> None:
    signs = {name: tmp_path / name for name in names}
    with keeping(tmp_path / "server", level) as keeper:
        operations = [linger(keeper, name, sign) for name, sign in signs.items()]
        before = processes.marked(keeper.server_id)
        for sign in signs.values():
            sign.unlink()
        keeper.server.signal(signal.SIGKILL)
        keeper.server.wait()
        eventually(lambda: not processes.marked(keeper.server_id), REAPED_SECONDS, "no process lives")
    with keeping(tmp_path / "server", level) as keeper:
        eventually(lambda: all(sign.exists() for sign in signs.values()), what="both run again")
        assert not {seen.pid for seen in before} & {seen.pid for seen in processes.marked(keeper.server_id)}
        for operation in operations:
            keeper.cancel(operation)
        keeper.check_clean()
        keeper.check_healthy()


@pytest.mark.parametrize("name", ["segfault", "daemon"])
def test_strongest_level(name: str, tmp_path: pathlib.Path) -> None:
    with keeping(tmp_path, "auto") as keeper:
        check(keeper, CASES[name])
