"""The server and the model, side by side: what is asked is asked of both, and what happens is told to the model."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from google.longrunning import operations_pb2 as lro
from google.protobuf.message import Message

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.batch_task_pb2 import BatchTaskCounts, BatchTaskInfo, BatchTaskMetadata
from tests.property import asked, judge, readings
from tests.property.events import Granted
from tests.property.life import Task
from tests.property.model import Model
from tests.property.parts import Generation, Violation
from tests.property.refusals import Refusal
from tests.property.waiters import Waiters
from tests.property.watchers import SILENT_SECONDS, Watchers
from tests.property.world import Refused, World

M = TypeVar("M", bound=Message)
PROJECTS = ("p", "q")
BY_TIME = {BatchTaskInfo.DEADLINE: "DEADLINE", BatchTaskInfo.TASK_LIFETIME: "TASK_LIFETIME"}
LAST_STEPS = 400  # in which everything comes to its end
LONG_SECONDS = 120.0  # longer than any backoff, or pause with a handler that cannot be loaded


class Session:
    """One sequence of steps."""

    def __init__(self, world: World, model: Model) -> None:
        self.world = world
        self.model = model
        self._shown: dict[Task, bytes] = {}  # the info that was compared last
        self._touched: set[Task] = set()
        self._waiting: set[Task] = set()
        self.waiters = Waiters(world, model)
        self._operations: set[str] = set()
        self._snapshots: dict[str, bytes] = {}  # by operation that is done
        self._records: dict[tuple[Task, int], list[bytes]] = {}  # of generations that ended
        model.now = world.clock.us
        # Through a channel, when something is told is not known.
        self.watchers = Watchers(world, model, PROJECTS if isinstance(world, World) else ())

    # -- one step -------------------------------------------------------------------------------------------------

    def ask(self, method: str, request: Message, kind: type[M], act: Callable[[], Any]) -> tuple[M | None, Any]:
        """Ask both: what the server answers (None if it refuses, as it must then), and what `act` returned before."""
        answer = status = refusal = expected = None
        try:
            expected = act()
        except Refusal as error:
            refusal = error
        try:
            answer = self.world.call(method, request, kind)
        except Refused as error:
            status = error.status
        judge.refused(status, refusal)
        return answer, expected

    def change(self, method: str, request: Message, act: Callable[[], Task]) -> None:
        """Ask for a change of a task that is answered with the task as it is then."""

        def acting() -> tuple[Task, BatchTaskInfo]:
            task = act()
            return task, judge.info_of(task)

        info, changed = self.ask(method, request, BatchTaskInfo, acting)
        if info is None:
            return
        task, expected = changed
        if (info.state, expected.state) == (BatchTaskInfo.PAUSED, BatchTaskInfo.PAUSING):
            task.pause_untouched(self.model.now)
            expected = judge.info_of(task)
        judge.check_info(info, task, expected)

    def append(self, name: str, first: int, records: Sequence[tuple[str, str]]) -> None:
        """AppendRecords with one message, and the question where to go on before it."""
        question = service.AppendRecordsRequest(name=name)
        message = service.AppendRecordsRequest(name=name, first_index=first)
        asked.add_records(message, records)
        refusal = status = None
        expected: list[int] = []
        try:
            expected = [self.model.append(name, 0, []), self.model.append(name, first, records)]
        except Refusal as error:
            refusal = error
        answers: list[service.AppendRecordsResponse] = []
        try:
            answers = self.world.talk("AppendRecords", [question, message], service.AppendRecordsResponse)
        except Refused as error:
            status = error.status
        judge.refused(status, refusal)
        judge.same("next_index", [each.next_index for each in answers], expected)
        self.sync()

    def create_many(
        self,
        project: str,
        asked_for: Sequence[tuple[service.CreateBatchTaskRequest, Callable[[], tuple[Task, bool]]]],
    ) -> None:
        """BatchCreateBatchTasks: each request, and the same asked of the model, is as one of its own."""
        request = service.BatchCreateBatchTasksRequest(
            parent=f"projects/{project}", requests=[each for each, _ in asked_for]
        )
        answer = self.world.call("BatchCreateBatchTasks", request, service.BatchCreateBatchTasksResponse)
        judge.same("how many", [len(answer.results)], [len(asked_for)])
        for result, (_, act) in zip(answer.results, asked_for, strict=True):
            refusal = made = None
            try:
                made = act()
            except Refusal as error:
                refusal = error
            judge.refused(result.status if result.WhichOneof("result") == "status" else None, refusal)
            if made is not None:
                self.learn(made[0], result.operation)
                self.check_answer(result.operation, made[0])
        self.sync()

    def learn(self, task: Task, operation: lro.Operation) -> None:
        """What the server chose for a task that it has made."""
        metadata = BatchTaskMetadata()
        operation.metadata.Unpack(metadata)
        project, task_id = metadata.batch_task.split("/")[1::2]
        if project != task.project or (task.task_id and task.task_id != task_id):
            raise Violation(f"{metadata.batch_task} was made for {task.task_id}")
        task.task_id = task_id
        info = self._info(task)
        if info is None:
            raise Violation(f"{task.name} was created and is not there")
        self._new_operation(operation.name)
        self.model.learn(task, task_id, info.uid, operation.name)

    def learn_operation(self, task: Task, operation: lro.Operation) -> None:
        """The name of the operation of a generation that begins."""
        self._new_operation(operation.name)
        task.generation.operation = operation.name

    def _new_operation(self, name: str) -> None:
        if name in self._operations:
            raise Violation(f"{name} was there before")
        self._operations.add(name)

    def check_answer(self, operation: lro.Operation, task: Task) -> None:
        """The operation of the task's generation; if that has not ended, as it is now or was a moment ago."""
        metadata = BatchTaskMetadata()
        operation.metadata.Unpack(metadata)
        shown = (operation.name, metadata.batch_task, metadata.generation, operation.done)
        generation = task.generation
        judge.same("operation", shown, (generation.operation, task.name, generation.number, bool(generation.state)))
        known = self._snapshots.get(operation.name)
        if known is not None:  # what was configured since is not in it
            judge.same(f"snapshot {operation.name}", operation, lro.Operation.FromString(known))
        elif generation.state:
            judge.check_operation(operation, task, generation)

    def next_server(self) -> None:
        """The server has ended: another one begins."""
        self.model.shuts_down = True
        self._hear()
        self.model.server_ended()
        self.world.start()
        self.watchers.hear()
        self.watchers.resume()
        self.sync()

    def tick(self, seconds: float = 0.001) -> None:
        """Time passes."""
        self.world.advance(seconds)
        self.model.now = self.world.clock.us
        self.sync()

    def sync(self) -> None:
        """Tell the model what has happened: what workers did, what follows, what time did."""
        self._hear()  # first: a lease that was granted came before the end of the task's time
        self._observe()

    def _hear(self) -> None:
        events = self.world.events()
        for event in events:
            self._touched.add(self.model.happened(event))
        self.model.rest()
        self._check_turns([self.model.leases[each.lease] for each in events if isinstance(each, Granted)])

    def _check_turns(self, granted: Sequence[Task]) -> None:
        """In a project, nothing went to a lower priority while a higher one waited, before and still, and got nothing.

        What was taken back of a task, since its settings changed, waits again only when its lease has ended. Whether
        time has ended one is not known yet.
        """
        waiting = self.model.waiting()
        others = waiting & self._waiting - {*granted, *self.model.due()}
        for task, other in itertools.product(granted, others):
            alike = (task.project, task.config["handler"]) == (other.project, other.config["handler"])
            if alike and priority(task) < priority(other):
                raise Violation(f"{task.name} was served, and {other.name} waits with a higher priority")
        self._waiting = waiting

    def _check_idle(self) -> None:
        """No worker stands idle while there is something for it to do, and for none of another handler."""
        waiting = self.model.waiting()
        handlers = {task.config["handler"] for task in waiting}
        wanted = {task.config["handler"] for task in self.model.startable()}  # one of a higher priority is waited for
        if (
            wanted == handlers
            and len(handlers) == 1
            and any(worker.handler in handlers and worker.is_idle for worker in self.world.workers)
        ):
            raise Violation(f"a worker is idle, and {[task.name for task in waiting]} wait")

    def _observe(self) -> None:
        """Which of the tasks whose time has come has the server noticed?"""
        for task in self.model.due():
            info = self._info(task)
            if info is None:
                self.model.gone(task)
            elif info.stop_reason in BY_TIME and not task.stop_reason:
                self.model.stopped(task, BY_TIME[info.stop_reason])
                task.rest(self.model.now)

    def _info(self, task: Task) -> BatchTaskInfo | None:
        try:
            return BatchTaskInfo.FromString(
                self.world.read("GetBatchTask", service.GetBatchTaskRequest(name=task.name))
            )
        except Refused:
            return None

    # -- what must hold after it ----------------------------------------------------------------------------------

    def check(self, *, everything: bool = False) -> None:
        """Compare all tasks, and all that belongs to those that have changed."""
        if self.world.faults:
            raise Violation("\n".join(self.world.faults))
        late = self.model.overdue()
        if late:
            raise Violation(f"nothing was done to {[task.name for task in late]} though their time is over")
        for project in PROJECTS:
            self._check_project(project)
        wanted = self.model.tasks.values() if everything else [each for each in self._touched if not each.deleted]
        for task in wanted:
            self._check_task(task)
            for record in task.records if everything else ():
                readings.record(self.world, self.model, task.name, record.index, 0, 2)
        self._touched.clear()
        self._check_idle()
        self.waiters.check()
        self.watchers.check()

    def _check_project(self, project: str) -> None:
        request = service.ListBatchTasksRequest(parent=f"projects/{project}", page_size=1000)
        page = service.ListBatchTasksResponse.FromString(self.world.read("ListBatchTasks", request))
        listed = self.model.listed(project)
        judge.same("list", [each.name for each in page.batch_tasks], [each.name for each in listed])
        counted = Counter(task.state.lower() for task in listed)
        counts = service.GetBatchTaskCountsRequest(name=f"projects/{project}/batchTaskCounts")
        kept = BatchTaskCounts.FromString(self.world.read("GetBatchTaskCounts", counts))
        judge.same("counts", kept, BatchTaskCounts(name=counts.name, **counted))
        for info, task in zip(page.batch_tasks, listed, strict=True):
            expected = judge.info_of(task)
            judge.check_info(info, task, expected)
            shown = expected.SerializeToString(deterministic=True)
            if self._shown.get(task) != shown:
                self._shown[task] = shown
                self._touched.add(task)

    def _check_task(self, task: Task) -> None:
        info = self._info(task)
        if info is None:
            raise Violation(f"{task.name} is listed and cannot be read")
        judge.check_info(info, task, judge.info_of(task))
        for generation in task.generations:
            self._check_operation(task, generation)
            self.check_records(task, generation if generation is not task.generation else None)
        readings.subtasks(self.world, task, 1000)

    def _check_operation(self, task: Task, generation: Generation) -> None:
        """Present and as the model says; once done, the same bytes for ever."""
        name = generation.operation
        try:
            raw = self.world.read("GetOperation", lro.GetOperationRequest(name=name))
        except Refused as error:
            judge.refused(error.status, Refusal("NOT_FOUND", "RESOURCE_NOT_FOUND") if generation.forgotten else None)
            return
        if generation.forgotten:
            raise Violation(f"{name} was deleted and is there")
        if name in self._snapshots:
            judge.same(f"snapshot {name}", raw, self._snapshots[name])
            return
        if generation is not task.generation:
            raise Violation(f"{name} was never seen done")
        judge.check_operation(lro.Operation.FromString(raw), task, generation)
        if generation.state:
            self._snapshots[name] = raw

    def check_records(self, task: Task, past: Generation | None) -> None:
        """The records as they are now, or at the end of a generation before: the same bytes for ever."""
        request = service.ListRecordsRequest(parent=task.name, page_size=1000, generation=past.number if past else 0)
        page = service.ListRecordsResponse.FromString(self.world.read("ListRecords", request))
        generation = past or task.generation
        judge.same("records", len(page.records), len(task.records))
        for shown, record in zip(page.records, task.records, strict=True):
            judge.check_record(shown, task, record, generation)
        if generation.state:
            raws = [record.SerializeToString(deterministic=True) for record in page.records]
            before = self._records.setdefault((task, generation.number), raws)
            judge.same(f"records of generation {generation.number}", raws, before)

    # -- the end --------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """From now on everything goes well: all that may end does."""
        self.world.break_launcher(None)
        for _ in range(LAST_STEPS):
            waiting = [task for task in self.model.tasks.values() if not self._rests(task)]
            if not waiting:
                break
            for worker in self.world.workers:
                self.world.work(worker)
                self.sync()
            if not any(worker.running is not None for worker in self.world.workers):
                self.tick(LONG_SECONDS)
        else:
            raise Violation(f"these do not come to an end: {[(task.name, task.state) for task in waiting]}")
        self.tick(SILENT_SECONDS)
        self.check(everything=True)
        self.watchers.check(everything=True)

    def _rests(self, task: Task) -> bool:
        return task.is_final or task.state in ("DRAFT", "PAUSED")


def priority(task: Task) -> int:
    """Higher first."""
    return task.config.get("priority", 0)
