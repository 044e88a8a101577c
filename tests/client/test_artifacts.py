"""Artifacts over the scripted server: listed, read over cuts, downloaded whole or not at all, never outside."""

from __future__ import annotations

import asyncio
import json
import pathlib
from typing import Any

import pytest
from google.rpc import code_pb2

import batchyard
from batchyard import Artifact, DownloadError, DownloadProgress, NotFoundError, OffsetBeyondEndError
from tests.client.fake_server import FakeServer

TEXT = b"the quick brown fox jumps over the lazy dog"


@pytest.fixture
def operation(client: Any) -> Any:
    """A task of three records, t."""
    return client.batch.run("echo", ["a", "b", "c"], task_id="t")


@pytest.fixture
def task(server: FakeServer, operation: Any) -> str:
    """Its name; records 0 and 2 left files."""
    server.leave(operation.task_name, 0, "a.txt", TEXT)
    server.leave(operation.task_name, 0, "b/c", b"")
    server.leave(operation.task_name, 0, "b/d", b"d" * 10)
    server.leave(operation.task_name, 2, "a.txt", b"2")
    return operation.task_name


def files(folder: pathlib.Path) -> dict[str, bytes]:
    """Every file below, by path."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


# -- reading ----------------------------------------------------------------------------------------------------------


def test_they_are_listed_page_by_page(server: FakeServer, operation: Any, task: str) -> None:
    found = list(operation.artifacts())
    assert [(each.index, each.path, each.size) for each in found] == [
        (0, "a.txt", len(TEXT)),
        (0, "b/c", 0),
        (0, "b/d", 10),
        (2, "a.txt", 1),
    ]
    assert server.calls["ListArtifacts"] == 2
    assert [each.path for each in operation.artifacts(0, prefix="b/", page_size=1)] == ["b/c", "b/d"]
    assert server.last["ListArtifacts"].parent == f"{task}/records/0"
    assert list(operation.artifacts(1)) == []


def test_one_is_described(client: Any, server: FakeServer, operation: Any, task: str) -> None:
    found = operation.get_artifact(0, "b/d")
    assert isinstance(found, Artifact)
    assert (found.name, found.index, found.path) == (f"{task}/records/0/artifacts/b/d", 0, "b/d")
    assert (found.size, found.content_type, len(found.sha256), found.create_time) == (10, "text/plain", 32, None)
    assert found.crc32c
    assert found == operation.get_artifact(0, "b/d") != operation.get_artifact(0, "b/c")
    assert repr(found) == "<Artifact 0 b/d 10>"
    with pytest.raises(NotFoundError):
        operation.get_artifact(1, "b/d")
    assert server.last["GetArtifact"].name == f"{task}/records/1/artifacts/b/d"


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize("cuts", [[], [0], [1], [3, 0, 2], [11]])
def test_bytes_are_read_over_cuts(server: FakeServer, operation: Any, cuts: list[int]) -> None:
    server.read_cuts.extend(cuts)
    assert b"".join(operation.read_artifact(0, "a.txt")) == TEXT
    assert server.read_offsets[0] == 0
    assert len(server.read_offsets) == 1 + len(cuts)


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize("cuts", [[], [1], [2], [0, 0]])
@pytest.mark.parametrize(("offset", "limit"), [(0, 8), (5, 7), (40, 0), (len(TEXT), 0), (0, 1000)])
def test_a_part_is_read_over_cuts(server: FakeServer, operation: Any, cuts: list[int], offset: int, limit: int) -> None:
    server.read_cuts.extend(cuts)
    read = b"".join(operation.read_artifact(0, "a.txt", offset=offset, limit=limit))
    assert read == TEXT[offset : offset + limit if limit else None]


@pytest.mark.usefixtures("task")
def test_what_is_replaced_while_it_is_read_is_told(server: FakeServer, operation: Any, task: str) -> None:
    server.read_cuts.append(2)
    server.on_cut = lambda: server.leave(task, 0, "a.txt", TEXT.upper())
    with pytest.raises(DownloadError, match="replaced"):
        list(operation.read_artifact(0, "a.txt"))


@pytest.mark.usefixtures("task")
def test_behind_the_end_is_nothing(operation: Any) -> None:
    with pytest.raises(OffsetBeyondEndError):
        list(operation.read_artifact(0, "a.txt", offset=len(TEXT) + 1))


def test_one_is_deleted(server: FakeServer, operation: Any, task: str) -> None:
    operation.delete_artifact(0, "a.txt")
    assert server.last["DeleteArtifact"].request_id
    assert f"{task}/records/0/artifacts/a.txt" not in server.artifacts
    with pytest.raises(NotFoundError):
        operation.delete_artifact(0, "a.txt")
    operation.delete_artifact(0, "a.txt", allow_missing=True, request_id="r")
    assert server.last["DeleteArtifact"].request_id == "r"


# -- downloading ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("task")
def test_a_whole_task_is_downloaded(operation: Any, tmp_path: pathlib.Path) -> None:
    to = tmp_path / "to" / "here"
    assert operation.download(destination=to) == [to / "0/a.txt", to / "0/b/c", to / "0/b/d", to / "2/a.txt"]
    assert files(to) == {"0/a.txt": TEXT, "0/b/c": b"", "0/b/d": b"d" * 10, "2/a.txt": b"2"}


@pytest.mark.usefixtures("task")
def test_one_record_is_downloaded_into_this_folder(
    operation: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("before")
    assert operation.download(0, prefix="a") == [pathlib.Path("a.txt")]
    assert files(tmp_path) == {"a.txt": TEXT}


def test_one_artifact_is_downloaded(
    server: FakeServer, operation: Any, task: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.leave(task, 0, "a.txt.bak", b"not this one")
    told: list[int] = []
    to = tmp_path / "to"
    assert operation.download_artifact(0, "a.txt", to, progress=lambda now: told.append(now.total_received)) == (
        to / "a.txt"
    )
    assert operation.download_artifact(0, "b/d", to) == to / "b/d"
    assert files(to) == {"a.txt": TEXT, "b/d": b"d" * 10}
    assert told[-1] == len(TEXT)
    assert server.calls["ListArtifacts"] == 0
    monkeypatch.chdir(to)
    assert operation.download_artifact(2, "a.txt") == pathlib.Path("a.txt")
    assert files(to)["a.txt"] == b"2"
    with pytest.raises(NotFoundError):
        operation.download_artifact(2, "b/d", to)
    server.wrong_sha256.add(f"{task}/records/0/artifacts/a.txt")
    with pytest.raises(DownloadError, match="checksum"):
        operation.download_artifact(0, "a.txt", to)
    assert files(to) == {"a.txt": b"2", "b/d": b"d" * 10}


@pytest.mark.usefixtures("task")
def test_the_progress_is_told(operation: Any, tmp_path: pathlib.Path) -> None:
    told: list[DownloadProgress] = []
    operation.download(0, tmp_path, progress=told.append)
    steps = [(each.artifact.path, each.received, each.files, each.total_received) for each in told]
    assert steps[0] == ("a.txt", 4, 0, 4)
    assert steps[10] == ("a.txt", len(TEXT), 0, len(TEXT))
    assert steps[-1] == ("b/d", 10, 2, len(TEXT) + 10)
    with pytest.raises(ValueError, match="bar"):
        operation.download(0, tmp_path, progress="other")


@pytest.mark.usefixtures("task")
def test_a_bar_shows_the_progress(operation: Any, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    operation.download(0, tmp_path, progress="bar")
    out, err = capsys.readouterr()
    assert out == ""
    assert "2 files" in err
    assert "0/b/d" in err


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize("cuts", [[1], [0, 5, 2]])
def test_a_cut_is_gone_on_from(server: FakeServer, operation: Any, tmp_path: pathlib.Path, cuts: list[int]) -> None:
    server.read_cuts.extend(cuts)
    operation.download(0, tmp_path, prefix="a")
    assert files(tmp_path) == {"a.txt": TEXT}
    assert server.read_offsets == [0, *(4 * sum(cuts[: i + 1]) for i in range(len(cuts)))]


@pytest.mark.usefixtures("task")
def test_a_restart_of_the_server_is_survived(server: FakeServer, operation: Any, tmp_path: pathlib.Path) -> None:
    server.fail_next("ReadArtifact", code_pb2.UNAVAILABLE)
    server.fail_next("ListArtifacts", code_pb2.UNAVAILABLE)
    operation.download(0, tmp_path)
    assert len(files(tmp_path)) == 3


@pytest.mark.parametrize("other", [TEXT.upper(), b"short"])
def test_what_is_replaced_meanwhile_is_downloaded_anew(
    server: FakeServer, operation: Any, task: str, tmp_path: pathlib.Path, other: bytes
) -> None:
    server.read_cuts.append(3)
    server.on_cut = lambda: server.leave(task, 0, "a.txt", other)
    operation.download(0, tmp_path, prefix="a")
    assert files(tmp_path) == {"a.txt": other}


def test_a_wrong_checksum_leaves_what_was_there(
    server: FakeServer, operation: Any, task: str, tmp_path: pathlib.Path
) -> None:
    server.wrong_sha256.add(f"{task}/records/0/artifacts/a.txt")
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(DownloadError, match="checksum") as caught:
        operation.download(0, tmp_path)
    assert caught.value.name == f"{task}/records/0/artifacts/a.txt"
    assert files(tmp_path) == {"a.txt": b"before"}


@pytest.mark.usefixtures("task")
def test_an_error_in_the_middle_leaves_no_part(server: FakeServer, operation: Any, tmp_path: pathlib.Path) -> None:
    def stop(_: DownloadProgress) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        operation.download(0, tmp_path, progress=stop)
    assert files(tmp_path) == {}
    server.fail_next("ReadArtifact", code_pb2.DATA_LOSS, reason="ARTIFACT_DAMAGED")
    with pytest.raises(batchyard.ArtifactDamagedError):
        operation.download(0, tmp_path)
    assert files(tmp_path) == {}


async def test_a_cancelled_download_leaves_no_part(server: FakeServer, tmp_path: pathlib.Path) -> None:
    async with batchyard.AsyncClient(server.target) as client:
        operation = await client.batch.run("echo", ["a"], task_id="t")
        server.leave(operation.task_name, 0, "first", b"1")
        server.leave(operation.task_name, 0, "second", bytes(10_000))
        begun = asyncio.Event()

        def look(now: DownloadProgress) -> None:
            if now.artifact.path == "second":
                begun.set()

        download = asyncio.create_task(operation.download(0, tmp_path, progress=look))
        await begun.wait()
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download
    assert files(tmp_path) == {"first": b"1"}


@pytest.mark.parametrize(
    "hostile", ["../out", "a/../../out", "/etc/out", "a//b", "", ".", "..", "a/.", "a\nb", "a\0b", "link/out", "link"]
)
def test_nothing_is_written_outside(server: FakeServer, operation: Any, tmp_path: pathlib.Path, hostile: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    to = tmp_path / "to"
    (to / "0").mkdir(parents=True)
    for folder in (to, to / "0"):
        (folder / "link").symlink_to(outside)
    name = server.leave(operation.task_name, 0, "x", b"evil")
    server.shown_names[name] = name[:-1] + hostile
    server.artifacts[name[:-1] + hostile] = b"evil"
    for index in (0, None):
        if hostile == "link":  # what is there under the name is replaced, be it a link
            operation.download(index, to, prefix="x")
        else:
            with pytest.raises(DownloadError):
                operation.download(index, to, prefix="x")
    if hostile != "link":
        with pytest.raises(DownloadError):
            operation.download_artifact(0, "x", to)
    assert files(outside) == {}
    assert not (tmp_path / "out").exists()
    assert not pathlib.Path("/etc/out").exists()
    assert list(to.rglob("*.part")) == []


@pytest.mark.usefixtures("task")
def test_a_folder_in_the_way_is_an_error(operation: Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError, match=r"a\.txt"):
        operation.download(0, tmp_path)
    assert files(tmp_path) == {}


def test_names_as_long_as_they_may_be(server: FakeServer, operation: Any, tmp_path: pathlib.Path) -> None:
    path = "/".join(["x" * 255] * 3) + "/" + "ä" * 120
    server.leave(operation.task_name, 0, path, b"1")
    operation.download(destination=tmp_path)
    assert files(tmp_path) == {f"0/{path}": b"1"}


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(server: FakeServer) -> str:
    """A task with files, made by another client."""
    with batchyard.Client(server.target) as client:
        name = client.batch.run("echo", ["a", "b"], task_id="t").task_name
    server.leave(name, 0, "a.txt", TEXT)
    server.leave(name, 1, "b/c", b"1")
    return name


@pytest.mark.usefixtures("made")
def test_the_command_lists(run: Any) -> None:
    code, out, _ = run("artifacts", "t")
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[0] == ["index", "path", "size", "type", "sha256"]
    assert [row[:4] for row in rows[1:]] == [
        ["0", "a.txt", str(len(TEXT)), "text/plain"],
        ["1", "b/c", "1", "text/plain"],
    ]
    code, out, _ = run("artifacts", "t", "1", "--json")
    assert json.loads(out)["name"].endswith("/records/1/artifacts/b/c")
    assert run("artifacts", "t", "--limit", "1")[1].count("\n") == 2
    assert run("artifacts", "t", "--prefix", "b/")[1].count("\n") == 2


@pytest.mark.usefixtures("made")
def test_the_command_downloads(run: Any, tmp_path: pathlib.Path) -> None:
    code, out, _ = run("download", "t", "--output", str(tmp_path / "all"))
    assert (code, out.split()) == (0, [str(tmp_path / "all" / path) for path in ("0/a.txt", "1/b/c")])
    code, out, _ = run("download", "t", "1", "--output", str(tmp_path / "one"), "--json")
    assert (code, json.loads(out)) == (0, {"file": str(tmp_path / "one" / "b/c")})
    assert files(tmp_path) == {"all/0/a.txt": TEXT, "all/1/b/c": b"1", "one/b/c": b"1"}


@pytest.mark.usefixtures("made")
def test_the_command_says_why_it_cannot(run: Any, server: FakeServer, made: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run("download", "t", "--output", str(tmp_path / "file"))
    assert (code, "file" in err) == (1, True)
    server.wrong_sha256.add(f"{made}/records/0/artifacts/a.txt")
    code, _, err = run("download", "t", "--output", str(tmp_path))
    assert (code, "checksum" in err) == (1, True)
    assert run("artifacts", "nothing")[0] == 1
    assert list((tmp_path / "0").iterdir()) == []
