"""Does the supervisor leave nothing alive, at each level, whatever ends the worker and whatever the worker started?"""

from __future__ import annotations

import os
import pathlib
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from batchyard_worker import isolation, supervisor
from tests.support import zoo
from tests.unit.worker.supervised import Supervised

Start = Callable[..., Supervised]


@pytest.fixture(params=isolation.LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def start(level: str, tmp_path: pathlib.Path) -> Iterator[Start]:
    started: list[Supervised] = []

    def make(animal: str = "", **options: object) -> Supervised:
        started.append(Supervised(level, tmp_path, animal=animal, **options))  # type: ignore[arg-type]
        return started[-1]

    yield make
    for each in started:
        each.close()


@pytest.mark.parametrize("animal", [*zoo.ANIMALS, "endless_output", "never_returns"])
def test_kill_leaves_nothing(start: Start, animal: str) -> None:
    worker = start(animal)
    worker.await_ready()
    worker.say(b"K")
    assert worker.report() == {"exit": None, "signal": signal.SIGKILL, "survivors": [], "error": None}
    assert worker.left() == []
    assert worker.process.wait(20) == 0


@pytest.mark.parametrize("animal", zoo.ANIMALS)
def test_the_servers_end_leaves_nothing(start: Start, animal: str) -> None:
    worker = start(animal)
    worker.await_ready()
    worker.control.close()
    assert worker.process.wait(20) == 0
    assert worker.left() == []


@pytest.mark.parametrize("animal", zoo.ANIMALS)
def test_a_worker_that_exits_takes_the_rest_with_it(start: Start, animal: str) -> None:
    worker = start(animal, returns=True)
    assert worker.report() == {"exit": 0, "signal": None, "survivors": [], "error": None}
    assert worker.left() == []


def test_a_crash_is_reported_with_its_signal(start: Start) -> None:
    assert start("segfault").report()["signal"] == signal.SIGSEGV


def test_an_exit_code_is_reported(start: Start) -> None:
    assert start(argv=["sh", "-c", "exit 7"]).report()["exit"] == 7


def test_sigterm_first(start: Start) -> None:
    worker = start("tree")
    worker.await_ready()
    worker.say(b"T")
    assert worker.report()["signal"] == signal.SIGTERM
    assert worker.left() == []


def test_who_ignores_sigterm_has_until_the_kill(start: Start) -> None:
    worker = start("sigterm_ignorer")
    worker.await_ready()
    worker.say(b"T")
    assert worker.says_nothing(0.3)
    worker.say(b"K")
    assert worker.report()["signal"] == signal.SIGKILL
    assert worker.left() == []


def test_after_sigterm_the_workers_children_have_their_grace(start: Start) -> None:
    worker = start("daemon")  # the worker itself dies at once, its daemon ignores SIGTERM
    worker.await_ready()
    worker.say(b"T")
    assert worker.says_nothing(0.3)
    assert zoo.marked(isolation.SERVER_MARKER, worker.server_id)
    worker.say(b"K")
    assert worker.report()["signal"] == signal.SIGTERM
    assert worker.left() == []


@pytest.mark.parametrize("animal", zoo.ANIMALS)
def test_a_killed_supervisor_leaves_nothing_after_a_sweep(start: Start, level: str, animal: str) -> None:
    worker = start(animal)
    worker.await_ready()
    os.kill(worker.supervisor_pid(), signal.SIGKILL)
    worker.process.wait(20)
    if level == "pid_namespace":
        assert worker.left() == []  # the kernel did it
    isolation.sweep(worker.server_id)
    assert worker.left() == []
    assert isolation.sweep(worker.server_id) == 0


def test_a_killed_unshare_takes_the_namespace_with_it(start: Start, level: str) -> None:
    worker = start("respawner")
    worker.await_ready()
    worker.process.kill()
    worker.process.wait(20)
    if level != "pid_namespace":
        isolation.sweep(worker.server_id)
    assert worker.left() == []


def test_the_cgroup_is_gone_afterwards(start: Start, level: str) -> None:
    worker = start("daemon")
    worker.await_ready()
    folder = pathlib.Path(isolation.cgroup_of(worker.server_id, "w"))
    assert folder.exists() == (level == "cgroup")
    worker.say(b"K")
    worker.report()
    worker.process.wait(20)
    assert not folder.exists()
    assert not folder.parent.exists()


def test_a_program_that_is_not_there(start: Start) -> None:
    report = start(argv=['/no/such "program"']).report()
    assert (report["exit"], report["signal"], report["survivors"]) == (None, None, [])
    assert '/no/such "program"' in report["error"]


def test_signals_to_the_servers_group_do_not_reach_it(start: Start) -> None:
    worker = start("never_returns")
    worker.await_ready()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(worker.supervisor_pid(), number)
    assert worker.says_nothing(0.2)
    assert os.getsid(worker.supervisor_pid()) != os.getsid(0)
    worker.say(b"K")
    assert worker.report()["signal"] == signal.SIGKILL


def test_the_worker_gets_default_signals_and_its_descriptors_alone(start: Start, tmp_path: pathlib.Path) -> None:
    read, write = os.pipe()
    code = (
        "import os, signal, sys\n"
        "ignored = [n for n in range(1, 32) if signal.getsignal(n) == signal.SIG_IGN and n not in (13, 25)]\n"
        "fds = sorted(int(n) for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n))\n"
        "os.write(int(sys.argv[1]), repr((ignored, fds)).encode())\n"
        "signal.pause()\n"
    )
    worker = start(argv=[sys.executable, "-I", "-S", "-c", code, str(write)], pass_fds=(write,))
    os.close(write)
    assert os.read(read, 4096).decode() == repr(([], [0, 1, 2, write]))
    # The supervisor has none of it: when the worker ends, the server sees it.
    assert not pathlib.Path(f"/proc/{worker.supervisor_pid()}/fd/{write}").is_symlink()
    os.close(read)


def test_who_cannot_be_killed_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    unkillable = supervisor.Supervisor("subreaper", read, write, None, 0.05)
    monkeypatch.setattr(supervisor, "signal_quietly", lambda pid, number: None)
    monkeypatch.setattr(unkillable, "_wake_fd", read)
    monkeypatch.setattr(unkillable, "_reap", lambda: False)
    monkeypatch.setattr(unkillable, "_members", lambda: [4711])
    survivors = unkillable._kill_all()
    unkillable._report(survivors, None)
    assert b'"survivors": [4711]' in os.read(read, 4096)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--level", "subreaper", "--", "true"], ["--level", "chroot", "--control-fd", "3", "--", "true"],
     ["--level", "cgroup", "--control-fd", "3", "--", "true"],
     ["--level", "subreaper", "--cgroup", "/x", "--control-fd", "3", "--", "true"]],
)  # fmt: skip
def test_arguments_that_make_no_sense(arguments: list[str]) -> None:
    assert supervisor.main(arguments) == 2
