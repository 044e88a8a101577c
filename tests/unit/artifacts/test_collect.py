"""What of a folder, which a handler may have filled with anything, becomes an artifact? And is nothing else touched?"""

from __future__ import annotations

import errno
import hashlib
import os
import pathlib
import socket
from collections.abc import Callable, Iterator

import google_crc32c
import pytest

from batchyard_server.artifacts import collect
from batchyard_server.artifacts.protocols import Collection
from batchyard_server.model import limits
from batchyard_server.model.artifact import Folder, Stage, path_problem
from batchyard_server.model.errors import ResourceExhausted, Unavailable

STAGE = Stage(Folder(7, "uid"), "1-server-1")


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    made = tmp_path / "artifacts"
    made.mkdir()
    return made


@pytest.fixture
def record(root: pathlib.Path) -> pathlib.Path:
    """The folder of record 3."""
    made = root / str(STAGE.folder) / STAGE.name / "3"
    made.mkdir(parents=True)
    return made


def look(root: pathlib.Path, *indexes: int) -> Collection:
    return collect.collect(os.fsencode(root), STAGE, indexes or (3,))


def paths(found: Collection) -> list[str]:
    return [each.content.path for each in found.artifacts]


def warned(found: Collection) -> list[str]:
    assert {index for index, _ in found.warnings} <= {3}
    return [text for _, text in found.warnings]


def write(folder: pathlib.Path, *names: str, data: bytes = b"x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def test_files_are_described(root: pathlib.Path, record: pathlib.Path) -> None:
    data = os.urandom(3 * 1024 * 1024 + 5)
    write(record, "image.png", "empty", data=b"")
    write(record, "a/b/c.json", data=data)
    found = look(root)
    assert (warned(found), found.rest) == ([], False)
    assert sorted(paths(found)) == ["a/b/c.json", "empty", "image.png"]
    [big] = [each for each in found.artifacts if each.content.path == "a/b/c.json"]
    assert (big.index, big.stage, big.content.size) == (3, STAGE.name, len(data))
    assert big.content.sha256 == hashlib.sha256(data).digest()
    assert big.content.crc32c == google_crc32c.value(data)
    assert big.content.content_type == "application/json"
    [empty] = [each for each in found.artifacts if each.content.path == "empty"]
    assert (empty.content.size, empty.content.crc32c) == (0, 0)
    assert empty.content.sha256 == hashlib.sha256().digest()
    assert (record / "a/b/c.json").read_bytes() == data


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a.txt", "text/plain"),
        ("a/b.HTML", "text/html"),
        ("a.tar.gz", "application/gzip"),
        ("a.bz2", "application/x-bzip2"),
        ("a.Z", "application/octet-stream"),
        ("no-name", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
        ("http:x.png", "image/png"),
        (".txt", "application/octet-stream"),
    ],
)
def test_the_content_type_comes_from_the_name_alone(path: str, wanted: str) -> None:
    assert collect.content_type(path) == wanted


def test_nothing_was_left(root: pathlib.Path, record: pathlib.Path) -> None:
    for found, rest in (
        (look(root, 4), False),
        (look(root, 3), True),  # its folder
        (collect.collect(os.fsencode(root), Stage(STAGE.folder, "no"), [3]), False),
    ):
        assert (list(found.artifacts), list(found.warnings), found.rest) == ([], [], rest)


