"""Where do handlers run? Their interpreter, modules and environment, and what they may do there."""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Iterator

import google.protobuf
import pytest

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, RecordCounts
from batchyard.v1.batch_task_service_pb2 import GetHandlerRequest
from batchyard.v1.handler_pb2 import Handler
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from tests.rpc.runs import ACT, HANDLERS, Server, running
from tests.rpc.test_outcomes_payloads import CASES, OUTPUTS, tell
from tests.rpc.world import PROJECT
from tests.support.eventually import eventually

pytestmark = pytest.mark.xdist_group("outcomes-handlers")
ALWAYS_THERE = {"BATCHYARD_SERVER_ID", "BATCHYARD_WORKER_ID"}
PASSED_ON = {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}
TOML = f"""\
{ACT}
[handlers.surroundings]
kind = "python"
callable = "looking:surroundings"
path = ["{HANDLERS}"]

[handlers.with_canary]
kind = "python"
callable = "looking:surroundings"
path = ["{HANDLERS}"]
env = ["CANARY", "NOT_SET_AT_ALL"]

[handlers.own_surroundings]
kind = "python"
callable = "looking:surroundings"
python = "own/bin/python"
path = ["{HANDLERS}"]

[handlers.own_look]
kind = "python"
callable = "looking:look"
python = "own/bin/python"
path = ["{HANDLERS}"]

[handlers.own_act]
kind = "python"
callable = "acting:act"
python = "own/bin/python"
path = ["{HANDLERS}"]

[handlers.env]
kind = "command"
argv = ["env", "-0"]

[handlers.env_with_canary]
kind = "command"
argv = ["env", "-0"]
env = ["CANARY"]

[handlers.no_module]
kind = "python"
callable = "comes_later:run"
path = ["later"]

[handlers.no_program]
kind = "command"
argv = ["FOLDER/later/program"]
"""
CALLABLES = """
[handlers.{name}]
kind = "python"
callable = "{callable}"
path = [{path}]
"""
WHICH = {
    "first": ("which:here", '"first"'),
    "second": ("which:here", '"second"'),
    "both": ("which:here", '"second", "first"'),
    "python_path": ("which:here", ""),
    "counter": ("looking:Counter", f'"{HANDLERS}"'),
    "plain": ("looking:Counter.plain", f'"{HANDLERS}"'),
    "inner": ("looking:Counter.Inner", f'"{HANDLERS}"'),
    "instance": ("looking:counting", f'"{HANDLERS}"'),
    "bound": ("looking:bound", f'"{HANDLERS}"'),
}


def make_venv(folder: pathlib.Path) -> None:
    """An environment of its own with nothing in it but protobuf."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    google_folder = folder / "only" / "google"
    google_folder.mkdir(parents=True)
    installed = pathlib.Path(google.protobuf.__file__).parent
    for name in (installed.name, "_upb"):
        if (installed.parent / name).is_dir():
            (google_folder / name).symlink_to(installed.parent / name)
    (packages / "protobuf.pth").write_text(f"{google_folder.parent}\n")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("handlers")
    make_venv(folder / "own")
    for name in ("first", "second", "third", "later"):
        (folder / name).mkdir()
        (folder / name / "which.py").write_text(f"def here(record, context):\n    return {name!r}\n")
    toml = TOML.replace("FOLDER", str(folder))
    toml += "".join(CALLABLES.format(name=name, callable=call, path=path) for name, (call, path) in WHICH.items())
    environment = {"PYTHONPATH": str(folder / "third"), "CANARY": "sings", "SECRET": "hidden"}
    with running(folder, toml, workers=1, environment=environment) as server:
        yield server


# -- modules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "wanted"), [("first", "first"), ("second", "second"), ("both", "second"), ("python_path", "third")]
)
def test_a_module_is_found_on_the_handlers_own_path_first(server: Server, handler: str, wanted: str) -> None:
    assert server.run(handler, 1).only.output.text == wanted


@pytest.mark.parametrize(("handler", "wanted"), [("plain", "plain 1"), ("inner", "inner 1"), ("bound", "plain 1")])
def test_a_callable_may_be_an_attribute_of_another(server: Server, handler: str, wanted: str) -> None:
    assert server.run(handler, 1).only.output.text == wanted


@pytest.mark.parametrize("handler", ["counter", "instance"])
def test_a_class_is_built_once_for_a_worker(server: Server, handler: str) -> None:
    told = [each for _ in range(3) for each in server.run(handler, *range(20)).outputs]
    assert len({token for token, _, _ in told}) == 1
    built = 2 if handler == "counter" else 1  # looking itself has made one
    assert [(made, count) for _, made, count in told] == [(built, count) for count in range(1, 61)]


# -- environment ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", ["surroundings", "with_canary", "own_surroundings"])
def test_the_environment_of_a_python_handler_is_scrubbed(server: Server, handler: str) -> None:
    (told,) = server.run(handler, 1).outputs
    check_environment(told["environ"], handler)
    assert told["stdin"] == ""
    path = told["path"]
    assert path[:2] == [str(HANDLERS), str(server.folder / "third")]
    assert "" not in path
    assert str(pathlib.Path.cwd()) not in path


@pytest.mark.parametrize("handler", ["env", "env_with_canary"])
def test_the_environment_of_a_command_is_scrubbed(server: Server, handler: str) -> None:
    text = server.run(handler, 1).only.output.text
    environ = dict(line.split("=", 1) for line in text.split("\0") if line)
    assert environ.pop("BATCHYARD_ARTIFACTS_DIR").startswith(str(server.folder))
    check_environment(environ, handler)


def check_environment(environ: dict[str, str], handler: str) -> None:
    """Of the server's own only what programs cannot do without, and what the handlers file names."""
    named = {"CANARY"} if "canary" in handler else set()
    assert ALWAYS_THERE | named <= environ.keys() <= ALWAYS_THERE | named | PASSED_ON
    assert environ.get("CANARY", "sings") == "sings"
    assert environ["PATH"]


