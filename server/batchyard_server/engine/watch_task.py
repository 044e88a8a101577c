"""WatchBatchTask: one generation of a task, from a snapshot or a token to its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from batchyard_server.codec import watch as codec
from batchyard_server.codec.queries import WatchTask
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.watch_follow import Follower
from batchyard_server.engine.watch_hub import Hub
from batchyard_server.engine.watch_topic import Shown, Topic
from batchyard_server.model.errors import InvalidArgument, NotFound
from batchyard_server.model.names import TASK_TYPE, OperationName
from batchyard_server.model.record import Order
from batchyard_server.model.watch import Change
from batchyard_server.store.event_log import Watched


async def watch_task(deps: Deps, hub: Hub, asked: WatchTask) -> AsyncGenerator[bytes, None]:
    """Serialized OperationStatus messages, at least one unless the token is that of the last one.

    Raises: NotFound (also when the task is deleted meanwhile), InvalidArgument (INVALID_TOKEN), TokenExpired.
    """
    found, seq = await deps.store.watched(asked.name)
    place = _read(deps, asked, found)
    with hub.topic(found.task.key) as topic:
        watch = _Watch(deps, hub, asked, found, seq, place)
        async with aclosing(watch.messages(topic)) as messages:
            async for message in messages:
                yield message


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a watch goes on.

    Attributes:
        seq: the last change that was delivered.
        delivered: the completion number of the first outcome that was not.
        due: outcomes below it come before the next change.
    """

    seq: int
    task_key: int
    generation: int
    delivered: int
    due: int

    def token(self, deps: Deps, scope: str) -> str:
        """The place as a token."""
        position = f"{self.task_key}.{self.generation}.{self.delivered}.{self.due}"
        return deps.tokens.make("watch", scope, (self.seq, position))


def _scope(asked: WatchTask) -> str:
    """What a token holds for. The view may change, it moves no position."""
    return f"{asked.name}" if asked.view is None else f"{asked.name}/records"


def _read(deps: Deps, asked: WatchTask, found: Watched) -> _Place | int | None:
    """The place in the token; of a list of records: the completion number of the first outcome that was not listed.

    A task that was deleted and made anew is another one than that of its tokens. Raises InvalidArgument, NotFound.
    """
    task = found.task
    if asked.view is not None:
        scope = f"{task.uid}/{task.generation}/{Order.COMPLETION.name}"
        try:
            listed = deps.tokens.read("records", scope, asked.token, "resume_token")
        except InvalidArgument:
            pass
        else:
            return listed and min(max(listed[0], found.first_sequence), task.next_sequence)
    position = deps.tokens.read("watch", _scope(asked), asked.token, "resume_token")
    if position is None:
        return None
    task_key, generation, delivered, due = map(int, position[1].split("."))
    if task_key != task.key:
        raise NotFound(TASK_TYPE, str(asked.name))
    return _Place(seq=position[0], task_key=task_key, generation=generation, delivered=delivered, due=due)


class _Watch:
    """One call. What it yields moves its place on."""

    def __init__(
        self, deps: Deps, hub: Hub, asked: WatchTask, found: Watched, seq: int, place: _Place | int | None
    ) -> None:
        task = found.task
        self._deps = deps
        self._hub = hub
        self._found = found
        self._found_seq = seq
        self._view = asked.view
        self._scope = _scope(asked)
        self._name = str(task.name)
        self._resumed = isinstance(place, _Place)
        if isinstance(place, _Place):
            self._generation = place.generation
            self._delivered, self._due = place.delivered, place.due
            seq = place.seq
        else:
            self._generation = task.generation
            self._delivered = found.first_sequence if place is None else place
            self._due = task.next_sequence
        self._over = task.generation > self._generation or task.state.is_final  # its last change is in the log
        self._follower = Follower(deps, hub, task.project, task.key, seq)

    async def messages(self, topic: Topic) -> AsyncGenerator[bytes, None]:
        """All of them, to the end of the generation."""
        follower = self._follower
        if self._resumed:
            await follower.check()
        else:
            yield self._snapshot()
        operation = await self._operation()
        async for message in self._outcomes(self._due, operation, self._deps.clock.now_us()):
            yield message
        if not self._resumed and self._over:
            return
        while not self._over or follower.seq < self._found_seq:  # else its end was delivered before
            found = await (follower.read(self._found_seq) if self._over else follower.take(topic))
            changes, upto = found or ((), follower.seq)
            for shown in changes:
                if shown.entry.generation > self._generation:
                    return
                async for message in self._change(shown):
                    yield message
                if shown.entry.ends:
                    return
            follower.seq = max(follower.seq, upto)
            if found is None:
                yield follower.quiet(self._token())
                if self._hub.closed:
                    return

    def _snapshot(self) -> bytes:
        task = self._found.task
        running = len(self._deps.live.running(task.key))
        made = codec.snapshot(task, self._found.operation, running, self._deps.clock.now_us())
        return made + codec.token(self._token())

    async def _operation(self) -> str:
        """Name of the generation's operation, for outcomes that are due before any change is met."""
        if self._view is None or self._delivered >= self._due:
            return ""
        task = self._found.task
        if task.generation == self._generation:
            return str(task.operation_name) if task.operation else ""
        found = await self._deps.store.operation_of(task.key, self._generation)
        return "" if found is None else str(OperationName(found.project, found.operation_id))

    async def _change(self, shown: Shown) -> AsyncGenerator[bytes, None]:
        entry = shown.entry
        if shown.fresh_at:
            yield await self._follower.message(shown, self._token())
            return
        if entry.change is Change.DELETED:
            raise NotFound(TASK_TYPE, self._name)
        async for message in self._outcomes(entry.next_sequence, entry.operation_name, entry.time_us):
            yield message
        self._follower.seq = entry.seq
        self._due = max(self._due, self._delivered)
        if not shown.silent:
            yield await self._follower.message(shown, self._token())

    async def _outcomes(self, end: int, operation: str, time_us: int) -> AsyncGenerator[bytes, None]:
        """The outcomes that were not delivered, up to completion number `end`."""
        if self._view is None:
            return
        self._due = max(self._due, end)
        head = b""
        while self._delivered < end:
            page = await self._hub.outcomes.page(self._found.task.key, self._delivered, end, self._view)
            self._delivered = page.next_sequence
            if page.message:
                head = head or codec.head(self._name, operation, time_us)
                yield head + page.message + codec.token(self._token())

    def _token(self) -> str:
        place = _Place(
            seq=self._follower.seq,
            task_key=self._found.task.key,
            generation=self._generation,
            delivered=self._delivered if self._view is not None else 0,
            due=self._due if self._view is not None else 0,
        )
        return place.token(self._deps, self._scope)
