"""Is a user of ML Server's SDK at home in `batchyard.service`, from its signatures to the start of a batch?"""

from __future__ import annotations

import inspect
import pathlib
from typing import Any

import pytest
from google.rpc import code_pb2

import batchyard
from batchyard import Client
from batchyard.service import Batch, BatchResponse, Service, ServiceResponse
from tests.client.fake_operations import refuse
from tests.client.fake_server import FakeServer
from tests.seeds.batches import ended, name_of

pytestmark = pytest.mark.xdist_group("seed 002")


# -- what it looks like -----------------------------------------------------------------------------------------------

# `destination` was the folder that was current at import; None stands for the one at the call.
SIGNATURES = [
    (Batch, ["service", "records=[]", "parallel_count=10", "execution_id=None"]),
    (Batch.start, []),
    (Batch.cancel, []),
    (Batch.results, ["show_partial_results=True"]),
    (Batch.artifact, ["index", "file_name"]),
    (Batch.list_artifacts, ["index"]),
    (Batch.download, ["index", "file_name=None", "destination=None"]),
    (Service.batch, ["records", "parallel_count=10"]),
    (Service.get_batch, ["execution_id"]),
    (Service.list_batch_executions, []),
    (Service.capabilities, []),
    (BatchResponse.execution, ["index"]),
    (ServiceResponse.output, ["output"]),
    (ServiceResponse.artifact, ["artifact_name", "decode=True", "encoding=None"]),
]
PROPERTIES = {
    Batch: {"api", "execution_id", "parallel_count", "records"},
    BatchResponse: {"api", "execution_id", "state", "completed_item_count", "total_item_count"},
    ServiceResponse: {"api", "error", "console_output", "outputs", "raw_outputs", "artifacts"},
}


@pytest.mark.parametrize(("member", "expected"), SIGNATURES)
def test_signatures(member: Any, expected: list[str]) -> None:
    parameters = [each for each in inspect.signature(member).parameters.values() if each.name != "self"]
    assert {each.kind for each in parameters} <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    shown = [each.name if each.default is each.empty else f"{each.name}={each.default!r}" for each in parameters]
    assert shown == expected


@pytest.mark.parametrize("kind", PROPERTIES)
def test_properties(kind: type) -> None:
    found = {name for name, value in vars(kind).items() if isinstance(value, property)}
    assert found >= PROPERTIES[kind]


def test_every_argument_can_be_named(service: Service) -> None:
    batch = Batch(service=service, records=[{"value": 1}], parallel_count=3, execution_id=None)
    assert (batch.records, batch.parallel_count, batch.execution_id) == ([{"value": 1}], 3, None)
    other = service.batch(records=[{}], parallel_count=4)
    assert (other.records, other.parallel_count) == ([{}], 4)
    assert service.get_batch(execution_id="x").execution_id == "x"


# -- records ----------------------------------------------------------------------------------------------------------


