"""Real handlers leave files: what is kept of them, what goes, and does nothing stay behind?"""

from __future__ import annotations

import json
import pathlib
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from batchyard_server.model.artifact import LOG_PATH
from tests.live.served import HANDLERS, PARENT, Live, living
from tests.support.artifacts import tree
from tests.support.eventually import eventually
from tests.support.server import SECONDS

TOML = f"""
[handlers.leaving]
kind = "python"
callable = "leaving:leaving"
path = ["{HANDLERS}"]
env = ["LIVE_FOLDER"]

[handlers.copy]
kind = "command"
argv = ["sh", "-c", 'cat > "$BATCHYARD_ARTIFACTS_DIR/in"; mkdir "$1/o"; pwd > "$1/o/cwd"', "-", "{{artifacts_dir}}"]

[handlers.quiet]
kind = "command"
argv = ["true"]

[handlers.gone]
kind = "command"
argv = ["rmdir", "{{artifacts_dir}}"]
"""


@pytest.fixture
def live(tmp_path: pathlib.Path) -> Iterator[Live]:
    with living(tmp_path, toml=TOML) as server:
        yield server


def root(live: Live) -> pathlib.Path:
    return live.folder.parent / "data" / "artifacts"


def listed(live: Live, task: str) -> dict[tuple[int, str], str]:
    """(index, path) → text of all artifacts of a task but for the logs."""
    request = service.ListArtifactsRequest(parent=f"{task}/records/-", page_size=1000)
    found: dict[tuple[int, str], str] = {}
    for each in live.tasks.ListArtifacts(request, timeout=SECONDS).artifacts:
        record, _, path = each.name.partition("/artifacts/")
        if path == LOG_PATH:
            continue
        messages = live.tasks.ReadArtifact(service.ReadArtifactRequest(name=each.name), timeout=SECONDS)
        found[int(record.rpartition("/")[2]), path] = b"".join(message.data for message in messages).decode()
    return found


def files(live: Live) -> list[str]:
    """What is on the disk: INDEX/PATH of every file, whatever its task and stage."""
    found = [path.split("/", 2) for path in tree(root(live)) if (root(live) / path).is_file()]
    return sorted(path[2] for path in found if len(path) == 3)


def submit(live: Live, *records: dict[str, Any], handler: str = "leaving", **settings: Any) -> str:
    """Run a batch with settings; returns the name of its task."""
    task_id = f"t{sum(1 for _ in live.tasks.ListBatchTasks(_all()).batch_tasks)}"
    live.tasks.CreateBatchTask(
        service.CreateBatchTaskRequest(
            parent=PARENT,
            batch_task=BatchTaskInfo(handler=handler, **settings),
            batch_task_id=task_id,
            records=[RecordInput(payload=Payload(text=json.dumps(each))) for each in records],
        ),
        timeout=SECONDS,
    )
    return f"{PARENT}/batchTasks/{task_id}"


def _all() -> service.ListBatchTasksRequest:
    return service.ListBatchTasksRequest(parent=PARENT, page_size=1000)


def delete(live: Live, task: str) -> None:
    live.tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=task, force=True), timeout=SECONDS)


def until_empty(live: Live) -> None:
    eventually(lambda: tree(root(live)) == [], SECONDS, "nothing is left on the disk")


def reactivate(live: Live, task: str, *, everything: bool = False) -> None:
    scopes = service.ReactivateBatchTaskRequest
    scope = scopes.ALL if everything else scopes.FAILED_AND_UNFINISHED
    live.tasks.ReactivateBatchTask(scopes(name=task, scope=scope), timeout=SECONDS)


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_what_handlers_leave_is_read_back_and_goes_with_the_task(live: Live) -> None:
    records = [{"files": {"a.txt": f"text {i}", "b/c": str(i)}} if i % 3 == 0 else {} for i in range(200)]
    task = submit(live, *records)
    assert live.finish(task).state == BatchTaskInfo.SUCCEEDED
    wanted = {(i, path): text for i, each in enumerate(records) for path, text in each.get("files", {}).items()}
    assert listed(live, task) == wanted
    shown = live.records(task)
    assert [each.artifact_count for each in shown] == [2 if i % 3 == 0 else 0 for i in range(200)]
    delete(live, task)
    until_empty(live)


def test_a_failed_record_keeps_what_it_left(live: Live) -> None:
    task = submit(live, {"files": {"why": "x"}, "fail": "INVALID_ARGUMENT"}, {})
    live.finish(task)
    assert listed(live, task) == {(0, "why"): "x"}
    [failed, _] = live.records(task)
    assert (failed.state, failed.artifact_count) == (RecordInfo.FAILED, 1)


