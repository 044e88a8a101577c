"""Does the one wheel hold what users of each part need, and is every dependency accounted for?"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

from tests.meta import sources

PYPROJECT = sources.text("pyproject.toml")
PROJECT = tomllib.loads(PYPROJECT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in a freshly built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=sources.ROOT, check=True, capture_output=True)
    [path] = pathlib.Path(out).glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_wheel_has_the_three_packages_and_nothing_else(wheel: list[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel}
    assert tops == {"batchyard", "batchyard_server", "batchyard_worker", "batchyard-0.1.0.dist-info"}


def test_the_wheel_has_the_contract_beside_the_stubs(wheel: list[str]) -> None:
    protos = {f"batchyard/v1/{path.name}" for path in (sources.ROOT / "proto/batchyard/v1").glob("*.proto")}
    stubs = {"batchyard/v1/batch_task_service_pb2.py", "batchyard/v1/batch_task_service_pb2_grpc.py"}
    assert protos | stubs | {"batchyard/v1/batchyard_v1_grpc_service_config.json"} <= set(wheel)


def test_the_wheel_is_typed(wheel: list[str]) -> None:
    assert {"batchyard/py.typed", "batchyard_worker/py.typed"} <= set(wheel)


def test_every_file_of_the_packages_is_in_the_wheel(wheel: list[str]) -> None:
    for folder in ("client/python/", "server/"):
        for package in ("batchyard/", "batchyard_server/", "batchyard_worker/"):
            files = [name for name in sources.tracked() if name.startswith(folder + package)]
            assert {name.removeprefix(folder) for name in files} - set(wheel) == set()


def test_every_dependency_says_why_it_is_there() -> None:
    project = PROJECT["project"]
    groups = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    silent = [
        requirement
        for group in groups
        for requirement in group
        if not re.search(rf'^\s*"{re.escape(requirement)}",\s+# \S.{{8,}}$', PYPROJECT, re.MULTILINE)
    ]
    assert silent == []


def test_a_plain_install_brings_the_client_and_no_server() -> None:
    heavy = {"apsw", "uvloop", "zstandard", "grpcio-tools", "rich"}
    names = {re.split(r"[<>=\[]", requirement)[0] for requirement in PROJECT["project"]["dependencies"]}
    assert names & heavy == set()
    assert set(PROJECT["project"]["optional-dependencies"]) == {"server", "cli"}