class Table:
    """What is used of a DataFrame."""

    def to_dict(self, orient: str) -> list[dict[str, int]]:
        assert orient == "records"
        return [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


class Array:
    def tolist(self) -> list[int]:
        return [2, 4]


@pytest.mark.parametrize(
    "records",
    [
        [{"a": 1, "b": 2}, {"a": 3, "b": 4}],
        ({"a": n, "b": n + 1} for n in (1, 3)),
        {"a": [1, 3], "b": (2, 4)},
        {"a": [1, 3], "b": Array()},
        Table(),
    ],
)
def test_records_become_rows(fake: Service, records: Any) -> None:
    assert fake.batch(records).records == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


def test_what_are_no_records(fake: Service) -> None:
    with pytest.raises(ValueError, match="'b': 1"):
        fake.batch({"a": [1, 2], "b": [1]})
    for wrong in ("text", b"bytes", 7):
        with pytest.raises(TypeError, match="records must be"):
            fake.batch(wrong)
    with pytest.raises(TypeError, match="column 'a'"):
        fake.batch({"a": "text"})
    assert fake.batch({}).records == []


def test_no_batch_shares_its_records(fake: Service) -> None:
    first, second = Batch(fake), Batch(fake)
    first.records.append(1)
    assert (first.records, second.records, Batch(fake).records) == ([1], [], [])
    given = [1, 2]
    batch = fake.batch(given)
    given.append(3)
    assert batch.records == [1, 2]


def test_a_record_without_a_form_is_named_at_the_start(fake: Service, server: FakeServer) -> None:
    batch = fake.batch([1, float("nan")])
    with pytest.raises(batchyard.RecordValueError, match="record 1"):
        batch.start()
    assert batch.execution_id is None
    with pytest.raises(batchyard.InvalidArgumentError):
        fake.batch([]).start()
    assert server.tasks == {}


# -- before the start, and the start ----------------------------------------------------------------------------------


def test_before_the_start(fake: Service, server: FakeServer) -> None:
    batch = fake.batch([1])
    assert batch.execution_id is None
    assert batch.results() is None
    assert batch.results(show_partial_results=False) is None
    for call in (
        batch.cancel,
        lambda: batch.artifact(0, "a"),
        lambda: batch.list_artifacts(0),
        lambda: batch.download(0),
    ):
        with pytest.raises(ValueError, match="not started"):
            call()
    assert repr(batch) == "<Batch echo not started>"
    assert server.calls == {}


def test_a_batch_is_started_once(fake: Service, server: FakeServer) -> None:
    batch = fake.batch([1, "b", {"c": 3}], parallel_count=7)
    assert batch.start() is batch
    assert batch.start() is batch
    assert server.calls["CreateBatchTask"] == 1
    info = server.tasks[name_of(batch)].info
    assert (info.handler, info.parallel_count) == ("echo", 7)
    assert repr(batch) == f"<Batch echo {batch.execution_id}>"
    unbounded = fake.batch([1], parallel_count=None).start()
    assert not server.tasks[name_of(unbounded)].info.HasField("parallel_count")


class Forgetful(FakeServer):
    """Does what is asked and then does not say so, once for each method in `lost`."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = {"CreateBatchTask", "StartBatchTask"}

    def CreateBatchTask(self, request: Any, context: Any) -> Any:
        return self._lose("CreateBatchTask", super().CreateBatchTask(request, context), context)

    def StartBatchTask(self, request: Any, context: Any) -> Any:
        return self._lose("StartBatchTask", super().StartBatchTask(request, context), context)

    def _lose(self, method: str, answer: Any, context: Any) -> Any:
        if method in self.lost:
            self.lost.discard(method)
            refuse(context, code_pb2.INTERNAL, "lost")
        return answer


@pytest.mark.parametrize("count", [1, 5000])
def test_a_start_whose_answer_was_lost_makes_no_second_task(count: int) -> None:
    with Forgetful() as server, Service(server.target, "echo") as service:
        batch = service.batch(list(range(count)))
        tries = 1 if count == 1 else 2
        for _ in range(tries):
            with pytest.raises(batchyard.InternalError, match="lost"):
                batch.start()
            assert batch.execution_id is None
        assert batch.start().execution_id is not None
        assert list(server.tasks) == [name_of(batch)]
        assert len(server.tasks[name_of(batch)].records) == count
        assert server.calls["CreateBatchTask"] == tries + 1


def test_records_that_changed_after_a_lost_answer_are_refused() -> None:
    with Forgetful() as server, Service(server.target, "echo") as service:
        batch = service.batch([1])
        with pytest.raises(batchyard.InternalError):
            batch.start()
        batch.records.append(2)
        with pytest.raises(batchyard.RequestIdReusedError):
            batch.start()
        assert len(server.tasks) == 1


# -- the service ------------------------------------------------------------------------------------------------------


def test_a_batch_is_got_by_its_id(service: Service) -> None:
    first = service.batch([{"value": 1, "files": {"a": "b"}}], parallel_count=2).start()
    ended(first)
    assert first.execution_id is not None
    batch = service.get_batch(first.execution_id)
    assert batch.start() is batch
    assert (batch.execution_id, batch.records, batch.parallel_count) == (first.execution_id, [], 10)
    assert batch.artifact(0, "a") == b"b"
    response = batch.results()
    assert response is not None
    assert response.execution(0).outputs == {"value": 1}


def test_an_id_is_not_looked_up_before_something_is_asked(fake: Service, server: FakeServer) -> None:
    batch = fake.get_batch("nowhere").start()
    assert server.calls == {}
    for call in (batch.results, batch.cancel, lambda: batch.list_artifacts(0), lambda: batch.artifact(0, "a")):
        with pytest.raises(batchyard.NotFoundError):
            call()


def test_executions_that_have_not_ended_are_listed(service: Service, gate: pathlib.Path) -> None:
    assert service.list_batch_executions() == []
    ended(service.batch([{}]).start())
    Service(service.client, "echo").batch([1]).start()
    running = [service.batch([{"hold": str(gate)}]).start() for _ in range(2)]
    assert service.list_batch_executions() == [batch.execution_id for batch in reversed(running)]
    draft = service.client.batch.run("filing", [{}], start=False).task_id
    assert service.list_batch_executions()[0] == draft
    response = service.get_batch(draft).results()
    assert response is not None
    assert (response.state, response.execution(0).state) == ("Pending", "Pending")
    service.client.batch.delete(draft)
    for batch in running:
        batch.cancel()
        ended(batch)
    assert service.list_batch_executions() == []


def test_capabilities(service: Service) -> None:
    found = service.capabilities()
    assert found["api"] == service.api
    assert (found["name"], found["description"], found["kind"]) == ("filing", "leaves files", "PYTHON")
    assert found["available"] is True
    missing = Service(service.client, "nothing")
    with pytest.raises(batchyard.NotFoundError):
        missing.capabilities()
    with pytest.raises(batchyard.NotFoundError):
        missing.batch([1]).start()


def test_settings_are_those_of_every_batch(fake: Service, server: FakeServer) -> None:
    service = Service(fake.client, "projects/x/handlers/echo", timeout=9, labels={"a": "b"}, max_retry_count=2)
    batch = service.batch([1]).start()
    info = server.tasks[name_of(batch)].info
    assert (info.handler, dict(info.labels), info.constraints.max_retry_count) == ("echo", {"a": "b"}, 2)
    assert info.parallel_count == 10
    assert (service.name, service.timeout, service.settings) == (
        "echo",
        9,
        {"labels": {"a": "b"}, "max_retry_count": 2},
    )
    with pytest.raises(TypeError, match="each batch"):
        Service(fake.client, "echo", parallel_count=3)
    with pytest.raises(TypeError, match="swagger"):
        Service(fake.client, "echo", swagger=True)


def test_a_service_closes_only_its_own_client(server: FakeServer) -> None:
    with Client(server.target) as client:
        with Service(client, "echo") as borrowed:
            assert borrowed.client is client
        assert borrowed.batch([1]).start().execution_id
        with Service(server.target, "echo") as owner:
            batch = owner.batch([1]).start()
            assert repr(owner) == "<Service projects/default/handlers/echo>"
        owner.close()
        with pytest.raises(ValueError, match="closed"):
            batch.results()
        assert borrowed.get_batch(str(batch.execution_id)).results() is not None
