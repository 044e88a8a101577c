"""Do the rules of who may import whom cover what is there? What import-linter cannot say is said here.

The rules themselves are in pyproject.toml and are run by `make lint`.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

from tests.meta import sources

SERVER = "server/batchyard_server/"
CONTRACTS: list[dict[str, Any]] = tomllib.loads(sources.text("pyproject.toml"))["tool"]["importlinter"]["contracts"]
# What an extra package is for, and the only places that know of it.
DRIVERS = {
    "apsw": ("store/sqlite/",),
    "google_crc32c": ("artifacts/",),
    "uvloop": ("app.py", "cli.py"),
    "zstandard": ("codec/", "store/sqlite/"),
    "grpc_health": ("rpc/",),
    "grpc_reflection": ("rpc/",),
}


def imports(name: str) -> Iterator[str]:
    """Dotted names of the modules that a file imports, at any depth."""
    for node in ast.walk(sources.module(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def loaded(*modules: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after importing these."""
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps(list(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return set(json.loads(output))


def test_every_layer_is_there_and_every_part_is_in_a_layer() -> None:
    layers = {name for row in CONTRACTS[0]["layers"] for name in re.findall(r"[a-z]+", row)}
    files = [name.removeprefix(SERVER) for name in sources.tracked() if name.startswith(SERVER)]
    parts = {name.partition("/")[0].removesuffix(".py") for name in files}
    assert layers <= parts


def test_protobuf_is_kept_out_of_every_part_but_three() -> None:
    [contract] = [contract for contract in CONTRACTS if contract["name"].startswith("protobuf stays in")]
    packages = {name.removeprefix(SERVER).partition("/")[0] for name in sources.tracked() if name.startswith(SERVER)}
    parts = {name.removesuffix(".py") for name in packages} - {"__init__", "__main__"}
    # app puts the parts together, so it may hand on what is made of protobuf.
    wanted = parts - {"rpc", "execution", "codec", "app"}
    assert {name.removeprefix("batchyard_server.") for name in contract["source_modules"]} == wanted


def test_extra_packages_are_known_only_to_their_drivers() -> None:
    wrong = [
        f"{name} imports {module}"
        for name in sources.written(".py", below=SERVER)
        for module in imports(name)
        if (places := DRIVERS.get(module.partition(".")[0])) is not None
        if not name.removeprefix(SERVER).startswith(places)
    ]
    assert wrong == []


def test_the_server_uses_the_stubs_and_never_the_client() -> None:
    wrong = [
        f"{name} imports {module}"
        for name in sources.written(".py", below=SERVER)
        for module in imports(name)
        if module.partition(".")[0] == "batchyard" and not module.startswith("batchyard.v1.")
    ]
    assert wrong == []
    client = {module for module in loaded("batchyard_server.cli", "batchyard_server.app") if "batchyard" in module}
    assert [module for module in client if re.match(r"batchyard\.(?!v1\b)", module)] == []


def test_the_stubs_do_not_load_the_client() -> None:
    assert [module for module in loaded("batchyard.v1.batch_task_service_pb2_grpc") if "batchyard._" in module] == []


def test_a_worker_loads_protobuf_alone() -> None:
    found = loaded("batchyard_worker", "batchyard_worker.main")
    assert {name.partition(".")[0] for name in found} & {
        "grpc",
        "apsw",
        "uvloop",
        "batchyard",
        "batchyard_server",
    } == set()
    assert {name for name in found if re.match(r"google\.(api|rpc|longrunning)\b", name)} == set()
