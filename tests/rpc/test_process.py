"""Does the program itself start, refuse, drain and exit as an operator expects?"""

from __future__ import annotations

import concurrent.futures
import pathlib
import re
import signal
import subprocess
import threading

import grpc
import pytest
from google.longrunning import operations_pb2 as lro
from google.longrunning.operations_pb2_grpc import OperationsStub

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.batch_task_service_pb2_grpc import BatchTaskServiceStub
from batchyard.v1.record_pb2 import RecordInfo
from tests.rpc.world import create, name
from tests.support.server import SECONDS, Process, command, process

NAP = '[handlers.nap]\nkind = "command"\nargv = ["sleep", "{seconds}"]\n'


def run(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a server that must not serve."""
    return subprocess.run(command(folder, *arguments), capture_output=True, text=True, timeout=SECONDS, check=False)


def test_it_says_once_where_it_serves_and_stops_when_told(tmp_path: pathlib.Path) -> None:
    with process(tmp_path) as server:
        line = re.fullmatch(
            r"batchyard-server serving on 127\.0\.0\.1:\d+ data=(\S+) workers=1 isolation=(\S+) handlers=(\S+)\n",
            server.line,
        )
        assert line is not None
        assert line[1] == str(tmp_path / "data")
        assert line[2] in ("cgroup", "pid_namespace", "subreaper")
        assert line[3] == "echo,python_audit,thumbnail"
        with server.channel() as channel:
            BatchTaskServiceStub(channel).CreateBatchTask(create("t"), timeout=SECONDS)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.popen.stdout is not None
        assert server.popen.stdout.read() == ""
        assert "Traceback" not in server.log.read_text()


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: pathlib.Path) -> None:
    with process(tmp_path) as server, server.channel() as channel:
        operation = BatchTaskServiceStub(channel).CreateBatchTask(create("t", records=3), timeout=SECONDS)
    with process(tmp_path) as server, server.channel() as channel:
        done = OperationsStub(channel).WaitOperation(lro.WaitOperationRequest(name=operation.name), timeout=SECONDS)
        assert done.done
        info = BatchTaskServiceStub(channel).GetBatchTask(service.GetBatchTaskRequest(name=name("t")))
        assert (info.state, info.counts.succeeded) == (BatchTaskInfo.SUCCEEDED, 3)


def test_a_second_server_on_the_same_data_is_refused(tmp_path: pathlib.Path) -> None:
    with process(tmp_path) as first:
        second = run(tmp_path)
        assert second.returncode == 1
        assert second.stdout == ""
        assert second.stderr.count("\n") == 1
        assert "another server uses" in second.stderr
        with first.channel() as channel:
            BatchTaskServiceStub(channel).CreateBatchTask(create("t"), timeout=SECONDS)


def test_a_second_server_on_the_same_port_is_refused(tmp_path: pathlib.Path) -> None:
    with process(tmp_path / "first") as first:
        second = run(tmp_path / "second", "--listen", first.target)
        assert second.returncode == 1
        assert f"cannot listen on {first.target}" in second.stderr.splitlines()[-1]
        assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--listen", "0.0.0.0:0"], "refusing to listen on 0.0.0.0:0"),
        (["--handlers", "{folder}/handlers.toml"], "{folder}/handlers.toml:3: handler 'x': weight: unknown key"),
        (["--handlers", "{folder}/nothing.toml"], "{folder}/nothing.toml: No such file"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_a_mistake_stops_the_start(tmp_path: pathlib.Path, arguments: list[str], text: str) -> None:
    (tmp_path / "handlers.toml").write_text('[handlers.x]\nkind = "command"\nweight = "1/s"\nargv = ["true"]\n')
    failed = run(tmp_path, *(each.format(folder=tmp_path) for each in arguments))
    assert failed.returncode == 2
    assert failed.stdout == ""
    assert failed.stderr.startswith(f"batchyard-server: {text.format(folder=tmp_path)}")
    assert failed.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_a_damaged_store_is_refused_and_left_alone(tmp_path: pathlib.Path) -> None:
    with process(tmp_path):
        pass
    (store,) = (tmp_path / "data").glob("*.sqlite3")
    damaged = b"no database" + store.read_bytes()[11:]
    store.write_bytes(damaged)
    failed = run(tmp_path)
    assert failed.returncode == 1
    assert str(store) in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr
    assert store.read_bytes() == damaged


def test_pythonpath_reaches_the_workers_only(tmp_path: pathlib.Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "grpc.py").write_text("raise SystemExit('the server imported what is meant for workers')\n")
    (code / "mine.py").write_text("def double(record, context):\n    return record * 2\n")
    handlers = tmp_path / "handlers.toml"
    handlers.write_text('[handlers.double]\nkind = "python"\ncallable = "mine:double"\n')
    with (
        process(tmp_path, "--handlers", str(handlers), environment={"PYTHONPATH": str(code)}) as server,
        server.channel() as channel,
    ):
        tasks = BatchTaskServiceStub(channel)
        request = create("t", records=2)
        request.batch_task.handler = "double"
        operation = tasks.CreateBatchTask(request, timeout=SECONDS)
        OperationsStub(channel).WaitOperation(lro.WaitOperationRequest(name=operation.name), timeout=SECONDS)
        page = tasks.ListRecords(service.ListRecordsRequest(parent=name("t")))
        assert [each.output.text for each in page.records] == ["0", "2"]


def _nap(server: Process, channel: grpc.Channel, seconds: str) -> str:
    """Start a nap and return its operation once it runs."""
    tasks = BatchTaskServiceStub(channel)
    request = create("nap")
    request.batch_task.handler = "nap"
    request.records[0].payload.text = f'{{"seconds": "{seconds}"}}'
    operation = tasks.CreateBatchTask(request, timeout=SECONDS)
    get = service.GetBatchTaskRequest(name=name("nap"))
    pause = threading.Event()
    while not tasks.GetBatchTask(get, timeout=SECONDS).counts.running:
        assert server.popen.poll() is None
        pause.wait(0.01)
    return operation.name


@pytest.fixture
def naps(tmp_path: pathlib.Path) -> str:
    """A handlers file with a handler that sleeps."""
    (tmp_path / "handlers.toml").write_text(NAP)
    return str(tmp_path / "handlers.toml")


def test_sigterm_answers_waits_and_lets_records_finish(tmp_path: pathlib.Path, naps: str) -> None:
    with (
        process(tmp_path, "--handlers", naps) as server,
        server.channel() as channel,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        operation = _nap(server, channel, "1")
        waiting = pool.submit(
            OperationsStub(channel).WaitOperation, lro.WaitOperationRequest(name=operation), timeout=SECONDS
        )
        server.signal(signal.SIGTERM)
        assert waiting.result().name == operation
        assert server.wait() == 0
    with process(tmp_path, "--handlers", naps) as server, server.channel() as channel:
        record = BatchTaskServiceStub(channel).GetRecord(
            service.GetRecordRequest(name=f"{name('nap')}/records/0"), timeout=SECONDS
        )
        assert (record.state, record.attempt) == (RecordInfo.SUCCEEDED, 1)


def test_a_record_that_outlasts_the_drain_is_run_again(tmp_path: pathlib.Path, naps: str) -> None:
    with process(tmp_path, "--handlers", naps, "--drain-timeout", "100ms") as server, server.channel() as channel:
        _nap(server, channel, "60")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    with process(tmp_path, "--handlers", naps, "--drain-timeout", "0s") as server, server.channel() as channel:
        tasks = BatchTaskServiceStub(channel)
        info = tasks.GetBatchTask(service.GetBatchTaskRequest(name=name("nap")), timeout=SECONDS)
        assert (info.state, info.counts.failed) == (BatchTaskInfo.RUNNING, 0)
        tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=name("nap")), timeout=SECONDS)


def test_a_second_interrupt_does_not_wait(tmp_path: pathlib.Path, naps: str) -> None:
    with process(tmp_path, "--handlers", naps) as server, server.channel() as channel:
        _nap(server, channel, "60")
        server.signal(signal.SIGINT)
        # The first was heard when what changes is refused.
        pause = threading.Event()
        while True:
            try:
                BatchTaskServiceStub(channel).CreateBatchTask(create(), timeout=SECONDS)
            except grpc.RpcError:
                break
            pause.wait(0.01)
        server.signal(signal.SIGINT)
        assert server.wait() == 130
