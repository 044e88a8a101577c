"""kill -9 while a server finds out how processes can be killed here."""

from __future__ import annotations

import subprocess
import sys
import uuid

from batchyard_worker import isolation
from batchyard_worker.supervisor import Cgroup
from tests.support.eventually import eventually

KILLED_PROBE = """
import os, signal
from batchyard_worker import isolation, supervisor
supervisor.Cgroup.kill = lambda self: os.kill(os.getpid(), signal.SIGKILL)
isolation.probe("{id}")
"""


def test_a_probe_that_was_killed_leaves_nothing() -> None:
    server_id = uuid.uuid4().hex
    group = Cgroup(isolation.cgroup_of(server_id, "."))
    try:
        # The end of its output shows that nobody holds it any more.
        done = subprocess.run(
            [sys.executable, "-c", KILLED_PROBE.format(id=server_id)], capture_output=True, timeout=20
        )
        assert done.returncode == -9, done.stderr
        eventually(lambda: not group.populated(), 5)
    finally:
        isolation.sweep(server_id)