def test_what_is_no_file_is_left_out_told_and_removed(live: Live) -> None:
    task = submit(live, {"files": {"good": "x"}, "link": "link", "fifo": "fifo"}, {"link": "only"})
    live.finish(task)
    assert listed(live, task) == {(0, "good"): "x"}
    eventually(lambda: files(live) == ["0/good"] and len(tree(root(live))) == 4, SECONDS, "the rest is gone")
    log = live.server.log.read_text()
    assert f"{task}/records/0: of what it left 'link' is a symbolic link" in log
    assert f"{task}/records/0: of what it left 'fifo' is a FIFO" in log
    assert f"{task}/records/1: of what it left 'only' is a symbolic link" in log


def test_a_record_behind_one_that_holds_the_interpreter_does_not_hold_up_its_files(live: Live) -> None:
    """Its worker cannot say that it left any, so the server looks by itself."""
    live.finish(submit(live, *[{}] * 3))  # so that records are known to be quick, and share a subtask
    task = submit(live, {}, {"files": {"quick": "x"}}, {"files": {"late": "y"}, "hold": 2}, parallel_count=1)
    eventually(lambda: listed(live, task) == {(1, "quick"): "x"}, SECONDS, "the file of the quick one is there")
    live.finish(task)
    assert listed(live, task) == {(1, "quick"): "x", (2, "late"): "y"}


def test_commands_leave_files_too(live: Live) -> None:
    task = submit(live, {"n": 1}, {"n": 2}, handler="copy")
    assert live.finish(task).state == BatchTaskInfo.SUCCEEDED, live.records(task)
    found = listed(live, task)
    assert {key: found[key] for key in found if key[1] == "in"} == {(0, "in"): '{"n": 1}', (1, "in"): '{"n": 2}'}
    assert sorted(found) == [(0, "in"), (0, "o/cwd"), (1, "in"), (1, "o/cwd")]


@pytest.mark.parametrize("handler", ["quiet", "gone"])
def test_commands_that_leave_nothing_leave_nothing(live: Live, handler: str) -> None:
    task = submit(live, *[{}] * 5, handler=handler)
    assert live.finish(task).state == BatchTaskInfo.SUCCEEDED, live.records(task)
    assert listed(live, task) == {}
    assert [each.artifact_count for each in live.records(task)] == [0] * 5
    eventually(lambda: len(tree(root(live))) <= 1, SECONDS, "the folders of its records and subtasks are gone")
    delete(live, task)
    until_empty(live)


# -- what goes --------------------------------------------------------------------------------------------------------


def test_a_retry_takes_the_place_of_the_attempt_before(live: Live) -> None:
    constraints = {"max_retry_count": 3}
    policy = {"initial_backoff": {"nanos": 1_000_000}, "max_backoff": {"nanos": 1_000_000}}
    record = {"files": {"n": "attempt {attempt}", "a": "x"}, "fails": 2}
    task = submit(live, record, {}, constraints=constraints, retry_policy=policy)
    assert live.finish(task).state == BatchTaskInfo.SUCCEEDED
    assert listed(live, task) == {(0, "a"): "x", (0, "n"): "attempt 3"}
    eventually(lambda: files(live) == ["0/a", "0/n"], SECONDS, "what the attempts before left is gone")


def test_a_lost_worker_leaves_only_what_the_next_attempt_left(live: Live) -> None:
    task = submit(live, {"files": {"n": "attempt {attempt}"}, "dies": 1}, {"files": {"x": "1"}})
    assert live.finish(task).state == BatchTaskInfo.SUCCEEDED
    assert listed(live, task) == {(0, "n"): "attempt 2", (1, "x"): "1"}
    eventually(lambda: files(live) == ["0/n", "1/x"], SECONDS, "what the lost worker left is gone")


def test_a_record_that_passed_its_time_keeps_what_it_left(live: Live) -> None:
    task = submit(
        live, {"files": {"half": "x"}, "until": "never"}, constraints={"record_timeout": {"nanos": 200_000_000}}
    )
    live.finish(task)
    assert listed(live, task) == {(0, "half"): "x"}
    assert live.records(task)[0].artifact_count == 1


