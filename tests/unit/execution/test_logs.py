"""Does what a record wrote come to its log, whatever becomes of it and of its worker?"""

from __future__ import annotations

import logging
import os
import pathlib
import re

import pytest

from batchyard_server.execution.log_file import LogFile
from batchyard_server.model import limits
from batchyard_server.model.handler import Isolation
from batchyard_server.model.states import TaskState, WaitingReason
from tests.support import store as tasks
from tests.support.eventually import eventually_in_loop
from tests.unit.execution.yard import SECONDS, handler, yard

ACT = handler("act")
HEADER = r"== attempt (\d+) of generation (\d+)(?:, 20[-\d]+T[:.\d]+Z)?, ([A-Z]+) ==\n"


def sections(log: str) -> list[tuple[int, int, str, str]]:
    """(attempt, generation, state, text) of each section."""
    parts = re.split(HEADER, log)
    assert not parts[0]
    return [(int(parts[at]), int(parts[at + 1]), *parts[at + 2 : at + 4]) for at in range(1, len(parts), 4)]  # type: ignore[misc]


async def test_each_record_has_its_own(tmp_path: pathlib.Path) -> None:
    async with yard(tmp_path, ACT, slots=2) as made:
        task = await made.create([{"say": "I am"} if index % 5 else {} for index in range(1000)])
        assert (await made.final(task)).state is TaskState.SUCCEEDED
        page = await made.store.log_page(task.key, 0, 2000, 1 << 30)
        assert [index for index, _ in page.logs] == [index for index in range(1000) if index % 5]
        for index in range(1000):
            found = sections(await made.log(task, index))
            assert found == ([(1, 1, "SUCCEEDED", f"I am {index}.1\n")] if index % 5 else [])


async def test_records_that_the_server_fetches(tmp_path: pathlib.Path) -> None:
    """Their worker cannot send them, since a handler holds the interpreter; the flush brings them again."""
    async with yard(tmp_path, ACT) as made:
        task = await made.create([{"say": "quick"}, {"say": "quick"}, {"say": "slow", "stall": 1}, {"say": "last"}])
        await made.final(task)
        for index, word in enumerate(["quick", "quick", "slow", "last"]):
            assert sections(await made.log(task, index)) == [(1, 1, "SUCCEEDED", f"{word} {index}.1\n")]


@pytest.mark.parametrize("level", list(Isolation), ids=lambda level: level.name.lower())
async def test_a_crash_leaves_the_last_words(tmp_path: pathlib.Path, level: Isolation) -> None:
    async with yard(tmp_path, ACT, level=level) as made:
        task = await made.create([{"say": "before"}, {"say": "crashing", "crash": 2}, {"say": "after"}])
        assert (await made.final(task)).succeeded == 3
        first, second, third = sections(await made.log(task, 1))
        assert (first[:3], second[:3]) == ((1, 1, "CANCELLED"), (2, 1, "CANCELLED"))
        assert first[3].startswith("crashing 1.1\nFatal Python error: Segmentation fault\n")
        assert "real_handlers.py" in first[3]
        assert second[3].startswith("crashing 1.2\nFatal Python error: ")
        assert third == (3, 1, "SUCCEEDED", "crashing 1.3\n")
        for index, word in ((0, "before"), (2, "after")):
            assert sections(await made.log(task, index))[-1][2:] == ("SUCCEEDED", f"{word} {index}.1\n")


async def test_a_record_that_always_crashes(tmp_path: pathlib.Path) -> None:
    async with yard(tmp_path, ACT) as made:
        task = await made.create([{"say": "crashing", "crash": 9}, {}])
        assert (await made.final(task)).failed == 1
        found = sections(await made.log(task, 0))
        assert [each[:3] for each in found] == [(1, 1, "CANCELLED"), (2, 1, "CANCELLED"), (3, 1, "FAILED")]
        assert all(f"crashing 0.{n}\nFatal Python error" in each[3] for n, each in enumerate(found, 1))


