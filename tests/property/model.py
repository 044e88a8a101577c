"""What does the contract say that a call answers? A small reference model of the service: DESIGN §3 and the protos.

Shares nothing with the server. A verb changes the model and returns the task, or raises Refusal. What the server may
choose itself (which records it leases, when exactly it notices that a time is over) is told to the model as an event,
and refused with Violation if it may not choose so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.property import events as ev
from tests.property import masks
from tests.property.life import CANCELLED, DAY, DEADLINE_EXCEEDED, Task
from tests.property.parts import Generation, Record, Violation
from tests.property.refusals import Refusal, check_etag, check_ids, missing

# What each verb makes of each state: "=" leaves it as it is, "-" is ILLEGAL_STATE, "done" is TASK_COMPLETED.
TABLE = """
          DRAFT      QUEUED     RUNNING     PAUSING     PAUSED     CANCELLING  final
append    =          -          -           -           -          -           done
start     QUEUED     =          =           =           =          -           done
pause     -          PAUSED     PAUSING     =           =          -           done
resume    -          =          =           RUNNING     QUEUED     -           done
cancel    CANCELLED  CANCELLED  CANCELLING  CANCELLING  CANCELLED  =           done
delete    =          -          -           -           -          -           =
"""
_STATES, *_ROWS = (line.split() for line in TABLE.strip().splitlines())
FOLLOWS = {(row[0], state): cell for row in _ROWS for state, cell in zip(_STATES, row[1:], strict=True)}

GRACE = 60 * 1_000_000
"""µs. What time alone does is done by then; before that it may be seen done or not."""


class Call(NamedTuple):
    """Who asks: `request` is a request_id, "" = none; `content` all that was asked for with it."""

    request: str
    content: tuple[Any, ...]


def _nothing(name: str) -> Task:
    """What a call was about that found nothing, which was well."""
    _, project, _, task_id = name.split("/")
    return Task(project, task_id, {}, "DRAFT", 0, deleted=True)


@dataclass
class Model:
    """All tasks of a server.

    Attributes:
        now: to be set before each call and event.
        shuts_down: to be set when the server begins to end.
        graves: tasks that were deleted.
    """

    handlers: Sequence[str]
    lifetime: int
    now: int = 0
    shuts_down: bool = False
    tasks: dict[str, Task] = field(default_factory=dict)
    graves: list[Task] = field(default_factory=list)
    requests: dict[tuple[str, str], tuple[tuple[Any, ...], Task, int]] = field(default_factory=dict)
    leases: dict[int, Task] = field(default_factory=dict)

    # -- finding --------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Task:
        """A task by its exact name."""
        if name not in self.tasks:
            raise missing(name)
        return self.tasks[name]

    def operation(self, name: str) -> tuple[Task, Generation]:
        """An operation by name."""
        for task in self.tasks.values():
            for generation in task.generations:
                if generation.operation == name and not generation.forgotten:
                    return task, generation
        raise missing(name)

    def listed(self, project: str) -> list[Task]:
        """Newest first, those of one moment by name."""
        found = [task for task in self.tasks.values() if task.project == project]
        return sorted(found, key=lambda task: (-task.create, task.task_id))

    def _by_uid(self, uid: str) -> Task:
        (found,) = (task for task in (*self.tasks.values(), *self.graves) if task.uid == uid)
        return found

    # -- idempotency ----------------------------------------------------------------------------------------------

    def _known(self, project: str, call: Call) -> Task | None:
        """The task of a call that was done before."""
        if not call.request or (project, call.request) not in self.requests:
            return None
        content, task, _ = self.requests[project, call.request]
        if content != call.content:
            raise Refusal("ALREADY_EXISTS", "REQUEST_ID_REUSED")
        return task

    def _known_living(self, project: str, call: Call) -> Task | None:
        task = self._known(project, call)
        if task is not None and task.deleted:
            raise missing(task.name)
        return task

    def _remember(self, project: str, call: Call, task: Task) -> None:
        if call.request:
            self.requests[project, call.request] = (call.content, task, self.now)

    def is_known_for_sure(self, project: str, request: str) -> bool:
        """Whether the contract says how the next call with this request_id is answered."""
        if (project, request) not in self.requests:
            return True
        _, task, since = self.requests[project, request]
        return not task.deleted or self.now < since + DAY

    # -- verbs ----------------------------------------------------------------------------------------------------

    def create(
        self,
        call: Call,
        project: str,
        task_id: str,
        config: Mapping[str, Any],
        records: Sequence[tuple[str, str]],
        *,
        start: bool,
    ) -> tuple[Task, bool]:
        """CreateBatchTask; whether the task is new. `learn` is to follow then."""
        if start and not records:
            raise Refusal("INVALID_ARGUMENT", "NO_RECORDS", field="records")
        check_ids([record_id for record_id, _ in records])
        if config["handler"] not in self.handlers:
            raise missing(f"projects/{project}/handlers/{config['handler']}")
        known = self._known_living(project, call)
        if known is not None:
            if known.generation.forgotten:
                raise Refusal("NOT_FOUND", "RESOURCE_NOT_FOUND")
            return known, False
        if task_id and any(
            task.project == project and task.task_id.lower() == task_id.lower() for task in self.tasks.values()
        ):
            raise Refusal("ALREADY_EXISTS", "RESOURCE_EXISTS", resource=f"projects/{project}/batchTasks/{task_id}")
        now = self.now
        task = Task(project, task_id, dict(config), "QUEUED" if start else "DRAFT", now)
        task.update = task.transition = task.appended = now
        task.records = [Record(index, *record) for index, record in enumerate(records)]
        self._remember(project, call, task)
        return task, True

    def learn(self, task: Task, task_id: str, uid: str, operation: str) -> None:
        """What the server chose for a new task."""
        if any(task.uid == uid for task in (*self.tasks.values(), *self.graves)):
            raise Violation(f"uid {uid} is used again")
        task.task_id, task.uid = task_id, uid
        task.generations.append(Generation(1, 1, operation, task.create))
        self.tasks[task.name] = task

    def append(self, name: str, first: int, records: Sequence[tuple[str, str]]) -> int:
        """AppendRecords with one message; the next index."""
        task = self.get(name)
        self._follow(task, "append")
        if not records or first + len(records) <= len(task.records):
            return len(task.records)
        if first != len(task.records):
            raise Refusal("OUT_OF_RANGE", "INDEX_MISMATCH", next_index=str(len(task.records)))
        check_ids([record.record_id for record in task.records] + [record_id for record_id, _ in records])
        task.records += [Record(first + at, *record) for at, record in enumerate(records)]
        task.appended = self.now
        return len(task.records)

    def start(self, call: Call, name: str, etag: str) -> Task:
        """StartBatchTask."""
        return self._change(call, name, etag, "start")

    def pause(self, call: Call, name: str, etag: str) -> Task:
        """PauseBatchTask."""
        return self._change(call, name, etag, "pause")

    def resume(self, call: Call, name: str, etag: str) -> Task:
        """ResumeBatchTask."""
        return self._change(call, name, etag, "resume")

    def cancel(self, call: Call, name: str, etag: str) -> Task:
        """CancelBatchTask."""
        return self._change(call, name, etag, "cancel")

    def cancel_many(self, project: str, state: str) -> list[Task]:
        """CancelBatchTasks of those in a state; in the order of the list."""
        found = [each for each in self.listed(project) if each.state == state and not each.is_final]
        found = [each for each in found if FOLLOWS["cancel", each.state] != "="]
        for task in found:
            self._do(task, "cancel")
        return found

    def _change(self, call: Call, name: str, etag: str, verb: str) -> Task:
        project = name.split("/")[1]
        known = self._known_living(project, call)
        if known is not None:
            return known
        task = self.get(name)
        check_etag(task, etag)
        self._do(task, verb)
        self._remember(project, call, task)
        return task

    def _do(self, task: Task, verb: str) -> None:
        state = self._follow(task, verb)
        if verb == "start" and task.state == "DRAFT" and not task.records:
            raise Refusal("FAILED_PRECONDITION", "NO_RECORDS")
        if verb == "cancel":
            task.stop("CANCEL", (CANCELLED, "TASK_CANCELLED"), self.now)
        elif state == "PAUSING" and not task.live:
            task.enter("PAUSED", self.now)
        else:
            task.enter(state, self.now)

    def _follow(self, task: Task, verb: str) -> str:
        cell = FOLLOWS[verb, "final" if task.is_final else task.state]
        if cell in ("-", "done"):
            reason = "ILLEGAL_STATE" if cell == "-" else "TASK_COMPLETED"
            raise Refusal("FAILED_PRECONDITION", reason, state=task.state, verb=verb)
        return task.state if cell == "=" else cell

    def cancel_operation(self, name: str) -> None:
        """CancelOperation: on a done one nothing happens."""
        task, generation = self.operation(name)
        if not generation.state:
            self._do(task, "cancel")

    def reactivate(self, call: Call, name: str, etag: str, *, everything: bool) -> tuple[Task, bool]:
        """ReactivateBatchTask; whether a generation begins, whose operation's name is to be set then."""
        project = name.split("/")[1]
        known = self._known_living(project, call)
        if known is not None:
            if known.generation.forgotten:
                raise Refusal("NOT_FOUND", "RESOURCE_NOT_FOUND")
            return known, False
        task = self.get(name)
        check_etag(task, etag)
        if not task.is_final:
            raise Refusal("FAILED_PRECONDITION", "TASK_NOT_COMPLETED", state=task.state)
        if not task.records:
            raise Refusal("FAILED_PRECONDITION", "NO_RECORDS")
        if task.state == "SUCCEEDED" and not task.counts()["failed"]:
            raise Refusal("FAILED_PRECONDITION", "TASK_SUCCEEDED")
        task.next_generation("", everything, self.now)
        self._remember(project, call, task)
        return task, True

    def update(self, call: Call, name: str, etag: str, given: Mapping[str, Any], mask: Sequence[str] | None) -> Task:
        """UpdateBatchTask. `mask`: None = the fields that are given, all of each."""
        project = name.split("/")[1]
        known = self._known_living(project, call)
        if known is not None:
            return known
        task = self.get(name)
        check_etag(task, etag)
        stage = "DRAFT" if task.state == "DRAFT" else "final" if task.is_final else ""
        leaves = masks.leaves_of(stage, given, mask)
        if "handler" in leaves and not given.get("handler"):
            raise Refusal("INVALID_ARGUMENT", "INVALID_FIELD", field="batch_task.handler")
        differing = masks.differing(task.config, given, leaves)
        if not all(masks.may_change(stage, leaf) for leaf in differing):
            raise Refusal("FAILED_PRECONDITION", "TASK_COMPLETED" if task.is_final else "ILLEGAL_STATE")
        if "handler" in differing and given["handler"] not in self.handlers:
            raise missing(f"projects/{project}/handlers/{given['handler']}")
        if differing:
            task.config, task.update = masks.merged(task.config, given, leaves), self.now
            task.revision += 1
            if task.deadline and self.now >= task.deadline:
                self.stopped(task, "DEADLINE")
        self._remember(project, call, task)
        return task

    def delete(self, call: Call, name: str, etag: str, *, force: bool, allow_missing: bool) -> None:
        """DeleteBatchTask."""
        project = name.split("/")[1]
        if self._known(project, call) is not None:
            return
        if name not in self.tasks and allow_missing:
            self._remember(project, call, _nothing(name))
            return
        task = self.get(name)
        check_etag(task, etag)
        if not force:
            self._follow(task, "delete")
        self._remember(project, call, task)
        self._bury(task)

    def _bury(self, task: Task) -> None:
        task.deleted = True
        self.graves.append(self.tasks.pop(task.name))

    def delete_operation(self, name: str) -> None:
        """DeleteOperation."""
        _, generation = self.operation(name)
        if not generation.state:
            raise Refusal("FAILED_PRECONDITION", "OPERATION_NOT_DONE")
        generation.forgotten = True

    # -- the world ------------------------------------------------------------------------------------------------

    def happened(self, event: ev.Event) -> Task:
        """Something happened at a worker; to which task."""
        if isinstance(event, ev.Granted):
            task = self._by_uid(event.uid)
            if task.deleted or event.generation != task.generation.number:
                raise Violation(f"a lease of generation {event.generation} of {task.name}, deleted: {task.deleted}")
            self.leases[event.lease] = task
            task.granted(event.lease, event.epoch, event.worker, event.indexes, self.now)
            return task
        task = self.leases[event.lease]
        match event:
            case ev.Begun(lease, index, attempt):
                if task.deleted:
                    raise Violation(f"record {index} of {task.name} begins, and the task was deleted")
                task.begun(lease, index, attempt, self.now)
            case _ if task.deleted:
                pass
            case ev.Ended(lease, index, result):
                task.ended(lease, index, result)
            case ev.Stored(lease, indexes):
                task.stored(lease, indexes, self.now)
            case ev.GaveBack(lease, indexes):
                task.gave_back(lease, indexes, self.now)
            case ev.Over(lease):
                task.over(lease, self.now)
            case ev.Lost(lease, cause, blamed, unreaped):
                task.lost(lease, cause, blamed, self.now, unreaped=unreaped, shuts_down=self.shuts_down)
        return task

    def rest(self) -> None:
        """All is quiet."""
        for task in self.tasks.values():
            task.rest(self.now)

    def server_ended(self) -> None:
        """All workers are gone, and the next server begins."""
        self.leases.clear()
        self.shuts_down = False
        for task in self.tasks.values():
            task.server_ended(self.now)

    def startable(self) -> list[Task]:
        """The tasks of which a record could begin, as far as its task alone goes."""
        return [
            task for task in self.tasks.values() if task.state in ("QUEUED", "RUNNING") and task.has_startable(self.now)
        ]

    def waiting(self) -> set[Task]:
        """The tasks of which a record could begin at this moment, and is in nobody's hands."""
        return {task for task in self.startable() if task.config.get("parallel_count") is None}

    # -- time -----------------------------------------------------------------------------------------------------

    def gone(self, task: Task) -> None:
        """The server has deleted it: its time must have come, perhaps right after it was stopped for another one."""
        if not task.expire:
            self.stopped(task, "DEADLINE" if 0 < task.deadline <= self.now else "TASK_LIFETIME")
            task.rest(self.now)
        if not task.expire or self.now < task.expire:
            raise Violation(f"{task.name} was deleted at {self.now}, it expires at {task.expire}")
        self._bury(task)

    def stopped(self, task: Task, reason: str) -> None:
        """The server has stopped it for the time that it took."""
        if reason == "DEADLINE" and task.deadline and self.now >= task.deadline:
            task.stop(reason, (DEADLINE_EXCEEDED, "WALL_CLOCK_EXCEEDED"), self.now)
        elif reason == "TASK_LIFETIME" and not task.is_final and self.now >= task.create + self.lifetime:
            task.stop(reason, (DEADLINE_EXCEEDED, "TASK_LIFETIME_EXCEEDED"), self.now)
        else:
            raise Violation(f"{task.name} is stopped by {reason} at {self.now}")

    def due(self) -> list[Task]:
        """The tasks to which time may have done something."""
        now = self.now
        return [
            task
            for task in self.tasks.values()
            if 0 < task.expire <= now or 0 < task.deadline <= now or task.create + self.lifetime <= now
        ]

    def overdue(self) -> list[Task]:
        """Tasks to which time should have done something by now."""
        late = self.now - GRACE
        return [
            task
            for task in self.tasks.values()
            if (task.expire and task.expire <= late)
            or (task.deadline and task.deadline <= late)
            or (task.create + self.lifetime <= late and not task.is_final and task.state != "CANCELLING")
        ]