def test_a_cancel_leaves_nothing_of_what_ran(live: Live) -> None:
    task = submit(live, {"files": {"done": "x"}}, {"files": {"half": "x"}, "until": "never"}, parallel_count=1)
    eventually(lambda: live.running() == {0, 1}, SECONDS, "the second record runs")
    live.cancel(task)
    assert set(listed(live, task)) <= {(0, "done")}
    eventually(lambda: "1/half" not in files(live), SECONDS, "what ran left nothing")
    delete(live, task)
    until_empty(live)


def test_a_forced_delete_leaves_nothing_either(live: Live) -> None:
    task = submit(live, {"files": {"done": "x"}}, {"files": {"half": "x"}, "until": "never"})
    eventually(lambda: live.running() == {0, 1}, SECONDS, "both run, or have")
    delete(live, task)
    until_empty(live)


def test_a_reactivation_replaces_what_is_run_again_and_not_before_it_has_ended(live: Live) -> None:
    records = [{"files": {"kept": "1"}}, {"files": {"old": "{attempt}"}, "fail": "INTERNAL", "until": "first"}]
    task = submit(live, *records)
    live.open("first")
    live.finish(task)
    assert set(listed(live, task)) == {(0, "kept"), (1, "old")}
    before = files(live)
    (live.folder / "open" / "first").unlink()
    live.forget_running()
    reactivate(live, task)
    eventually(lambda: live.running() == {1}, SECONDS, "it runs again")
    assert set(listed(live, task)) == {(0, "kept"), (1, "old")}
    live.open("first")
    live.finish(task)
    assert set(listed(live, task)) == {(0, "kept"), (1, "old")}
    eventually(lambda: files(live) == before, SECONDS, "what was replaced is gone")


def test_a_deleted_artifact_is_gone_from_the_disk(live: Live) -> None:
    task = submit(live, {"files": {"a/b": "1", "c": "2"}}, {"until": "end"}, parallel_count=1)
    eventually(lambda: (0, "c") in listed(live, task), SECONDS, "the first record has ended")
    name = f"{task}/records/0/artifacts/a/b"
    live.tasks.DeleteArtifact(service.DeleteArtifactRequest(name=name), timeout=SECONDS)
    eventually(lambda: files(live) == ["0/c"], SECONDS, "its file is gone")
    live.open("end")
    live.finish(task)
    assert listed(live, task) == {(0, "c"): "2"}


# -- crashes ----------------------------------------------------------------------------------------------------------


def test_a_crash_between_collection_and_commit_leaves_nothing_behind(tmp_path: pathlib.Path) -> None:
    """What was collected runs again after the restart, and leaves its files anew; those of before go."""
    records = [{"files": {"n": str(i), "sub/n": "{attempt}"}} for i in range(20)]
    with living(tmp_path, toml=TOML, environment={"BATCHYARD_FAILPOINTS": "dispatch.before_outcomes=kill@2"}) as live:
        task = submit(live, *records)
        assert live.server.wait() == -signal.SIGKILL
    left = tree(tmp_path / "data" / "artifacts")
    assert left
    with living(tmp_path, toml=TOML) as live:
        assert live.finish(task).state == BatchTaskInfo.SUCCEEDED
        found = listed(live, task)
        assert sorted(found) == sorted((i, path) for i in range(20) for path in ("n", "sub/n"))
        wanted = sorted(f"{i}/{path}" for i, path in found)
        eventually(lambda: files(live) == wanted, SECONDS, "what no row names is gone")
        delete(live, task)
        until_empty(live)


def test_what_was_deleted_before_a_crash_goes_at_the_next_start(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, toml=TOML) as live:
        kept = submit(live, {"files": {"a": "1"}}, {"files": {"b": "2"}})
        live.finish(kept)
        gone = submit(live, {"files": {"a": "1"}})
        live.finish(gone)
        [folder] = [each for each in root(live).iterdir() if each.name.startswith("2-")]
        shutil.copytree(folder, tmp_path / "saved")
        delete(live, gone)
        eventually(lambda: not folder.exists(), SECONDS, "its folder is gone")
    shutil.copytree(tmp_path / "saved", folder)  # as if the server had ended before
    [stage, *_] = folder.with_name(next(each.name for each in folder.parent.iterdir() if each != folder)).iterdir()
    (stage / "7").mkdir()
    (stage / "7" / "left").touch()
    with living(tmp_path, toml=TOML) as live:
        eventually(lambda: files(live) == ["0/a", "1/b"], SECONDS, "what no row names is gone")
        assert listed(live, kept) == {(0, "a"): "1", (1, "b"): "2"}