@pytest.mark.parametrize("record", [{}, {"ignore": 1, "stray": 1}], ids=["plain", "stubborn"])
async def test_a_record_that_takes_too_long(tmp_path: pathlib.Path, record: dict[str, int]) -> None:
    async with yard(tmp_path, ACT) as made:
        task = await made.create(
            [{"say": "slow", "shell": "echo child", "hang": 1, **record}], record_timeout_us=300_000
        )
        assert (await made.final(task)).failed == 1
        assert sections(await made.log(task, 0)) == [(1, 1, "FAILED", "slow 0.1\nchild\n")]


async def test_a_cancelled_record(tmp_path: pathlib.Path) -> None:
    async with yard(tmp_path, ACT) as made:
        task = await made.create([{"say": "here", "hang": 1}, {"say": "never"}])
        await made.until_runs(task, 0)
        await made.store.update_task(task.name, tasks.cancel, None)
        assert (await made.final(task)).state is TaskState.CANCELLED
        assert sections(await made.log(task, 0)) == [(1, 1, "CANCELLED", "here 0.1\n")]
        assert await made.log(task, 1) == ""


async def test_every_retry_has_a_section(tmp_path: pathlib.Path) -> None:
    async with yard(tmp_path, ACT) as made:
        task = await made.create([{"say": "again", "fail": 2}, {"fail": 9}], retries=2)
        ended = await made.final(task)
        assert (ended.succeeded, ended.failed) == (1, 1)
        first, second, third = sections(await made.log(task, 0))
        for n, each in enumerate((first, second), 1):
            assert each[:3] == (n, 1, "FAILED")
            assert each[3].startswith(f"again 0.{n}\nTraceback (most recent call last):\n")
            assert each[3].endswith("ConnectionError: try again\n")
        assert third == (3, 1, "SUCCEEDED", "again 0.3\n")
        assert [each[:3] for each in sections(await made.log(task, 1))] == [(n, 1, "FAILED") for n in (1, 2, 3)]


async def test_a_reactivation_takes_the_place_of_what_was_before(tmp_path: pathlib.Path) -> None:
    async with yard(tmp_path, ACT) as made:
        task = await made.create([{"say": "one", "fail": 1}, {"say": "two"}])
        task = await made.final(task)
        await made.store.update_task(task.name, tasks.reactivate_all, None)
        await eventually_in_loop(lambda: made.now(task).generation == 2 and made.now(task).state.is_final, SECONDS)
        [first] = sections(await made.log(task, 0))
        assert first[:3] == (1, 2, "FAILED")
        assert sections(await made.log(task, 1)) == [(1, 2, "SUCCEEDED", "two 1.1\n")]


async def test_who_writes_without_end_fills_no_memory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    trim = LogFile.trim

    def note(self: LogFile, start: int) -> bool:
        seen.append(os.fstat(self.fd).st_blocks * 512)
        return trim(self, start)

    monkeypatch.setattr(LogFile, "trim", note)
    flood = "echo begins; yes 'and goes on' | head -c 600000000; echo ends"
    async with yard(tmp_path, ACT) as made:
        task = await made.create([{"say": "one", "shell": flood}, {"say": "two"}])
        assert (await made.final(task)).succeeded == 2
        [(_, _, _, text)] = sections(await made.log(task, 0))
        assert text.startswith("one 0.1\nbegins\nand goes on\n")
        assert text.endswith("and goes on\nends\n")
        assert "\0" not in text
        assert len(text) <= limits.LOG.maximum
        (missing,) = re.findall(r"\[\.\.\. (\d+) bytes are missing here \.\.\.\]", text)
        assert int(missing) > 599_000_000
        assert sections(await made.log(task, 1)) == [(1, 1, "SUCCEEDED", "two 1.1\n")]
    assert max(seen) < 250_000_000


async def test_a_load_that_fails_tells_the_operator_what_it_wrote(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    dies = handler("dies", "Dies")
    with caplog.at_level(logging.WARNING):
        async with yard(tmp_path, dies) as made:
            task = await made.create([{}], "dies")
            waiting = lambda: made.dispatcher.waiting(task.key) is WaitingReason.HANDLER_UNAVAILABLE  # noqa: E731
            await eventually_in_loop(waiting, SECONDS)
    assert "it wrote:\nthese are its last words" in caplog.text
