"""CancelBatchTasks.

    a page of tasks that match is found ─▶ slices of it are stopped, each in a commit ─▶ answer

A commit holds the writer for milliseconds. What changed since the page was read is held against the filter again in it.
With each slice the answer as of then is kept: should the server stop in between, a repeated call is told what was done,
and where to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from batchyard_server.codec import pages
from batchyard_server.codec.requests import CancelTasks
from batchyard_server.codec.values import RUNNING_FIELDS, TaskValues
from batchyard_server.engine import stop
from batchyard_server.engine.deps import Deps
from batchyard_server.model import limits
from batchyard_server.model.filter import All, Any, Compare, Field, Kind, Node, Op, fields_of
from batchyard_server.model.names import TaskName
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import RequestKey, Task
from batchyard_server.model.task_query import TaskQuery
from batchyard_server.query import TASKS, matcher, parse_filter
from batchyard_server.store.protocols import Decide
from batchyard_server.store.stop_store import NamedPage

Position = tuple[int, str]
_STATE = Field("state", Kind.NUMBER)
_OPEN = Any(
    tuple(
        Compare(_STATE, Op.EQ, state) for state in TaskState if not state.is_final and state is not TaskState.CANCELLING
    )
)
SLICE = 50  # tasks that are stopped in one commit: 5 to 10 ms


class Calls:
    """Which calls are being made? One of each request_id at a time, since two would share an answer."""

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def alone(self, request: RequestKey | None) -> AsyncGenerator[None]:
        """Wait until no other call with this request_id is in the block."""
        if request is None:
            yield
            return
        key = request.project, request.request_id
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            _, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, users - 1


async def cancel_tasks(deps: Deps, calls: Calls, asked: CancelTasks) -> bytes:
    """Stop tasks for good; return the serialized CancelBatchTasksResponse.

    From each commit on no record of its tasks starts; who runs them learns of it through the store's events. Raises
    InvalidArgument (INVALID_FILTER, INVALID_TOKEN), AlreadyExists (REQUEST_ID_REUSED).
    """
    call = _Call(deps, asked, parse_filter(asked.filter, TASKS, asked.project))
    after = deps.tokens.read("cancels", call.scope, asked.token, "page_token")
    if asked.validate_only:
        page = await call.page(after)
        return call.answer([task.name for task in page.tasks], len(page.tasks), page.follows)
    async with calls.alone(asked.request):
        known = None if asked.request is None else await deps.store.answer_to(asked.request)
        return await call.stop(await call.page(after)) if known is None else known


class _Call:
    """One call, as it is asked for; `wanted`: its filter."""

    def __init__(self, deps: Deps, asked: CancelTasks, wanted: Node) -> None:
        self._deps = deps
        self._asked = asked
        self._wanted = wanted
        self._matches = matcher(wanted)
        self._needs_running = not {field.name for field in fields_of(wanted)}.isdisjoint(RUNNING_FIELDS)
        self.scope = f"{asked.project}/{asked.validate_only:d}/{asked.filter}"

    async def page(self, after: Position | None) -> NamedPage:
        """The tasks that match and can be stopped, after this position."""
        return await self._deps.store.named_tasks(
            TaskQuery(
                project=self._asked.project,
                limit=limits.CANCELLED_TASKS,
                max_bytes=0,
                filter=All((_OPEN, self._wanted)),
                after=after,
                running=self._running(),
            )
        )

    async def stop(self, page: NamedPage) -> bytes:
        """Stop those of the page; return the answer."""
        request, names, count = self._asked.request, list[TaskName](), 0
        slices = [page.tasks[at : at + SLICE] for at in range(0, len(page.tasks), SLICE)]
        if not slices and request is not None:
            slices = [()]  # so that it is remembered that there was nothing
        for number, some in enumerate(slices, 1):
            follows = some[-1].position if number < len(slices) else page.follows
            answer = partial(self.answer, names, count, follows)
            keys = [task.key for task in some]
            stopped = await self._deps.store.update_tasks(keys, self._decide(), request, answer)
            self._deps.failpoints.hit("engine.cancel.after_store")
            names = [*names, *(task.name for task in stopped)][: limits.CANCELLED_NAMES]
            count += len(stopped)
        return self.answer(names, count, page.follows)

    def answer(
        self, names: Sequence[TaskName], count: int, follows: Position | None, stopped: Sequence[Task] = ()
    ) -> bytes:
        """CancelBatchTasksResponse: so many, with these names, and those that were just `stopped`."""
        shown = [*map(str, names), *(str(task.name) for task in stopped)][: limits.CANCELLED_NAMES]
        token = "" if follows is None else self._deps.tokens.make("cancels", self.scope, follows)
        return pages.cancelled(count + len(stopped), shown, token)

    def _decide(self) -> Decide:
        """What becomes of a task, now."""
        now, reason, running = self._deps.clock.now_us(), self._asked.reason, self._running()

        def decide(task: Task) -> Task:
            if task.state.is_final or not self._matches(TaskValues(task, running.get(task.key, 0))):
                return task
            return stop.cancelled(task, reason, now)

        return decide

    def _running(self) -> Mapping[int, int]:
        """How many records run of each task, if the filter looks at that."""
        return self._deps.live.all_running() if self._needs_running else {}
