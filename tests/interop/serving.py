"""A server process for programs beside the tests' own process."""

from __future__ import annotations

import contextlib
import pathlib
import re
import select
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICE_CONFIG = ROOT / "proto" / "batchyard_v1_grpc_service_config.json"
_START_SECONDS = 60
_STOP_SECONDS = 60


@contextlib.contextmanager
def serving(folder: pathlib.Path, *arguments: str) -> Iterator[str]:
    """Run `batchyard-server` on a free port of loopback, with its data and its log below `folder`; yield HOST:PORT.

    `arguments` are further ones of its command line.
    """
    log = folder / "server.log"
    argv = [str(pathlib.Path(sys.executable).with_name("batchyard-server")), "serve"]
    argv += ["--data", str(folder / "data"), "--listen", "127.0.0.1:0", *arguments]
    with log.open("wb") as errors, subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors) as process:
        try:
            yield _target(process, log)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _target(process: subprocess.Popen[bytes], log: pathlib.Path) -> str:
    """Address in the one line that the server prints when it serves."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    line = process.stdout.readline().decode() if ready else ""
    found = re.search(r"127\.0\.0\.1:\d+", line)
    assert found, f"the server did not say where it serves, but {line!r}; its log: {log.read_text()[-3000:]}"
    return found[0]
