"""Do lists and streams show the same, whatever the size of a page?"""

from __future__ import annotations

from typing import Any

from google.longrunning import operations_pb2 as lro
from google.rpc.status_pb2 import Status

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.record_pb2 import RecordInfo
from tests.property import judge
from tests.property.life import Task
from tests.property.model import Model
from tests.property.parts import Generation, Record
from tests.property.refusals import Refusal
from tests.property.world import NODE, Refused, World


def records(world: World, model: Model, name: str, generation: int, *, completion: bool, size: int) -> None:
    """ListRecords page by page, and StreamRecords: of the current generation (0), one that is over, or all (−1)."""
    order = RecordInfo.COMPLETION if completion else RecordInfo.INDEX
    request = service.ListRecordsRequest(parent=name, page_size=size, order=order, generation=generation)
    refusal, expected = None, list[tuple[Record, Generation]]()
    try:
        expected = _expected(model, name, generation, completion=completion)
    except Refusal as error:
        refusal = error
    status = None
    shown: list[RecordInfo] = []
    try:
        shown = _pages(world, "ListRecords", request, service.ListRecordsResponse, "records")
    except Refused as error:
        status = error.status
    judge.refused(status, refusal)
    if refusal is not None:
        return
    task = model.get(name)
    judge.same("number of records", [each.index for each in shown], [record.index for record, _ in expected])
    for each, (record, seen) in zip(shown, expected, strict=True):
        judge.check_record(each, task, record, seen)
    asked = service.StreamRecordsRequest(parent=name, page_size=size, order=order, generation=generation)
    messages = world.stream("StreamRecords", asked, service.StreamRecordsResponse)
    judge.same("stream", [record for message in messages for record in message.records], shown)


def _expected(model: Model, name: str, generation: int, *, completion: bool) -> list[tuple[Record, Generation]]:
    """The records that should come, each with the generation in which it is seen."""
    if generation < 0 and not completion:
        raise Refusal("INVALID_ARGUMENT", "INVALID_FIELD", field="generation")
    task = model.get(name)
    if generation < 0:
        return _every_outcome(task)
    if generation > len(task.generations):
        raise Refusal("INVALID_ARGUMENT", "INVALID_FIELD", field="generation")
    seen = task.generations[generation - 1] if generation else task.generation
    found = judge.by_completion(task, seen) if completion else task.records
    return [(record, seen) for record in found]


def _every_outcome(task: Task) -> list[tuple[Record, Generation]]:
    """In the order of their commits."""
    found = [(outcome, record) for record in task.records for outcome in record.outcomes]
    found.sort(key=lambda each: each[0].number)
    return [(record, task.generations[outcome.generation - 1]) for outcome, record in found]


def lists(world: World, model: Model, project: str, size: int) -> None:
    """ListBatchTasks, StreamBatchTasks and ListOperations page by page."""
    parent = f"projects/{project}"
    names = [task.name for task in model.listed(project)]
    request = service.ListBatchTasksRequest(parent=parent, page_size=size)
    infos = _pages(world, "ListBatchTasks", request, service.ListBatchTasksResponse, "batch_tasks")
    judge.same("list", [info.name for info in infos], names)
    asked = service.StreamBatchTasksRequest(parent=parent, page_size=size)
    messages = world.stream("StreamBatchTasks", asked, service.StreamBatchTasksResponse)
    judge.same("stream", [info for message in messages for info in message.batch_tasks], infos)
    found = _pages(
        world,
        "ListOperations",
        lro.ListOperationsRequest(name=parent, page_size=size),
        lro.ListOperationsResponse,
        "operations",
    )
    there = [
        generation
        for task in model.tasks.values()
        if task.project == project
        for generation in task.generations
        if not generation.forgotten
    ]
    judge.same("operations", sorted(each.name for each in found), sorted(each.operation for each in there))
    created = {each.operation: each.create for each in there}
    times = [created[each.name] for each in found]
    judge.same("times of operations", times, sorted(times, reverse=True))


def record(world: World, model: Model, name: str, index: int, generation: int, size: int) -> None:
    """GetRecord, and ListRecordAttempts page by page."""
    asked = f"{name}/records/{index}"
    task = model.tasks.get(name)
    found = task is not None and index < len(task.records)
    there = found and task is not None and generation <= len(task.generations)
    shown, status = _try(world, "GetRecord", service.GetRecordRequest(name=asked, generation=generation), RecordInfo)
    judge.refused(status, None if there else Refusal("NOT_FOUND", "RESOURCE_NOT_FOUND"))
    if task is not None and there:
        seen = task.generations[generation - 1] if generation else task.generation
        judge.check_record(shown, task, task.records[index], seen)
        judge.same("input", shown.input.text, task.records[index].text)
    request = service.ListRecordAttemptsRequest(parent=asked, page_size=size)
    if task is None or not found:
        _, status = _try(world, "ListRecordAttempts", request, service.ListRecordAttemptsResponse)
        judge.refused(status, Refusal("NOT_FOUND", "RESOURCE_NOT_FOUND"))
        return
    attempts = _pages(world, "ListRecordAttempts", request, service.ListRecordAttemptsResponse, "attempts")
    expected = sorted(task.records[index].attempts)
    judge.same("number of attempts", len(attempts), len(expected))
    for each, attempt in zip(attempts, expected, strict=True):
        judge.check_attempt(each, attempt)


def subtasks(world: World, task: Task, size: int) -> None:
    """ListSubtasks page by page, newest first."""
    request = service.ListSubtasksRequest(parent=task.name, page_size=size)
    shown = _pages(world, "ListSubtasks", request, service.ListSubtasksResponse, "subtasks")
    judge.same("subtasks", [each.epoch for each in shown], [lease.epoch for lease in reversed(task.subtasks)])
    for each, lease in zip(shown, reversed(task.subtasks), strict=True):
        judge.check_subtask(each, task, lease, NODE)


def _try(world: World, method: str, request: Any, kind: Any) -> tuple[Any, Status | None]:
    try:
        return kind.FromString(world.read(method, request)), None
    except Refused as error:
        return None, error.status


def _pages(world: World, method: str, request: Any, kind: Any, items: str) -> list[Any]:
    """Everything in a list, page by page."""
    found: list[Any] = []
    while True:
        page = kind.FromString(world.read(method, request))
        assert len(getattr(page, items)) <= request.page_size
        found += getattr(page, items)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
