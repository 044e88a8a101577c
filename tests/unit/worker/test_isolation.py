"""Does the server learn what works here, and find what an earlier server left?"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from batchyard_worker import isolation
from tests.support import zoo


@pytest.fixture
def server_id() -> Iterator[str]:
    value = uuid.uuid4().hex
    yield value
    isolation.sweep(value)


def test_all_levels_work_on_this_machine(server_id: str) -> None:
    assert isolation.probe(server_id) == ["cgroup", "pid_namespace", "subreaper"]


def test_probing_leaves_no_cgroup(server_id: str) -> None:
    isolation.probe(server_id)
    parent = isolation.cgroup_parent(server_id)
    assert parent is not None
    assert not pathlib.Path(parent).exists()


def test_a_level_that_does_not_work_is_left_out(monkeypatch: pytest.MonkeyPatch, server_id: str) -> None:
    monkeypatch.setattr(isolation, "cgroup_parent", lambda server_id: "/proc/no-cgroup")
    monkeypatch.setattr(isolation, "_unshare", lambda: ())
    assert isolation.probe(server_id) == ["subreaper"]


def test_without_cgroup_v2(monkeypatch: pytest.MonkeyPatch, server_id: str) -> None:
    monkeypatch.setattr(isolation, "cgroup_mount", lambda: None)
    assert isolation.cgroup_parent(server_id) is None
    assert "cgroup" not in isolation.probe(server_id)
    assert isolation.sweep(server_id) == 0
    with pytest.raises(OSError, match="not mounted"):
        isolation.cgroup_of(server_id, "w")


def test_a_sweep_of_nothing(server_id: str) -> None:
    assert isolation.sweep(server_id) == 0


def test_a_sweep_finds_the_marked_and_what_they_started(server_id: str, tmp_path: pathlib.Path) -> None:
    ready = tmp_path / "ready"
    child = f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {_WAITER!r}], env={{}}).wait()"
    process = subprocess.Popen(
        [sys.executable, "-c", child, str(ready)], env={isolation.SERVER_MARKER: server_id, "READY": str(ready)}
    )
    grandchild = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    (pid,) = zoo.until(lambda: grandchild.read_text().split())
    assert isolation.sweep(server_id) == 2
    assert process.wait(20) == -9
    zoo.until(lambda: not pathlib.Path("/proc", pid).exists())


_WAITER = "import signal; signal.pause()"


def test_a_sweep_spares_other_servers_and_itself(server_id: str) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", _WAITER], env={isolation.SERVER_MARKER: server_id + "0"})
    code = f"from batchyard_worker import isolation; print(isolation.sweep({server_id!r}))"
    environment = {isolation.SERVER_MARKER: server_id, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_sweep_finds_cgroups_below_another_session(server_id: str) -> None:
    mount = isolation.cgroup_mount()
    assert mount is not None
    elsewhere = pathlib.Path(mount, f"session-{server_id}")
    folder = elsewhere / f"batchyard-{server_id}" / "w" / "own"
    folder.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-c", _WAITER])
    (folder / "cgroup.procs").write_text(str(process.pid))
    assert isolation.sweep(server_id) == 1
    assert process.wait(20) == -9
    assert not (elsewhere / f"batchyard-{server_id}").exists()
    elsewhere.rmdir()


def test_pid_namespaces_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        tried.append(command)
        return subprocess.CompletedProcess(command, 0 if "--user" in command else 1)

    monkeypatch.setattr(isolation.subprocess, "run", run)
    isolation._unshare.cache_clear()
    assert isolation._unshare()[:3] == ("unshare", "--user", "--map-root-user")
    isolation._unshare.cache_clear()
    assert len(tried) == 2


def test_the_worker_is_found_by_its_place() -> None:
    argv = isolation.worker_argv("/some/python", 5, 6, 7)
    assert argv[0] == "/some/python"
    assert pathlib.Path(argv[1]).name == "__main__.py"
    assert argv[2:] == ["--socket-fd", "5", "--cell-fd", "6", "--log-fd", "7"]
