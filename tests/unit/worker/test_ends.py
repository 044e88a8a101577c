"""Does a worker say what it runs, keep its handler away from the protocol, and end when it should?"""

from __future__ import annotations

import ast
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

import batchyard_worker
from batchyard_worker import outbox
from batchyard_worker.v1 import worker_pb2
from tests.support import zoo
from tests.unit.worker.fake_server import TASK, Cell, FakeServer

Start = Callable[..., FakeServer]


def test_the_cell_tells_what_runs(start: Start, tmp_path: pathlib.Path) -> None:
    server, gate = start("wait_for"), tmp_path / "gate"
    assert server.cell() == Cell(0, -1, 0, 0)
    server.run(5, ["", str(gate), ""], first=70)
    zoo.until(lambda: server.cell().index == 71)
    cell = server.cell()
    assert (cell.lease, cell.finished) == (5, 1)
    gate.touch()
    server.outcomes(5)
    zoo.until(lambda: server.cell().lease == 0)
    assert server.cell()[1::2] == (-1, 3)


def test_a_crash_leaves_the_cell_telling_the_running_record(start: Start) -> None:
    server = start("crash_at")
    server.run(3, ["a", "b", "crash", "c"], first=50)
    assert server.process.wait(20) == -signal.SIGSEGV
    cell = server.cell()
    assert (cell.lease, cell.index, cell.finished) == (3, 52, 2)


def test_idle_workers_exit_when_the_server_is_gone(start: Start) -> None:
    server = start()
    server.hang_up()
    assert server.process.wait(20) == 0


def test_busy_workers_exit_when_the_server_is_gone(start: Start) -> None:
    server = start("tests.support.zoo:never_returns", path=[str(pathlib.Path.cwd())])
    server.run(1, [{}])
    zoo.until(lambda: server.cell().index == 0)
    server.hang_up()
    assert server.process.wait(20) == 0


def test_workers_that_wait_for_an_acknowledgement_exit_when_the_server_is_gone(start: Start) -> None:
    server = start("sleep_millis")
    server.run(1, [60, 1])
    server.receive("outcomes")
    server.hang_up()
    assert server.process.wait(20) == 0


def test_a_handler_that_writes_without_end_does_not_reach_the_protocol(start: Start) -> None:
    server = start("tests.support.zoo:endless_output", path=[str(pathlib.Path.cwd())])
    server.run(1, [{}])
    zoo.until(lambda: server.cell().index == 0)
    assert server.says_nothing(0.1)


def test_standard_streams_are_empty_and_silent(start: Start) -> None:
    assert json.loads(start("noisy").one(None).output.text) == ["", ""]


def test_a_child_that_returns_from_the_handler_says_nothing(start: Start) -> None:
    server = start("fork_and_both_return")
    server.run(1, [0] * 5)
    assert [record.index for record in server.outcomes(1)] == list(range(5))
    server.run(2, [0], first=9)
    assert [record.index for record in server.outcomes(2)] == [9]


def test_signals(start: Start) -> None:
    server = start()
    os.kill(server.process.pid, signal.SIGINT)
    assert server.one(1).state == 3
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(20) == -signal.SIGTERM


def test_a_subtask_that_makes_no_sense_ends_the_worker_with_a_word() -> None:
    server = FakeServer()
    server.run(1, [1, 2], ranges=[0, 3])
    assert server.process.wait(20) == 70
    assert "lease 1: 2 records do not fit its ranges" in server.close()


def test_frames_that_are_no_messages_end_the_worker_with_a_word() -> None:
    server = FakeServer()
    server._sock.sendall(b"\x00\x00\x00\x02\xff\xff")
    assert server.process.wait(20) == 70
    assert "DecodeError" in server.close()


def test_a_frame_that_comes_in_pieces(start: Start) -> None:
    server = start()
    data = worker_pb2.ToWorker(
        run=worker_pb2.Run(
            lease=1,
            batch_task=TASK,
            generation=1,
            ranges=[0, 1],
            inputs=worker_pb2.InputPage(records=[worker_pb2.RecordInput()]).SerializeToString(),
        )
    ).SerializeToString()
    for byte in len(data).to_bytes(4, "big") + data:
        server._sock.sendall(bytes([byte]))
    assert len(server.outcomes(1)) == 1


@pytest.mark.parametrize("flat", [[1], [2, 1], [1, 1], [0, 2, 1, 3], [-1, 1]])
def test_ranges_that_make_no_sense(flat: list[int]) -> None:
    assert outbox.pairs(flat) is None


def test_no_error_output_of_a_whole_worker_under_strict_warnings() -> None:
    server = FakeServer(python=("env", "PYTHONWARNINGS=error", "PYTHONDEVMODE=1", sys.executable))
    assert server.loaded == ""
    server.run(1, list(range(100)))
    assert len(server.outcomes(1)) == 100
    server.hang_up()
    assert server.process.wait(20) == 0
    assert server.process.communicate()[1] == b""


def test_a_worker_needs_no_server_package(tmp_path: pathlib.Path) -> None:
    code = "import sys, batchyard_worker.main as m; print([n for n in sys.modules if n.startswith('batchyard_server')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[]\n"


def test_it_is_written_for_the_oldest_interpreter_that_a_handler_may_bring() -> None:
    files = [*pathlib.Path(batchyard_worker.__file__).parent.glob("**/*.py")]
    assert len(files) > 15
    for file in files:
        tree = ast.parse(file.read_text(), feature_version=(3, 9))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
        assert imports or "v1" in file.parts, f"{file}: annotations with | need Python 3.10"
