"""The package as users import it: lazy, complete, with the signatures that were promised, the twin current."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import batchyard
from batchyard import _undefined

CLIENT = Path(batchyard.__file__).parents[1]


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*[name for name in sys.modules if name.startswith('batchyard')])"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_stubs_load_nothing_of_the_client() -> None:
    assert loaded_after("import batchyard.v1.batch_task_service_pb2_grpc") == {
        "batchyard",
        "batchyard.v1",
        *(
            f"batchyard.v1.{name}"
            for name in ("batch_task_pb2", "batch_task_service_pb2", "batch_task_service_pb2_grpc", "handler_pb2")
        ),
        "batchyard.v1.artifact_pb2",
        "batchyard.v1.payload_pb2",
        "batchyard.v1.record_pb2",
        "batchyard.v1.subtask_pb2",
    }


def test_the_synchronous_client_loads_no_asynchronous_one() -> None:
    loaded = loaded_after("from batchyard import Client")
    assert "batchyard._sync.client" in loaded
    assert not [name for name in loaded if "aio" in name or "cli" in name.split(".")[-1:] or "demo" in name]


def test_public_names() -> None:
    assert dir(batchyard) == sorted(batchyard.__all__)
    assert len(set(batchyard.__all__)) == len(batchyard.__all__)
    for name in batchyard.__all__:
        assert getattr(batchyard, name).__name__ == name if name != "UNDEFINED" else True
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        batchyard.nothing  # noqa: B018


def test_every_public_thing_is_documented() -> None:
    for name in batchyard.__all__:
        thing = getattr(batchyard, name)
        assert inspect.getdoc(thing), name
        for attribute, value in vars(thing).items() if inspect.isclass(thing) else ():
            if not attribute.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{attribute}"


def test_the_twin_is_current() -> None:
    command = [sys.executable, str(CLIENT / "unasync.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


U = _undefined.UNDEFINED
# Yandex's SDK: names, order, defaults and kinds of what users call; ours may add keyword-only arguments behind.
PROMISED: dict[str, list[tuple[str, Any]]] = {
    "BatchTaskOperation.wait": [("timeout", 60), ("poll_timeout", None), ("poll_interval", None)],
    "BatchTaskOperation.cancel": [("timeout", 60)],
    "BatchTaskOperation.delete": [("timeout", 60)],
    "BatchTaskOperation.get_status": [("timeout", 60)],
    "BatchTaskOperation.get_result": [("timeout", 60)],
    "BatchTaskOperation.get_task_info": [("timeout", 60)],
    "Operation.wait": [("timeout", 60), ("poll_timeout", None), ("poll_interval", None)],
    "Operation.cancel": [("timeout", 60)],
    "Operation.get_status": [("timeout", 60)],
    "Operation.get_result": [("timeout", 60)],
    "Batch.list_operations": [("page_size", U), ("status", U), ("timeout", 60)],
    "Batch.list_info": [("page_size", U), ("status", U), ("timeout", 60)],
}


@pytest.mark.parametrize("prefix", ["", "Async"])
@pytest.mark.parametrize("name", PROMISED)
def test_promised_signatures(prefix: str, name: str) -> None:
    kind, _, method = name.partition(".")
    parameters = list(inspect.signature(getattr(getattr(batchyard, prefix + kind), method)).parameters.values())[1:]
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters)
    found = [(parameter.name, parameter.default) for parameter in parameters]
    assert found[: len(PROMISED[name])] == PROMISED[name]


@pytest.mark.parametrize("prefix", ["", "Async"])
def test_get_takes_a_task(prefix: str) -> None:
    signature = inspect.signature(getattr(batchyard, prefix + "Batch").get)
    assert list(signature.parameters) == ["self", "task", "timeout"]
    assert signature.parameters["timeout"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", [name for name in batchyard.__all__ if name.startswith("Async")])
def test_the_twins_have_the_same_methods(name: str) -> None:
    ours, twin = getattr(batchyard, name), getattr(batchyard, name.removeprefix("Async"))
    members = [{attribute for attribute in dir(kind) if not attribute.startswith("_")} for kind in (ours, twin)]
    assert members[0] == members[1]
