"""Does Google's generator make a client of our protos that passes its own tests and works against the server?

The client cannot live in a process that has `batchyard.v1`, so what calls it, client/gapic/interop.py, is run by the
interpreter of an environment of its own. `client/gapic/generate.sh` makes both; this needs what that left behind.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import re
import subprocess
from typing import Any

import pytest

from batchyard.v1 import batch_task_service_pb2
from tests.interop.serving import ROOT, serving

pytestmark = [pytest.mark.long, pytest.mark.timeout(200)]

GENERATED = ROOT / "build" / "gapic"
CLIENT = GENERATED / "client"
PACKAGE = CLIENT / "batchyard_gapic" / "batchyard_v1"
SERVICE = batch_task_service_pb2.DESCRIPTOR.services_by_name["BatchTaskService"]
METHODS = {method.name: method for method in SERVICE.methods}
HANDLERS = """
[handlers.sleep]
kind = "command"
argv = ["sleep", "600"]
[handlers.fail]
kind = "command"
argv = ["false"]
"""


@functools.cache
def generated(name: str) -> str:
    """A file of the generated package."""
    path = PACKAGE / name
    assert path.exists(), f"{path} is missing; run: make long-gapic"
    return path.read_text()


def run(*arguments: str | pathlib.Path, **variables: str) -> int:
    """Run tests in the other environment; return how many there were. All must pass, and none may be left out."""
    python = GENERATED / "venv" / "bin" / "python"
    assert python.exists(), f"{python} is missing; run: make long-gapic"
    # Neither our configuration nor our folders on its path.
    isolated = ("-P", "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", "--import-mode=importlib")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))}
    done = subprocess.run(
        [python, *isolated, *arguments],
        cwd=GENERATED,
        env=inherited | variables,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    summary = done.stdout.rstrip().rpartition("\n")[2]
    passed = re.fullmatch(r"(\d+) passed(?:, \d+ warnings?)? in .*", summary)
    assert passed, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    assert done.returncode == 0
    return int(passed[1])


def test_every_method_is_there() -> None:
    services: dict[str, Any] = json.loads(generated("gapic_metadata.json"))["services"]
    transports = services["BatchTaskService"]["clients"]
    assert set(transports) == {"grpc", "grpc-async", "rest"}
    assert [name for name, transport in transports.items() if set(transport["rpcs"]) != set(METHODS)] == []


def test_what_lists_is_paged_and_nothing_else() -> None:
    """A pager around a stream would not work; the generator makes one of any method whose messages look like pages."""
    pagers = set(re.findall(r"^class (\w+):", generated("services/batch_task_service/pagers.py"), re.MULTILINE))
    lists = [name for name in METHODS if name.startswith("List")]
    assert len(lists) >= 3
    assert pagers == {f"{name}{kind}Pager" for name in lists for kind in ("", "Async")}


def test_the_client_works_against_the_server(tmp_path: pathlib.Path) -> None:
    handlers = tmp_path / "handlers.toml"
    handlers.write_text(HANDLERS)
    with serving(tmp_path, "--handlers", str(handlers)) as target:
        options = ("-W", "error", "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
        assert run(*options, ROOT / "client" / "gapic" / "interop.py", INTEROP_TARGET=target) > 15


def test_its_own_tests_pass() -> None:
    assert run("--rootdir", CLIENT, CLIENT / "tests") > 20 * len(METHODS)