# -- an interpreter of its own ----------------------------------------------------------------------------------------


def test_a_handler_in_an_environment_with_protobuf_alone(server: Server) -> None:
    (told,) = server.run("own_surroundings", 1).outputs
    own = server.folder / "own"
    assert (told["executable"], told["prefix"]) == (str(own / "bin" / "python"), str(own))
    packages = pathlib.Path(google.protobuf.__file__).parents[2]
    assert str(packages) not in told["path"]
    unwanted = {"orjson", "grpc", "batchyard", "batchyard_server"}
    assert unwanted.isdisjoint(each.partition(".")[0] for each in told["modules"])


def test_payloads_are_the_same_in_it(server: Server) -> None:
    run = server.run("own_look", *(payload for payload, _ in CASES), parameters={"n": 10**30})
    for said, (payload, wanted) in zip(run.outputs, CASES, strict=True):
        assert said["record"] == wanted, payload
        assert said["parameters"] == tell({"n": 10**30})
    run = server.run("own_act", *({"do": "give", "what": what} for what in OUTPUTS))
    for (what, wanted), record in zip(OUTPUTS.items(), run.records, strict=True):
        assert record.state == RecordInfo.SUCCEEDED, record
        assert (record.output if record.HasField("output") else None) == wanted, what


def test_its_failures_are_the_same(server: Server) -> None:
    records = [{"do": "fail"}, {"do": "refuse"}, {"do": "give", "what": "nan"}, 5]
    own, ours = (server.run(handler, *records).records for handler in ("own_act", "act"))
    assert [each.error for each in own] == [each.error for each in ours]


# -- what a handler may do --------------------------------------------------------------------------------------------


def test_a_handler_may_write_where_it_likes(server: Server) -> None:
    well = {"do": "echo", "value": 1}
    run = server.run("act", well, {"do": "shout", "size": 300_000}, well, {"do": "close_streams"}, *[well] * 3)
    assert run.info.state == BatchTaskInfo.SUCCEEDED
    assert [each.output.text for each in run.records] == ["1", "", "1", "closed", "1", "1", "1"]
    assert [each.attempt for each in run.records] == [1] * 7
    assert "may shout" not in server.process.log.read_text()


def test_what_a_worker_lost_is_told_to_the_handler(server: Server) -> None:
    sign = server.folder / "dies"
    sign.touch()
    record = RecordInput(record_id="it")
    record.payload.text = f'{{"do": "die", "before": "{sign}"}}'
    run = server.run("act", record)
    assert run.only.output.text == "alive at attempt 2"
    assert (run.only.attempt, run.only.record_id) == (2, "it")


# -- a handler that cannot be loaded ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "name", "text"),
    [
        ("no_module", "comes_later.py", "def run(record, context):\n    return 'at last'\n"),
        ("no_program", "program", "#!/bin/sh\nprintf 'at last'\n"),
    ],
    ids=["python", "command"],
)
def test_a_handler_that_cannot_be_loaded_waits_until_it_can(server: Server, handler: str, name: str, text: str) -> None:
    task = server.submit(handler, 1, 2)
    request = GetHandlerRequest(name=f"{PROJECT}/handlers/{handler}")
    eventually(lambda: not server.tasks.GetHandler(request).available)
    eventually(lambda: server.info(task).waiting_reason == BatchTaskInfo.HANDLER_UNAVAILABLE)
    assert server.info(task).counts == RecordCounts(total=2, pending=2)
    assert server.run("act", {"do": "echo", "value": 1}).outputs == [1], "others do not wait for it"
    made = server.folder / "later" / name
    made.write_text(text)
    made.chmod(0o755)
    run = server.finish(task)
    assert [(each.output.text, each.attempt) for each in run.records] == [("at last", 1)] * 2
    found = server.tasks.GetHandler(request)
    assert found.available
    assert found.kind == (Handler.PYTHON if handler == "no_module" else Handler.COMMAND)
