"""Does a batch of `batchyard.service` tell what became of it: its state, outcomes by index, files?"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.rpc import code_pb2, status_pb2

import batchyard
from batchyard import BatchTaskState, Client, RecordState
from batchyard._service_reading import Outcomes
from batchyard.service import Batch, BatchResponse, Service, ServiceResponse
from tests.client.fake_server import FakeServer
from tests.seeds.batches import ended, name_of
from tests.support.eventually import eventually
from tests.support.server import SECONDS, Process

pytestmark = pytest.mark.xdist_group("seed 002")


# -- results ----------------------------------------------------------------------------------------------------------


def test_a_batch_from_start_to_end(service: Service, project: str) -> None:
    batch = service.batch([{"value": 10}, {"value": [2]}, {"say": "hällo"}], parallel_count=2).start()
    response = ended(batch)
    assert isinstance(response, BatchResponse)
    assert response.api == batch.api == service.api == f"projects/{project}/handlers/filing"
    assert (response.state, response.task_state) == ("Complete", BatchTaskState.SUCCEEDED)
    assert (response.completed_item_count, response.total_item_count) == (3, 3)
    assert response.execution_id == batch.execution_id == response.info.task_id
    assert response.info.parallel_count == 2
    first = response.execution(0)
    assert isinstance(first, ServiceResponse)
    assert (first.api, first.state, first.error, first.console_output) == (batch.api, "Complete", "", "")
    assert first.outputs == first.raw_outputs == {"value": 10}
    assert first.output("value") == first.output(output="value") == 10
    assert [response.execution(index).output("value") for index in (2, 1, 0)] == [None, [2], 10]
    with pytest.raises(KeyError):
        first.output("other")
    assert response.execution(2).console_output.endswith("INFO hällo\n")
    for index in (-1, 3):
        with pytest.raises(IndexError):
            response.execution(index)
    assert repr(response) == f"<BatchResponse {batch.execution_id} Complete 3/3>"
    assert repr(first) == "<ServiceResponse 0 Complete>"
    final = batch.results(show_partial_results=False)
    assert final is not None
    assert final.execution(1).outputs == {"value": [2]}


def test_partial_results(service: Service, gate: pathlib.Path) -> None:
    batch = service.batch([{"value": 0}, {"value": 1, "hold": str(gate)}, {"value": 2}]).start()

    def first_only() -> BatchResponse | None:
        now = batch.results()
        return now if now is not None and now.completed_item_count else None

    partial = eventually(first_only, SECONDS)
    assert (partial.state, partial.completed_item_count, partial.total_item_count) == ("Pending", 1, 3)
    assert partial.task_state is BatchTaskState.RUNNING
    assert [partial.execution(index).state for index in (2, 1, 0)] == ["Pending", "Pending", "Complete"]
    unfinished = partial.execution(1)
    assert (unfinished.outputs, unfinished.error, unfinished.record.state.is_final) == (None, "", False)
    assert partial.execution(0).outputs == {"value": 0}

    counts = batch.results(show_partial_results=False)
    assert counts is not None
    assert (counts.state, counts.completed_item_count, counts.total_item_count) == ("Pending", 1, 3)
    with pytest.raises(ValueError, match="partial results"):
        counts.execution(0)
    with pytest.raises(IndexError):
        counts.execution(3)

    gate.touch()
    assert ended(batch).execution(1).outputs == {"value": 1}
    assert partial.execution(1).outputs == {"value": 1}  # asked for again, as it had not ended


def test_a_record_that_failed_says_so(service: Service) -> None:
    response = ended(service.batch([{"value": 1}, {"fail": "no good"}]).start())
    assert (response.state, response.completed_item_count) == ("Complete", 2)
    failed = response.execution(1)
    assert (failed.state, failed.error, failed.outputs) == ("Failed", "no good", None)
    assert isinstance(failed.record.error, batchyard.HandlerRecordError)
    with pytest.raises(KeyError):
        failed.output("value")
    assert response.execution(0).error == ""


def test_a_batch_that_failed_says_so(service: Service) -> None:
    response = ended(service.batch([{"fail": "a"}, {"fail": "b"}]).start())
    assert (response.state, response.task_state) == ("Failed", BatchTaskState.FAILED)
    assert response.info.error is not None
    assert [response.execution(index).error for index in (0, 1)] == ["a", "b"]


def test_a_batch_is_cancelled(service: Service, gate: pathlib.Path) -> None:
    batch = service.batch([{"value": 0}, {"hold": str(gate)}, {}]).start()
    eventually(lambda: batch.results().completed_item_count, SECONDS)
    assert batch.cancel() is batch
    response = ended(batch)
    assert (response.state, response.task_state) == ("Failed", BatchTaskState.CANCELLED)
    assert (response.completed_item_count, response.total_item_count) == (1, 3)
    assert response.execution(0).outputs == {"value": 0}
    assert [(response.execution(index).state, response.execution(index).error) for index in (1, 2)] == [
        ("Failed", "cancelled before it ended")
    ] * 2
    assert batch.cancel().execution_id == response.execution_id


@pytest.mark.parametrize("page", [1, 500])
def test_a_reactivated_batch_keeps_its_id(service: Service, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr("batchyard._service_reading._PAGE_RECORDS", page)
    batch = service.batch([{"value": 0}, {"value": 1, "until": 2}]).start()
    before = ended(batch)
    execution_id = batch.execution_id
    assert execution_id is not None
    service.client.batch.reactivate(execution_id).wait(poll_timeout=SECONDS)
    after = ended(batch)
    assert (batch.execution_id, after.execution_id) == (execution_id, execution_id)
    assert (after.state, after.execution(1).outputs) == ("Complete", {"value": 1})
    assert before.execution(1).error == "not yet"  # a response stays that of its generation
    assert before.execution(0).outputs == {"value": 0}


def test_what_is_cancelled_is_the_generation_that_runs(service: Service, gate: pathlib.Path) -> None:
    gate.touch()
    batch = service.batch([{"hold": str(gate), "until": 3}]).start()
    first = ended(batch)
    assert (first.task_state, first.execution(0).error) == (BatchTaskState.FAILED, "not yet")
    gate.unlink()
    service.client.batch.reactivate(first.execution_id)
    assert ended(batch.cancel()).task_state is BatchTaskState.CANCELLED


def test_an_index_is_always_the_same_record(fake: Service, server: FakeServer) -> None:
    batch = fake.batch(["a", "b", "c"]).start()
    name = name_of(batch)
    server.complete(name, 2, server.tasks[name].inputs[2].payload)
    response = batch.results()
    assert response is not None
    assert [response.execution(index).outputs for index in range(3)] == [None, None, "c"]
    server.complete(name, 0, error=status_pb2.Status(code=3, message="bad"))
    assert [response.execution(index).error for index in range(3)] == ["bad", "", ""]


# -- how outcomes are read --------------------------------------------------------------------------------------------


@pytest.fixture
def many(fake: Service, server: FakeServer) -> Batch:
    """A batch of 2000 records that has ended."""
    batch = fake.batch(list(range(2000))).start()
    server.echo(name_of(batch))
    server.calls.clear()
    return batch


def test_nothing_is_read_before_it_is_asked_for(many: Batch, server: FakeServer) -> None:
    response = many.results()
    assert response is not None
    assert dict(server.calls) == {"GetBatchTask": 1}
    assert response.execution(1700).outputs == 1700
    assert dict(server.calls) == {"GetBatchTask": 1, "GetRecord": 1}
    assert [response.execution(index).outputs for index in range(2000)] == list(range(2000))
    assert [response.execution(index).outputs for index in reversed(range(2000))] == list(range(2000))[::-1]
    assert dict(server.calls) == {"GetBatchTask": 1, "GetRecord": 1, "StreamRecords": 1}


def test_what_is_kept_is_bounded(many: Batch, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchyard._service_reading._KEPT_BYTES", 50_000)
    response = many.results()
    assert response is not None
    for index in (1200, *range(2000)):
        assert response.execution(index).outputs == index
    outcomes = response._outcomes
    assert isinstance(outcomes, Outcomes)
    assert 0 < outcomes._bytes <= 50_000
    assert sum(record.message.ByteSize() for record in outcomes._read.values()) == outcomes._bytes
    assert response.execution(3).outputs == 3
    assert server.calls["GetRecord"] == 2


def test_an_error_in_between_is_gone_on_from(many: Batch, server: FakeServer) -> None:
    server.stream_cuts.append(1)
    response = many.results()
    assert response is not None
    assert response.execution(0).outputs == 0
    server.fail_next("StreamRecords", code_pb2.INTERNAL)
    with pytest.raises(batchyard.InternalError):
        response.execution(500)
    assert [response.execution(index).outputs for index in range(2000)] == list(range(2000))
    assert server.last["StreamRecords"].resume_token == "500"
    assert (server.calls["StreamRecords"], server.calls["GetRecord"]) == (3, 0)


def test_a_response_is_shared_by_threads(many: Batch, server: FakeServer) -> None:
    response = many.results()
    assert response is not None
    with ThreadPoolExecutor(8) as pool:
        assert [each.outputs for each in pool.map(response.execution, range(2000))] == list(range(2000))
    assert server.calls["StreamRecords"] == 1


def test_what_has_not_ended_is_asked_for_again(fake: Service, server: FakeServer) -> None:
    batch = fake.batch(["a", "b"]).start()
    response = batch.results()
    assert response is not None
    assert response.execution(1).record.state is RecordState.PENDING
    name = name_of(batch)
    server.complete(name, 1, server.tasks[name].inputs[1].payload)
    assert response.execution(1).outputs == "b"
    assert response.execution(1).outputs == "b"
    assert (server.calls["StreamRecords"], server.calls["GetRecord"]) == (1, 1)


def test_what_has_ended_stays_so(fake: Service, server: FakeServer) -> None:
    batch = fake.batch(list(range(1200))).start()
    response = batch.results()
    assert response is not None
    assert response.execution(0).state == "Pending"  # all pages are on their way by now
    name = name_of(batch)
    server.complete(name, 1100, server.tasks[name].inputs[1100].payload)
    assert response.execution(1100).outputs == 1100
    assert [index for index in range(1200) if response.execution(index).state == "Complete"] == [1100]


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filed(real: Process) -> Iterator[Batch]:
    """A batch that has ended; records 0 and 1 left files of the same names, all wrote logs."""
    files = [{"a.txt": "zero", "only0": "0"}, {"a.txt": "öne", "a.txt.bak": "old", "deep/b": "b"}, {}]
    with Client(real.target, project="filed") as client:
        batch = Service(client, "filing").batch([{"files": each, "say": "done"} for each in files]).start()
        ended(batch)
        yield batch


def test_files_are_listed_and_read(filed: Batch) -> None:
    assert [filed.list_artifacts(index) for index in range(3)] == [
        ["a.txt", "only0"],
        ["a.txt", "a.txt.bak", "deep/b"],
        [],
    ]
    assert filed.list_artifacts(index=0) == ["a.txt", "only0"]
    assert filed.artifact(index=1, file_name="a.txt") == "öne".encode()
    assert filed.artifact(0, "a.txt") == b"zero"
    assert filed.artifact(1, "deep/b") == b"b"
    with pytest.raises(batchyard.NotFoundError):
        filed.artifact(2, "a.txt")
    with pytest.raises(batchyard.NotFoundError):
        filed.list_artifacts(3)


def test_files_of_a_response(filed: Batch) -> None:
    response = filed.results()
    assert response is not None
    execution = response.execution(1)
    assert list(execution.artifacts) == ["a.txt", "a.txt.bak", "deep/b"]
    assert (len(execution.artifacts), "a.txt" in execution.artifacts, "x" in execution.artifacts) == (3, True, False)
    assert execution.artifacts["a.txt"] == execution.artifact("a.txt") == "öne".encode()
    assert execution.artifact(artifact_name="a.txt", encoding="utf-8") == "öne"
    assert execution.artifact("a.txt", decode=False) == "w7ZuZQ=="
    for name in ("only0", ".batchyard/log.txt"):
        with pytest.raises(KeyError):
            execution.artifact(name)
    with pytest.raises(ValueError, match="encoding"):
        execution.artifact("a.txt", decode=False, encoding="utf-8")
    with pytest.raises(UnicodeDecodeError):
        execution.artifact("a.txt", encoding="ascii")
    assert repr(execution.artifacts) == "<Artifacts of record 1>"
    assert execution.console_output.endswith("INFO done\n")


def test_all_files_of_an_index_are_downloaded(filed: Batch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("before")
    paths = filed.download(1, destination=tmp_path)
    assert paths == [str(tmp_path / name) for name in ("a.txt", "a.txt.bak", "deep/b")]
    assert [pathlib.Path(path).read_text() for path in paths] == ["öne", "old", "b"]
    assert filed.download(2, destination=str(tmp_path)) == []
    assert len([each for each in tmp_path.rglob("*") if each.is_file()]) == 3


def test_one_file_is_downloaded(filed: Batch, tmp_path: pathlib.Path) -> None:
    assert filed.download(index=1, file_name="a.txt", destination=str(tmp_path)) == [str(tmp_path / "a.txt")]
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.txt", "öne")]
    with pytest.raises(batchyard.NotFoundError):
        filed.download(1, "only0", tmp_path)
    with pytest.raises(batchyard.NotFoundError):
        filed.download(3, destination=tmp_path)


def test_the_folder_is_the_one_at_the_call(
    filed: Batch, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert filed.download(0, "only0") == [str(tmp_path / name / "only0")]
        assert filed.download(0, "a.txt", ".") == ["a.txt"]
        assert sorted(each.name for each in (tmp_path / name).iterdir()) == ["a.txt", "only0"]


def test_the_folder_has_to_be_there(filed: Batch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(ValueError, match=wrong.name):
            filed.download(0, destination=wrong)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("hostile", ["../out", "a/../../out", "/etc/out", "a\nb", "link/out", ".."])
def test_nothing_is_written_outside(fake: Service, server: FakeServer, tmp_path: pathlib.Path, hostile: str) -> None:
    batch = fake.batch(["a"]).start()
    server.leave(name_of(batch), 0, hostile, b"evil")
    outside, to = tmp_path / "outside", tmp_path / "to"
    outside.mkdir()
    to.mkdir()
    (to / "link").symlink_to(outside)
    for file_name in (None, hostile):
        with pytest.raises(batchyard.DownloadError):
            batch.download(0, file_name, to)
    assert list(outside.iterdir()) == []
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []
    assert batch.list_artifacts(0) == [hostile]
    assert batch.artifact(0, hostile) == b"evil"


def test_what_does_not_fit_its_checksum_is_not_written(
    fake: Service, server: FakeServer, tmp_path: pathlib.Path
) -> None:
    batch = fake.batch(["a"]).start()
    server.wrong_sha256.add(server.leave(name_of(batch), 0, "a.txt", b"bad"))
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(batchyard.DownloadError, match="checksum"):
        batch.download(0, destination=tmp_path)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["before"]
