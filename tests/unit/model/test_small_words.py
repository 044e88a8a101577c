"""Clock, ids, failpoints and names."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid

import pytest

from batchyard_server.model import names
from batchyard_server.model.clock import SystemClock, SystemRandomness, uuid7, uuid7s
from batchyard_server.model.errors import InvalidArgument
from batchyard_server.model.failpoints import OFF, POINTS, Failpoints, Injected
from tests.support.clock import FakeClock, SeededRandomness


def test_a_uuid7_is_one_and_sorts_by_time() -> None:
    clock, randomness = FakeClock(), SeededRandomness()
    made: list[str] = []
    for _ in range(50):
        made.append(uuid7(clock, randomness))
        clock.advance(0.001)
    assert made == sorted(made)
    for text in made:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)
    assert int(made[0].replace("-", "")[:12], 16) == FakeClock().now_us() // 1000


def test_many_uuid7s_of_one_moment() -> None:
    made = uuid7s(FakeClock(), SeededRandomness(), 1000)
    assert len(set(made)) == 1000
    for text in made:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)
        assert parsed.int >> 80 == FakeClock().now_us() // 1000
    assert {text[19] for text in made} == set("89ab")
    assert uuid7s(FakeClock(), SeededRandomness(), 0) == []


def test_the_systems_clocks_go_on() -> None:
    clock = SystemClock()
    assert clock.monotonic_ns() <= clock.monotonic_ns()
    assert clock.now_us() > 1_700_000_000_000_000


def test_randomness_is_random_but_seeded_where_asked() -> None:
    assert SystemRandomness().bytes(32) != SystemRandomness().bytes(32)
    assert SeededRandomness(1).bytes(8) == SeededRandomness(1).bytes(8)
    assert 2 <= SystemRandomness().uniform(2, 3) <= 3


def test_failpoints_do_nothing_unless_armed() -> None:
    for point in POINTS:
        OFF.hit(point)
    armed = Failpoints("store.merge=disk_full@2, store.sweep=error")
    armed.hit("store.merge")
    with pytest.raises(Injected) as caught:
        armed.hit("store.merge")
    assert caught.value.kind == "disk_full"
    armed.hit("store.merge")
    for _ in range(2):
        with pytest.raises(Injected):
            armed.hit("store.sweep")


@pytest.mark.parametrize("spec", ["store.merge", "store.merge=explode", "nowhere=kill"])
def test_unknown_failpoints_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="failpoint"):
        Failpoints(spec)


def test_a_failpoint_kills_its_process() -> None:
    code = "from batchyard_server.model.failpoints import Failpoints as F; F('store.merge=kill').hit('store.merge')"
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (names.parse_project, "projects/p"),
        (names.parse_task, "projects/p-1/batchTasks/T_x"),
        (names.parse_record, "projects/p/batchTasks/t/records/0"),
        (names.parse_record, "projects/p/batchTasks/t/records/99"),
        (names.parse_handler, "projects/p/handlers/h"),
        (names.parse_operation, "projects/p/operations/o"),
    ],
)
def test_names_are_read_and_written(parse: object, text: str) -> None:
    parsed = parse(text)  # type: ignore[operator]
    assert text in (str(parsed), f"projects/{parsed}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "projects/",
        "projects/p/batchTasks",
        "projects/p/batchTasks/",
        "projects/p/batchTasks/a b",
        "projects/p/batchTasks/" + "x" * 65,
        "projects/p/batchTasks/t/records/1",
        "/projects/p/batchTasks/t",
        "projects/p/batchTasks/t\n",
        "projects/ü/batchTasks/t",
    ],
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        names.parse_task(text, "some.field")
    assert caught.value.field == "some.field"


@pytest.mark.parametrize("index", ["-1", "01", "1e3", "", "9999999999999999999"])
def test_other_record_indexes_are_refused(index: str) -> None:
    with pytest.raises(InvalidArgument):
        names.parse_record(f"projects/p/batchTasks/t/records/{index}")
