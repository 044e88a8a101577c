"""Seed 004's package, `FileOperations`: the files that tasks left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from batchyard import BatchTaskError, Client
from batchyard.task_operations import (
    BatchErrorException,
    BatchServiceClient,
    ClientRawResponse,
    FileOperations,
    NotModified,
    TaskAddParameter,
    models,
)
from tests.support.server import SECONDS, Process

pytestmark = pytest.mark.xdist_group("seed 004")
LINE = """
echo printed
echo warned >&2
cd "$BATCHYARD_ARTIFACTS_DIR"
mkdir -p wd/deep wd-2
printf 0123456789 > wd/a.txt
printf b > wd/deep/b.txt
printf c > wd-2/c.txt
printf top > top.txt
head -c 200000 /dev/zero > zeros
: > empty
"""
FILES = [".batchyard/log.txt", "empty", "top.txt", "wd-2/c.txt", "wd/a.txt", "wd/deep/b.txt", "zeros"]
FOLDERS = [".batchyard", "wd", "wd-2", "wd/deep"]


@pytest.fixture(scope="module")
def left(real: Process) -> Iterator[BatchServiceClient]:
    """A client; job `files` has the task `one`, and `several` of three records."""
    three = models.MultiInstanceSettings(number_of_instances=3)
    with BatchServiceClient(None, real.target) as client:
        client.task.add("files", TaskAddParameter(id="one", command_line=LINE))
        client.task.add("files", TaskAddParameter(id="several", command_line=LINE, multi_instance_settings=three))
        client.task.add("files", TaskAddParameter(id="failed", command_line=LINE + "exit 1"))
        client.task.add("files", TaskAddParameter(id="quiet", command_line="true"))
        with Client(real.target, project="files") as ours:
            for task_id in ("one", "several", "failed", "quiet"):
                with suppress(BatchTaskError):
                    ours.batch.get(task_id).wait(poll_timeout=SECONDS)
        yield client


@pytest.fixture
def files(left: BatchServiceClient) -> FileOperations:
    return left.file


def read(files: FileOperations, path: str, task_id: str = "one", **more: Any) -> bytes:
    parts: Any = files.get_from_task("files", task_id, path, **more)
    return b"".join(parts)


def names(found: Any, *, folders: bool) -> list[str]:
    return sorted(node.name for node in found if node.is_directory is folders)


def refusal(method: Any, *arguments: Any) -> str:
    with pytest.raises(BatchErrorException) as caught:
        list(method(*arguments) or ())
    return caught.value.error.code


@pytest.mark.parametrize("most", [1, 1000])
def test_all_files(files: FileOperations, most: int) -> None:
    found = list(files.list_from_task("files", "one", True, models.FileListFromTaskOptions(max_results=most)))
    assert names(found, folders=False) == FILES
    assert names(found, folders=True) == FOLDERS
    known = {node.name: node for node in found}
    top = known["top.txt"]
    assert (top.properties.content_length, top.properties.content_type) == (3, "text/plain")
    assert top.url == "projects/files/batchTasks/one/records/0/artifacts/top.txt"
    assert datetime.now(UTC) - top.properties.creation_time < timedelta(minutes=10)
    assert top.properties.creation_time == top.properties.last_modified
    assert (known["wd"].url, known["wd"].properties) == (None, None)


@pytest.mark.parametrize("recursive", [None, False])
def test_files_at_the_top(files: FileOperations, recursive: bool | None) -> None:
    found = list(files.list_from_task("files", "one", recursive))
    assert names(found, folders=False) == ["empty", "top.txt", "zeros"]
    assert names(found, folders=True) == [".batchyard", "wd", "wd-2"]


@pytest.mark.parametrize(
    ("prefix", "recursive", "wanted"),
    [
        ("wd", False, ["wd", "wd-2"]),
        ("wd", True, ["wd", "wd-2", "wd-2/c.txt", "wd/a.txt", "wd/deep", "wd/deep/b.txt"]),
        ("wd/", True, ["wd/a.txt", "wd/deep", "wd/deep/b.txt"]),
        ("wd/", False, []),
        ("nothing", True, []),
        ("", False, [".batchyard", "empty", "top.txt", "wd", "wd-2", "zeros"]),
    ],
)
def test_files_of_a_prefix(files: FileOperations, prefix: str, recursive: bool, wanted: list[str]) -> None:
    found = files.list_from_task("files", "one", recursive, {"filter": f"startswith(name, '{prefix}')"})
    assert sorted(node.name for node in found) == wanted


def test_files_of_several_records(files: FileOperations) -> None:
    assert [node.name for node in files.list_from_task("files", "several")] == ["0", "1", "2"]
    found = list(files.list_from_task("files", "several", True))
    assert names(found, folders=False) == [f"{index}/{name}" for index in range(3) for name in FILES]
    assert len(names(found, folders=True)) == 3 * (len(FOLDERS) + 1)
    for prefix, count in (("1", 7), ("1/wd", 3), ("1/wd/a", 1), ("9/", 0), ("x/", 0), ("x", 0)):
        some = files.list_from_task("files", "several", True, {"filter": f"startswith(name, '{prefix}')"})
        assert len(names(some, folders=False)) == count
    assert read(files, "2/wd/a.txt", "several") == b"0123456789"
    assert read(files, "2/stdout.txt", "several") == b"printed\n"
    for path in ("2", "x/wd/a.txt", "9/wd/a.txt", "02/wd/a.txt", "wd/a.txt", "9/stdout.txt"):
        assert refusal(files.get_from_task, "files", "several", path) == "FileNotFound"


def test_bytes(files: FileOperations) -> None:
    assert read(files, "wd/a.txt") == b"0123456789"
    assert read(files, "empty") == b""
    parts: Any = list(files.get_from_task("files", "one", "zeros"))  # type: ignore[arg-type]
    assert b"".join(parts) == bytes(200_000)
    assert max(map(len, parts)) <= 2**16


def test_a_callback_sees_every_part(files: FileOperations) -> None:
    seen: list[tuple[bytes, int]] = []

    def callback(part: bytes, response: Any) -> None:
        seen.append((part, response.status_code))

    data = read(files, "zeros", callback=callback)
    assert b"".join(part for part, _ in seen) == data
    assert {status for _, status in seen} == {200}
    assert len(seen) > 1


@pytest.mark.parametrize(
    ("span", "wanted"),
    [("bytes=0-0", b"0"), ("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=7-100", b"789"), ("bytes=9-9", b"9")],
)
def test_ranges(files: FileOperations, span: str, wanted: bytes) -> None:
    options = models.FileGetFromTaskOptions(ocp_range=span)
    assert read(files, "wd/a.txt", file_get_from_task_options=options) == wanted
    answer: Any = files.get_from_task("files", "one", "wd/a.txt", options, raw=True)
    assert answer.response.status_code == 206
    assert read(files, "stdout.txt", file_get_from_task_options={"ocp_range": "bytes=1-3"}) == b"rin"


def test_ranges_that_are_none(files: FileOperations) -> None:
    for wrong in ("bytes=-3", "bytes=4-3", "0-3", "bytes=a-b"):
        with pytest.raises(ValueError, match="ocp_range"):
            files.get_from_task("files", "one", "wd/a.txt", {"ocp_range": wrong})
    assert refusal(files.get_from_task, "files", "one", "wd/a.txt", {"ocp_range": "bytes=10-"}) == "InvalidRange"
    assert refusal(files.get_from_task, "files", "one", "empty", {"ocp_range": "bytes=0-1"}) == "InvalidRange"


def test_what_a_command_wrote(files: FileOperations) -> None:
    assert read(files, "stdout.txt") == b"printed\n"
    assert b"warned" in read(files, "stderr.txt")
    assert b"warned" in read(files, "stderr.txt", "failed")
    assert read(files, "stdout.txt", "quiet") == read(files, "stderr.txt", "quiet") == b""
    # Of a command that failed the output is not kept.
    assert refusal(files.get_from_task, "files", "failed", "stdout.txt") == "FileNotFound"


def test_properties(files: FileOperations) -> None:
    assert files.get_properties_from_task("files", "one", "wd/a.txt") is None
    answer = files.get_properties_from_task("files", "one", "wd/a.txt", raw=True)
    assert isinstance(answer, ClientRawResponse)
    headers = answer.headers
    assert (headers["Content-Length"], headers["Content-Type"]) == ("10", "text/plain")
    assert headers["ocp-batch-file-url"] == "projects/files/batchTasks/one/records/0/artifacts/wd/a.txt"
    assert headers["ocp-batch-file-isdirectory"] == "false"
    assert headers["ocp-creation-time"] == headers["Last-Modified"]
    got: Any = files.get_from_task("files", "one", "wd/a.txt", raw=True)
    assert (b"".join(got.output), got.headers) == (b"0123456789", headers)
    printed = files.get_properties_from_task("files", "one", "stdout.txt", raw=True)
    assert printed is not None
    assert printed.headers["Content-Length"] == "8"


def test_conditions(files: FileOperations) -> None:
    now = datetime.now(UTC)
    later, before = now + timedelta(hours=1), now - timedelta(hours=1)
    for method in (files.get_from_task, files.get_properties_from_task):
        for holds in ({"if_modified_since": before}, {"if_unmodified_since": later}):
            list(method("files", "one", "top.txt", holds) or ())  # type: ignore[call-overload]
        with pytest.raises(NotModified):
            method("files", "one", "top.txt", {"if_modified_since": later})
        assert refusal(method, "files", "one", "top.txt", {"if_unmodified_since": before}) == "ConditionNotMet"


def test_what_is_not_there(files: FileOperations) -> None:
    for method in (files.get_from_task, files.get_properties_from_task, files.delete_from_task):
        assert refusal(method, "files", "one", "nothing") == "FileNotFound"
        assert refusal(method, "files", "one", "wd/a") == "FileNotFound"
        assert refusal(method, "files", "nobody", "wd/a.txt") == "TaskNotFound"
    for method in (files.get_from_task, files.get_properties_from_task):
        assert refusal(method, "files", "one", "wd") == "FileNotFound"
        assert refusal(method, "files", "one", "") == "FileNotFound"
    assert refusal(files.list_from_task, "files", "nobody") == "TaskNotFound"


def test_delete(left: BatchServiceClient, real: Process, project: str) -> None:
    left.task.add(project, TaskAddParameter(id="one", command_line=LINE))
    with Client(real.target, project=project) as client:
        client.batch.get("one").wait(poll_timeout=SECONDS)
    files = left.file
    assert files.delete_from_task(project, "one", "top.txt") is None
    assert refusal(files.delete_from_task, project, "one", "top.txt") == "FileNotFound"
    assert refusal(files.delete_from_task, project, "one", "wd") == "OperationInvalidForCurrentState"
    assert refusal(files.delete_from_task, project, "one", "wd/deep/", False) == "OperationInvalidForCurrentState"
    answer = files.delete_from_task(project, "one", "wd", recursive=True, raw=True)
    assert answer is not None
    assert answer.response.status_code == 200
    rest = names(files.list_from_task(project, "one", True), folders=False)
    assert rest == [".batchyard/log.txt", "empty", "wd-2/c.txt", "zeros"]
    assert left.task.get(project, "one").execution_info.exit_code == 0
