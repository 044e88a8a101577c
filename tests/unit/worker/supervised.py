"""A program of the zoo under a supervisor, as the server would start it."""

from __future__ import annotations

import json
import os
import pathlib
import select
import socket
import subprocess
import sys
import uuid
from typing import Any

from batchyard_worker import isolation
from tests.support import zoo


class Supervised:
    """One supervisor with its control socket, in a cgroup parent and with a marker of its own.

    Args:
        level: Isolation level.
        argv: The worker's arguments; None: `animal`.
        animal: Name in the zoo, which lingers unless `returns`.
        folder: For the file that says that the animal is ready.
        returns: The animal ends by itself once its processes run.
    """

    def __init__(
        self,
        level: str,
        folder: pathlib.Path,
        *,
        animal: str = "",
        argv: list[str] | None = None,
        returns: bool = False,
        pass_fds: tuple[int, ...] = (),
        reap_seconds: float = 10.0,
    ) -> None:
        self.server_id = uuid.uuid4().hex
        self.ready = folder / f"ready-{self.server_id}"
        self.level = level
        if argv is None:
            argv = [sys.executable, "-I", "-S", zoo.__file__, animal, str(self.ready), *([] if returns else ["linger"])]
        self.control, theirs = socket.socketpair()
        self.control.settimeout(20)
        self.process = subprocess.Popen(
            isolation.command(
                level,
                argv,
                control_fd=theirs.fileno(),
                server_id=self.server_id,
                name="w",
                reap_seconds=reap_seconds,
            ),
            env={"PATH": os.environ["PATH"], isolation.SERVER_MARKER: self.server_id},
            pass_fds=(theirs.fileno(), *pass_fds),
            stdin=subprocess.DEVNULL,
        )
        theirs.close()

    def await_ready(self) -> None:
        """Waits until the animal has all its processes."""
        zoo.until(self.ready.exists)

    def say(self, byte: bytes) -> None:
        """T or K."""
        self.control.send(byte)

    def report(self) -> dict[str, Any]:
        """What the supervisor says at the end; an error if it says nothing or never closes."""
        data = b""
        while chunk := self.control.recv(65536):
            data += chunk
        (line,) = data.splitlines()
        return json.loads(line)

    def says_nothing(self, seconds: float) -> bool:
        """Whether no report comes within this time."""
        return not select.select([self.control], [], [], seconds)[0]

    def supervisor_pid(self) -> int:
        """The supervisor itself, which in a pid namespace has unshare above it."""
        if self.level != "pid_namespace":
            return self.process.pid
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(zoo.until(lambda: children.read_text().split())[0])

    def left(self) -> list[int]:
        """Whatever is still alive of it after a while."""
        return zoo.survivors(isolation.SERVER_MARKER, self.server_id)

    def close(self) -> None:
        """Leaves nothing behind, whatever the test did."""
        self.control.close()
        isolation.sweep(self.server_id)
        self.process.wait(20)
