"""Where may a record leave files, and is the server told of exactly those that may have?"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from batchyard_worker import Context
from batchyard_worker.command_kind import CommandHandler
from batchyard_worker.context import Common
from batchyard_worker.stage import Stage
from batchyard_worker.v1 import worker_pb2
from tests.support.artifacts import tree
from tests.support.eventually import eventually
from tests.unit.worker.fake_server import FakeServer, page
from tests.unit.worker.test_errors import read

Start = Callable[..., FakeServer]


@pytest.fixture
def base(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "task" / "stage"


def ran(
    server: FakeServer, base: pathlib.Path, records: Sequence[Any], **fields: Any
) -> tuple[list[int], list[worker_pb2.RecordInfo]]:
    """The indexes that may have left files, and the outcomes."""
    server.run(1, records, artifacts_dir=os.fsencode(base), **fields)
    staged: list[int] = []
    outcomes: list[worker_pb2.RecordInfo] = []
    while True:
        flush = server.receive("outcomes")
        server.ack(flush.flush)
        staged += flush.staged
        outcomes += page(flush)
        if flush.last:
            return staged, outcomes


def test_those_that_asked_for_a_folder_are_told(start: Start, base: pathlib.Path) -> None:
    records = ["f" if index % 7 == 0 else None for index in range(2000)]
    staged, outcomes = ran(start("leave"), base, records, first=40)
    assert staged == [index for index in range(40, 2040) if (index - 40) % 7 == 0]
    assert [each.output.text for each in outcomes if each.HasField("output")] == [
        str(base / str(index)) for index in staged
    ]
    assert all((base / str(index) / "f").exists() for index in staged)
    assert len(list(base.iterdir())) == len(staged)


def test_nothing_is_made_for_those_that_did_not(start: Start, base: pathlib.Path) -> None:
    assert ran(start("leave"), base, [None] * 100)[0] == []
    assert not base.parent.exists()


def test_a_record_that_runs_is_not_told_of_yet(start: Start, base: pathlib.Path, tmp_path: pathlib.Path) -> None:
    server = start("wait_after_asking")
    gate = tmp_path / "gate"
    server.run(1, ["", str(gate)], artifacts_dir=os.fsencode(base))
    first = server.receive("outcomes")  # sent by the watcher while the second one runs
    assert (list(first.ranges), list(first.staged), first.last) == ([0, 1], [0], False)
    eventually((base / "1" / "asked").exists, 20, "the second record has its folder")
    gate.touch()
    second = server.receive("outcomes")
    assert (list(second.ranges), list(second.staged)) == ([1, 2], [1])


def test_what_goes_on_after_its_record_is_told_of_no_more(start: Start, base: pathlib.Path) -> None:
    staged, _ = ran(start("leave_late"), base, [1, 2, 3], budget_millis=0)
    assert staged in ([], [0]), "only if its outcome was still on its way"
    assert (base / "0" / "late").exists()


def test_a_subtask_without_a_folder_has_none(start: Start) -> None:
    server = start("leave")
    outcome = server.one("f")
    info = read(outcome.error.SerializeToString())[1]
    assert info.reason == "HANDLER_EXCEPTION"
    assert "artifacts can be left only by a record that a worker runs" in outcome.error.message


def test_a_context_of_no_worker_has_no_folder() -> None:
    with pytest.raises(RuntimeError, match="only by a record that a worker runs"):
        _ = Context(0, "", 1, 1).artifacts_dir


# -- the folders ------------------------------------------------------------------------------------------------------


def test_a_folder_is_made_and_noted_once(base: pathlib.Path) -> None:
    stage = Stage(os.fsencode(base))
    assert not base.exists()
    assert stage.directory(3) == stage.directory(3) == base / "3"
    stage.directory(5)
    assert stage.used == [3, 5]
    assert (base / "3").stat().st_mode & 0o777 == 0o700
    stage.close()
    assert tree(base) == ["3", "5"]


def test_a_folder_above_may_vanish_at_any_time(base: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir, vanished = os.mkdir, []

    def vanishing(path: Any, mode: int = 0o777) -> None:
        if pathlib.Path(path).name == "3" and base.exists() and len(vanished) < 3:
            vanished.append(path)
            base.rmdir()
            base.parent.rmdir()
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", vanishing)
    assert Stage(os.fsencode(base)).directory(3).is_dir()
    assert len(vanished) == 3


def test_a_name_that_is_not_unicode(tmp_path: pathlib.Path) -> None:
    base = os.fsencode(tmp_path) + b"/\xff"
    assert os.fsencode(Stage(base).directory(1)) == base + b"/1"


# -- commands ---------------------------------------------------------------------------------------------------------


def command(base: pathlib.Path, *argv: str, record: str = "1") -> tuple[Any, Stage]:
    """How it ended, and its stage."""
    handler = CommandHandler(worker_pb2.Load(kind="command", argv=argv))
    execute, _ = handler.prepare(b"", b"")
    stage = Stage(os.fsencode(base))
    return execute(worker_pb2.Payload(text=record), Context(4, "", 1, 1, Common(None, stage))), stage


def test_a_command_finds_its_folder_in_the_environment_and_by_placeholder(base: pathlib.Path) -> None:
    ended, stage = command(
        base, "sh", "-c", 'test "$BATCHYARD_ARTIFACTS_DIR" = "$0" && touch "$0/f"', "{artifacts_dir}"
    )
    assert (ended.error, stage.used) == (None, [4])
    assert tree(base) == ["4", "4/f"]


def test_the_placeholder_needs_no_object_and_no_record_can_take_its_place(base: pathlib.Path) -> None:
    for record in ("1", "[1]", '{"artifacts_dir": "/tmp"}'):
        ended, _ = command(base, "sh", "-c", 'printf %s "$0"', "{artifacts_dir}", record=record)
        assert worker_pb2.Payload.FromString(ended.output).text == str(base / "4")


@pytest.mark.parametrize("argv", [("true",), ("false",), ("rmdir", "{artifacts_dir}"), ("cat", "{no}")])
def test_a_command_that_leaves_nothing_leaves_no_folder(base: pathlib.Path, argv: tuple[str, ...]) -> None:
    _, stage = command(base, *argv)
    stage.close()
    assert stage.used == []
    assert not base.exists()


def test_a_command_that_exchanges_its_folder_is_told_of(base: pathlib.Path) -> None:
    _, stage = command(base, "sh", "-c", 'rmdir "$0" && touch "$0"', "{artifacts_dir}")
    assert stage.used == [4]


def test_a_command_without_a_folder_fails(base: pathlib.Path) -> None:
    base.parent.mkdir()
    base.touch()
    ended, stage = command(base, "true")
    status, info, _ = read(ended.error)
    assert (info.reason, status.code, stage.used) == ("COMMAND_NOT_STARTED", 8, [])
    assert "no folder for its artifacts" in status.message
