"""Long logs are in files: read like the others, gone with what they belong to."""

from __future__ import annotations

import os
import pathlib
import signal
from collections.abc import Iterator

import grpc
import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo, Constraints
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInput
from tests.live.served import HANDLERS, PARENT, Live, living
from tests.support.eventually import eventually
from tests.support.server import SECONDS

TOML = f"""\
[handlers.writing]
kind = "python"
callable = "writing:writing"
path = ["{HANDLERS}"]
"""
LONG = 1000  # lines; some 20 KiB


@pytest.fixture
def live(tmp_path: pathlib.Path) -> Iterator[Live]:
    with living(tmp_path, toml=TOML) as server:
        yield server


def files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Those below the folder of the artifacts."""
    walk = os.walk(folder / "data" / "artifacts")  # also while they are removed
    return [pathlib.Path(above, each) for above, _, names in walk for each in names]


def read(live: Live, name: str, index: int) -> str:
    """The log of a record, "" if it has none."""
    request = service.ReadArtifactRequest(name=f"{name}/records/{index}/artifacts/.batchyard/log.txt")
    try:
        parts = [part.data for part in live.tasks.ReadArtifact(request, timeout=SECONDS)]
    except grpc.RpcError as error:
        if "NOT_FOUND" in str(error):
            return ""
        raise
    return b"".join(parts).decode()


def texts(index: int, generation: int, attempt: int, lines: int) -> str:
    return "".join(f"{index}.{generation}.{attempt}: line {n} of {lines}\n" for n in range(lines))


def listed(live: Live, name: str) -> dict[str, int]:
    """Sizes of all artifacts of a task, by name below `records/`."""
    found = live.tasks.ListArtifacts(service.ListArtifactsRequest(parent=f"{name}/records/-"), timeout=SECONDS)
    return {each.name.removeprefix(f"{name}/records/"): each.size for each in found.artifacts}


def test_short_ones_have_no_file_and_long_ones_have(live: Live, tmp_path: pathlib.Path) -> None:
    name = live.submit([{"lines": lines} for lines in (0, 1, 50, LONG, 2 * LONG)], "writing")
    assert live.finish(name).state == BatchTaskInfo.SUCCEEDED
    for index, lines in enumerate((0, 1, 50, LONG, 2 * LONG)):
        log = read(live, name, index)
        assert log.partition("\n")[2] == texts(index, 1, 1, lines)
        assert bool(log) == (lines > 0)
    assert len(files(tmp_path)) == 2
    shown = listed(live, name)
    assert list(shown) == [f"{index}/artifacts/.batchyard/log.txt" for index in range(1, 5)]
    assert [shown[f"{index}/artifacts/.batchyard/log.txt"] for index in (3, 4)] == [
        len(read(live, name, index)) for index in (3, 4)
    ]
    assert all(record.artifact_count == 0 for record in live.records(name))


def test_logs_stand_among_the_files_of_handlers(live: Live) -> None:
    name = live.submit([{"lines": LONG, "file": "-a"}, {"lines": 1, "file": "z"}, {"file": "b"}], "writing")
    assert live.finish(name).counts.succeeded == 3
    assert list(listed(live, name)) == [
        "0/artifacts/-a",
        "0/artifacts/.batchyard/log.txt",
        "1/artifacts/.batchyard/log.txt",
        "1/artifacts/z",
        "2/artifacts/b",
    ]
    assert [record.artifact_count for record in live.records(name)] == [1, 1, 1]


def test_what_is_not_kept_of_its_files_is_told_in_the_log(live: Live) -> None:
    name = live.submit([{"lines": 1, "file": ".batchyard"}, {"link": "x"}, {"file": "fine"}], "writing")
    assert live.finish(name).counts.succeeded == 3
    first, *more = read(live, name, 0).splitlines()[1:]
    assert first == "0.1.1: line 0 of 1"
    assert len(more) == 1
    assert more[0].startswith("WARNING batchyard: of what this record left '.batchyard' ")
    [warning] = read(live, name, 1).splitlines()[1:]
    assert warning == "WARNING batchyard: of what this record left 'x' is a symbolic link"
    assert read(live, name, 2) == ""


def test_of_what_is_tried_again_head_and_tail_are_kept(live: Live, tmp_path: pathlib.Path) -> None:
    request = service.CreateBatchTaskRequest(
        parent=PARENT,
        batch_task=BatchTaskInfo(handler="writing", constraints=Constraints(max_retry_count=1)),
        records=[RecordInput(payload=Payload(text=f'{{"lines": {LONG}, "ok": 2}}'))],
        batch_task_id="again",
    )
    request.batch_task.retry_policy.initial_backoff.FromMilliseconds(1)
    live.tasks.CreateBatchTask(request, timeout=SECONDS)
    name = f"{PARENT}/batchTasks/again"
    assert live.finish(name).counts.succeeded == 1
    first, second = read(live, name, 0).split("== attempt ")[1:]
    assert len(first) < 5000
    assert "bytes are missing here" in first
    assert first.endswith(f"0.1.1: line {LONG - 1} of {LONG}\n")
    assert second.partition("\n")[2] == texts(0, 1, 2, LONG)
    assert len(files(tmp_path)) == 1


def test_a_later_generation_removes_the_file(live: Live, tmp_path: pathlib.Path) -> None:
    name = live.submit([{"lines": LONG, "since": 2}, {"lines": LONG}], "writing")
    live.finish(name)
    assert len(files(tmp_path)) == 2
    live.tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=name), timeout=SECONDS)
    live.finish(name)
    assert read(live, name, 0).partition("\n")[2] == texts(0, 2, 1, LONG)
    assert read(live, name, 1).partition("\n")[2] == texts(1, 1, 1, LONG)
    eventually(lambda: len(files(tmp_path)) == 2)


def test_a_log_or_a_task_that_is_deleted_takes_its_files_along(live: Live, tmp_path: pathlib.Path) -> None:
    name = live.submit([{"lines": LONG}, {"lines": LONG}, {"lines": 1}], "writing")
    live.finish(name)
    live.tasks.DeleteArtifact(
        service.DeleteArtifactRequest(name=f"{name}/records/0/artifacts/.batchyard/log.txt"), timeout=SECONDS
    )
    eventually(lambda: len(files(tmp_path)) == 1)
    assert [read(live, name, index) != "" for index in range(3)] == [False, True, True]
    live.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=name), timeout=SECONDS)
    eventually(lambda: files(tmp_path) == [])


def test_a_restart_keeps_them(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, toml=TOML) as live:
        name = live.submit([{"lines": LONG}, {"lines": 1}], "writing")
        live.finish(name)
    with living(tmp_path, toml=TOML) as live:
        for index, lines in enumerate((LONG, 1)):
            assert read(live, name, index).partition("\n")[2] == texts(index, 1, 1, lines)


def test_a_crash_between_file_and_commit_leaves_no_file_behind(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, toml=TOML, environment={"BATCHYARD_FAILPOINTS": "dispatch.before_outcomes=kill@2"}) as live:
        name = live.submit([{"lines": LONG}] * 10, "writing")
        assert live.server.wait() == -signal.SIGKILL
    left = files(tmp_path)
    assert left
    with living(tmp_path, toml=TOML) as live:
        assert live.finish(name).counts.succeeded == 10
        eventually(lambda: len(files(tmp_path)) == 10)
        for index in range(10):
            assert read(live, name, index).endswith(f": line {LONG - 1} of {LONG}\n")


def test_a_file_that_is_gone_is_told(live: Live, tmp_path: pathlib.Path) -> None:
    name = live.submit([{"lines": LONG}], "writing")
    live.finish(name)
    for each in files(tmp_path):
        each.unlink()
    with pytest.raises(grpc.RpcError) as caught:
        read(live, name, 0)
    assert "DATA_LOSS" in str(caught.value)