def test_links_are_not_followed(root: pathlib.Path, record: pathlib.Path, tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret"
    write(secret, "key")
    write(record, "good")
    (record / "file").symlink_to(secret / "key")
    (record / "folder").symlink_to(secret)
    (record / "up").symlink_to("..")
    (record / "nowhere").symlink_to("nowhere")
    found = look(root)
    assert paths(found) == ["good"]
    assert sorted(warned(found)) == [f"{name!r} is a symbolic link" for name in ("file", "folder", "nowhere", "up")]
    assert found.rest


def test_what_is_no_file_is_not_even_opened(
    root: pathlib.Path, record: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(record / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    here = pathlib.Path.cwd()
    os.chdir(record)
    try:
        listener.bind("socket")
    finally:
        os.chdir(here)
        listener.close()
    opened: list[str] = []
    monkeypatch.setattr(os, "open", _noting(os.open, opened))
    found = look(root)
    assert sorted(warned(found)) == ["'fifo' is a FIFO", "'socket' is a socket"]
    assert {"fifo", "socket"} & set(opened) == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="devices are made by root alone")
def test_a_device_is_not_even_opened(root: pathlib.Path, record: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        os.mknod(record / "device", 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    opened: list[str] = []
    monkeypatch.setattr(os, "open", _noting(os.open, opened))
    assert warned(look(root)) == ["'device' is a device"]
    assert "device" not in opened


def _noting(call: Callable[..., int], names: list[str]) -> Callable[..., int]:
    def noting(name: str, *arguments: int, **options: int) -> int:
        names.append(name)
        return call(name, *arguments, **options)

    return noting


def test_a_file_with_another_name_is_left_out(root: pathlib.Path, record: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write(tmp_path, "elsewhere")
    (record / "linked").hardlink_to(tmp_path / "elsewhere")
    assert warned(look(root)) == ["'linked' has another name (a hard link)"]


def test_names_that_are_no_paths(root: pathlib.Path, record: pathlib.Path) -> None:
    write(record, ".batchyard/log.txt", "line\nbreak", "tab\t", "delete\x7f", "next\x85", "good name: 100 %")
    (pathlib.Path(os.fsdecode(os.fsencode(record) + b"/not-utf8-\xff"))).write_bytes(b"")
    deep = "/".join(["d" * 200] * 5)
    write(record, f"{deep}/{'x' * 19}", f"{deep}/{'x' * 20}")
    found = look(root)
    assert paths(found) == ["good name: 100 %", f"{deep}/{'x' * 19}"]
    texts = warned(found)
    assert len(texts) == 7
    assert "'.batchyard' is the server's own name" in texts
    assert any("not-utf8" in text and text.endswith("is not UTF-8") for text in texts)
    assert sum(text.endswith("has a control character") for text in texts) == 4
    assert sum(text.endswith("must have 1 to 1024 bytes") for text in texts) == 1


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("a", False),
        ("a/b/c", False),
        ("...", False),
        (".batchyard/log.txt", False),
        ("x" * 255, False),
        ("ä" * 127, False),
        ("/".join(["x" * 204] * 5), False),
        ("", True),
        ("/a", True),
        ("a/", True),
        ("a//b", True),
        (".", True),
        ("a/..", True),
        ("../a", True),
        ("a/./b", True),
        ("x" * 256, True),
        ("ä" * 128, True),
        ("/".join(["x" * 204] * 5) + "x", True),
        ("a\0", True),
        ("a\nb", True),
        ("\x85", True),
        ("\udcff", True),
    ],
)
def test_what_a_path_is(path: str, problem: bool) -> None:
    assert bool(path_problem(path)) is problem


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_too_many_files(root: pathlib.Path, record: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARTIFACT_FILES", 30)
    write(record, *(f"{i:03}" for i in range(60)))
    found = look(root)
    assert paths(found) == [f"{i:03}" for i in range(30)]
    assert len(warned(found)) == collect.MOST_WARNINGS + 1
    assert warned(found)[0] == "'030' the record has more than 30 files"
    assert warned(found)[-1] == "and 10 more"


def test_too_many_entries(root: pathlib.Path, record: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARTIFACT_ENTRIES", 10)
    write(record, *(f"folder{i}/file" for i in range(20)))
    found = look(root)
    assert len(paths(found)) < 10
    assert any("more than 10 entries" in text for text in warned(found))
    assert found.rest


def test_a_file_that_is_too_large(root: pathlib.Path, record: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARTIFACT_BYTES", 10)
    write(record, "right", data=bytes(10))
    write(record, "more", data=bytes(11))
    found = look(root)
    assert (paths(found), warned(found)) == (["right"], ["'more' has more than 10 bytes"])


def test_files_that_are_too_large_together(
    root: pathlib.Path, record: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ARTIFACTS_BYTES", 10)
    write(record, "a", "b", data=bytes(6))
    write(record, "c", data=bytes(4))
    found = look(root)
    assert (paths(found), warned(found)) == (["a", "c"], ["'b' the files of the record have more than 10 bytes"])


# -- races and troubles -----------------------------------------------------------------------------------------------


def test_a_file_that_is_written_to_while_it_is_read(
    root: pathlib.Path, record: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(record, "grows")
    read = os.read

    def reading(file: int, size: int) -> bytes:
        with (record / "grows").open("ab") as more:
            more.write(b"more")
        return read(file, size)

    monkeypatch.setattr(os, "read", reading)
    assert warned(look(root)) == ["'grows' was written to while it was read"]


def test_a_file_that_becomes_a_link_before_it_is_opened(
    root: pathlib.Path, record: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "secret")
    for exchange in (_by_link, _by_file):
        write(record, "file")
        monkeypatch.setattr(os, "open", _exchanging(record / "file", tmp_path / "secret", exchange))
        found = look(root)
        monkeypatch.undo()
        assert found.artifacts == []
        assert len(warned(found)) == 1
        (record / "file").unlink()


def _by_link(file: pathlib.Path, secret: pathlib.Path) -> None:
    file.unlink()
    file.symlink_to(secret)


def _by_file(file: pathlib.Path, secret: pathlib.Path) -> None:
    new = file.with_name("new")
    new.write_bytes(secret.read_bytes())
    new.rename(file)


def _exchanging(
    file: pathlib.Path, secret: pathlib.Path, exchange: Callable[[pathlib.Path, pathlib.Path], None]
) -> Callable[..., int]:
    """An `os.open` before which somebody was quicker."""
    original = os.open

    def opening(name: str, *arguments: int, **options: int) -> int:
        if name == file.name:
            exchange(file, secret)
        return original(name, *arguments, **options)

    return opening


def test_the_folder_itself_is_a_link(root: pathlib.Path, record: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write(tmp_path / "secret", "key")
    record.rmdir()
    record.symlink_to(tmp_path / "secret")
    found = look(root)
    assert found.artifacts == []
    assert len(warned(found)) == 1
    assert found.rest


def test_the_folder_of_the_task_is_a_link(root: pathlib.Path, record: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write(record, "file")
    (root / str(STAGE.folder)).rename(tmp_path / "moved")
    (root / str(STAGE.folder)).symlink_to(tmp_path / "moved")
    found = look(root)
    assert found.artifacts == ()
    assert len(warned(found)) == 1


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Let fsync fail with this error."""

    def fail(number: int) -> None:
        def fsync(_file: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)

    yield fail
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, ResourceExhausted), (errno.EDQUOT, ResourceExhausted), (errno.EMFILE, Unavailable)],
)
def test_what_the_server_lacks_is_tried_again(
    root: pathlib.Path, record: pathlib.Path, failing: Callable[[int], None], number: int, error: type[Exception]
) -> None:
    write(record, "file")
    failing(number)
    with pytest.raises(error):
        look(root)


def test_what_cannot_be_made_durable_is_left_out(
    root: pathlib.Path, record: pathlib.Path, failing: Callable[[int], None]
) -> None:
    write(record, "file")
    failing(errno.EIO)
    found = look(root)
    assert (paths(found), warned(found)) == ([], [f"'file' {os.strerror(errno.EIO)}"])


def test_every_file_and_every_folder_up_to_the_root_is_made_durable(
    root: pathlib.Path, record: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(record, "a/b/file")
    synced: list[pathlib.Path] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(pathlib.Path(f"/proc/self/fd/{file}").readlink()))
    look(root)
    ways = [record / "a/b/file", record / "a/b", record / "a", record, *record.parents[:3]]
    assert synced == ways
    assert ways[-1] == root
