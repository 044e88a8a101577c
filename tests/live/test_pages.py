"""How large is a page? By the bytes on the wire: 384 KiB in a stream, 3.5 MiB in a list, or one record alone."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from batchyard import Client
from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskInfo
from batchyard.v1.record_pb2 import RecordInfo
from tests.live.served import PARENT, Live, living, segments
from tests.support import footprint
from tests.support.eventually import eventually
from tests.support.server import SECONDS

KIB = 1024
STREAM, UNARY = 384 * KIB, 3584 * KIB
LARGEST = 1024 * KIB - 64
_SERVICE = "/batchyard.v1.BatchTaskService/"


class Task(NamedTuple):
    """A finished task whose records and outputs have all sizes."""

    live: Live
    name: str
    sizes: list[int]


def sizes() -> list[int]:
    """Of outputs: many small, whole runs of large ones, and what fits a page just so."""
    chance = random.Random(3)
    small = [chance.randint(0, 400) for _ in range(1500)]
    medium = [chance.randint(20 * KIB, 130 * KIB) for _ in range(60)]
    exact = [STREAM - less for less in (0, 1, 64, 100, 128, 150, 200, 256, 300)]
    halves = [STREAM // 2 - less for less in range(90, 260, 5) for _ in range(2)]
    return small[:700] + [LARGEST] * 5 + medium + exact + halves + small[700:] + [LARGEST, 0, LARGEST, 1]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    with living(tmp_path_factory.mktemp("pages")) as live, Client(live.server.target) as client:
        wanted = sizes()
        large = dict.fromkeys((3, 4, 800, 1565), LARGEST - 64)
        records = ({"size": size, "pad": "y" * large.get(at, at % 50)} for at, size in enumerate(wanted))
        operation = client.batch.run("noted", records)
        assert operation.wait(poll_timeout=SECONDS).counts.succeeded == len(wanted)
        yield Task(live, operation.task_name, wanted)


def check(task: Task, pages: list[tuple[int, list[RecordInfo]]], bound: int, view: RecordInfo.View) -> None:
    """Every record once, no page over its bound, and none much smaller than it could be."""
    records = [record for _, part in pages for record in part]
    assert sorted(each.index for each in records) == list(range(len(task.sizes)))
    for record in records:
        assert len(record.output.text) == task.sizes[record.index]
        assert record.HasField("input") == (view == RecordInfo.FULL)
    over = [(size, len(part)) for size, part in pages if size > bound and len(part) > 1]
    assert over == [], f"(bytes, records) of pages over {bound} bytes"


@pytest.mark.parametrize("view", [RecordInfo.BASIC, RecordInfo.FULL], ids=RecordInfo.View.Name)
@pytest.mark.parametrize("order", [RecordInfo.INDEX, RecordInfo.COMPLETION], ids=RecordInfo.Order.Name)
@pytest.mark.parametrize("page_size", [0, 1000, 50])
def test_streamed_pages(task: Task, order: RecordInfo.Order, view: RecordInfo.View, page_size: int) -> None:
    stream = task.live.channel.unary_stream(_SERVICE + "StreamRecords")
    request = service.StreamRecordsRequest(parent=task.name, order=order, view=view, page_size=page_size)
    raws = list(stream(request.SerializeToString(), timeout=SECONDS))
    pages = [(len(raw), list(service.StreamRecordsResponse.FromString(raw).records)) for raw in raws]
    check(task, pages, STREAM, view)


@pytest.mark.parametrize("view", [RecordInfo.BASIC, RecordInfo.FULL], ids=RecordInfo.View.Name)
@pytest.mark.parametrize("order", [RecordInfo.INDEX, RecordInfo.COMPLETION], ids=RecordInfo.Order.Name)
def test_listed_pages(task: Task, order: RecordInfo.Order, view: RecordInfo.View) -> None:
    call = task.live.channel.unary_unary(_SERVICE + "ListRecords")
    pages: list[tuple[int, list[RecordInfo]]] = []
    token = ""
    while True:
        request = service.ListRecordsRequest(parent=task.name, order=order, view=view, page_size=1000, page_token=token)
        raw = call(request.SerializeToString(), timeout=SECONDS)
        page = service.ListRecordsResponse.FromString(raw)
        pages.append((len(raw), list(page.records)))
        token = page.next_page_token
        if not token:
            break
    check(task, pages, UNARY, view)


def test_pages_of_tasks_that_wait(tmp_path: pathlib.Path) -> None:
    """What is added to a task when it is read counts too."""
    with living(tmp_path, "--drain-timeout", "0s", workers=1) as live:
        live.submit([{"gate": "never"}])
        names = [live.submit([{}]) for _ in range(1200)]
        stream = live.channel.unary_stream(_SERVICE + "StreamBatchTasks")
        raws = list(stream(service.StreamBatchTasksRequest(parent=PARENT).SerializeToString(), timeout=SECONDS))
        pages = [service.StreamBatchTasksResponse.FromString(raw).batch_tasks for raw in raws]
        assert {each.name for page in pages for each in page} >= set(names)
        assert {each.waiting_reason for page in pages for each in page if each.name in set(names[1:])} == {
            BatchTaskInfo.NO_SLOT
        }
        assert max(map(len, raws)) > STREAM // 4
        assert max(map(len, raws)) <= STREAM


def test_the_inputs_of_small_outcomes_are_read_by_the_page(tmp_path: pathlib.Path) -> None:
    """Outcomes of a few bytes are merged into one segment; their inputs, read with them, may be large."""
    chance = random.Random(7)
    with living(tmp_path) as live, Client(live.server.target) as client:
        task = client.batch.run("noted", ({"pad": chance.randbytes(400 * KIB).hex()} for _ in range(100)))
        task.wait(poll_timeout=SECONDS)
        eventually(lambda: segments(tmp_path / "data") < 20, what="the segments are merged")
        before = footprint.forget_peak(live.pid)
        assert sum(len(page.records) for page in task.pages(order="completion", view="full")) == 100
        assert footprint.peak(live.pid) - before < 32 * footprint.MB
