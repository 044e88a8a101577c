"""WatchBatchTasks: all tasks of a project, from snapshots or a token on, for as long as the caller likes.

    page 1 of the list ─▶ what changed since of its tasks ─▶ page 2 ─▶ what changed since of 1 and 2 ─▶ … ─▶ follow

Each page is read together with its place in the log. So nothing is remembered of any task: whether its snapshot was
shown follows from where it is in the list.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from batchyard_server.codec import watch as codec
from batchyard_server.codec.queries import WatchTasks
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.watch_filter import Sieve
from batchyard_server.engine.watch_follow import Follower
from batchyard_server.engine.watch_hub import Hub
from batchyard_server.engine.watch_topic import Shown
from batchyard_server.model import limits
from batchyard_server.model.errors import NotFound
from batchyard_server.model.task_query import TaskQuery
from batchyard_server.model.watch import Change
from batchyard_server.query import TASKS, parse_filter
from batchyard_server.store.event_log import Watched


async def watch_tasks(deps: Deps, hub: Hub, asked: WatchTasks) -> AsyncGenerator[bytes, None]:
    """Serialized OperationStatus messages. Raises InvalidArgument (INVALID_FILTER, INVALID_TOKEN), TokenExpired."""
    sieve = Sieve(deps.live, hub.facts, asked.filter, parse_filter(asked.filter, TASKS, asked.project))
    watch = _Watch(deps, hub, asked, sieve, _read(deps, asked))
    async with aclosing(watch.messages()) as messages:
        async for message in messages:
            yield message


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a watch goes on.

    Attributes:
        seq: the last change that was delivered, of the tasks that were shown.
        listing: whether there are snapshots to come, of the tasks after (create_us, task_id) `listed` in the list.
        task_key, delivered: of this task, outcomes below this completion number were delivered; 0 = none are known.
    """

    seq: int
    listing: bool
    listed: tuple[int, str] | None = None
    task_key: int = 0
    delivered: int = 0

    def token(self, deps: Deps, scope: str) -> str:
        """The place as a token."""
        create_us, task_id = self.listed or (0, "")
        position = f"{self.listing:d}.{self.task_key}.{self.delivered}.{create_us}.{task_id}"
        return deps.tokens.make("watch", scope, (self.seq, position))


def _scope(asked: WatchTasks) -> str:
    """What a token holds for. The view may change, it moves no position."""
    scope = f"project/{asked.project}" if asked.view is None else f"project/{asked.project}/records"
    return f"{scope}?{asked.filter}" if asked.filter else scope


def _read(deps: Deps, asked: WatchTasks) -> _Place | None:
    """The place in the token. Raises InvalidArgument."""
    position = deps.tokens.read("watch", _scope(asked), asked.token, "resume_token")
    if position is None:
        return None
    listing, task_key, delivered, create_us, task_id = position[1].split(".")
    return _Place(
        seq=position[0],
        listing=listing == "1",
        listed=(int(create_us), task_id) if task_id else None,
        task_key=int(task_key),
        delivered=int(delivered),
    )


class _Watch:
    """One call. What it yields moves its place on."""

    def __init__(self, deps: Deps, hub: Hub, asked: WatchTasks, sieve: Sieve, place: _Place | None) -> None:
        self._deps = deps
        self._hub = hub
        self._sieve = sieve
        self._project = asked.project
        self._view = asked.view
        self._scope = _scope(asked)
        self._resumed = place is not None
        self._listing = place is None or place.listing
        self._listed = None if place is None else place.listed
        self._partly = (place.task_key, place.delivered) if place is not None else (0, 0)
        self._follower = Follower(deps, hub, asked.project, None, place.seq if place is not None else 0)

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """All of them."""
        follower = self._follower
        if self._resumed:
            await follower.check()
        if self._listing:
            async for message in self._snapshots():
                yield message
            yield follower.quiet(self._token())
        with self._hub.topic(self._project, curious=self._sieve.curious) as topic:
            while True:
                found = await follower.take(topic)
                changes, upto = found or ((), follower.seq)
                async for message in self._changes(changes, upto):
                    yield message
                if found is None or follower.is_quiet:
                    yield follower.quiet(self._token())
                if found is None and self._hub.closed:
                    return

    async def _snapshots(self) -> AsyncGenerator[bytes, None]:
        """The tasks of the list that were not shown yet, and between its pages what changed of those that were."""
        follower = self._follower
        begun = False
        while self._listed is not None or not begun:
            begun = True
            page = await self._deps.store.watched_page(
                TaskQuery(
                    project=self._project,
                    limit=limits.WATCH_PAGE_TASKS,
                    max_bytes=limits.WATCH_PAGE_BYTES,
                    filter=self._sieve.wanted,
                    after=self._listed,
                    running=self._sieve.all_running(),
                )
            )
            if self._listed is None:
                follower.seq = page.seq
            while follower.seq < page.seq:
                changes, upto = await follower.read(page.seq)
                async for message in self._changes([each for each in changes if self._was_shown(each)], upto):
                    yield message
            for watched in page.tasks:
                self._listed = watched.task.create_us, watched.task.task_id
                yield self._snapshot(watched)
            self._listed = page.follows
        self._listing, self._listed = False, None

    def _was_shown(self, shown: Shown) -> bool:
        """Whether the task of the change comes in the list where the snapshots have been already."""
        if self._listed is None:
            return False
        create_us, task_id = self._listed
        return shown.entry.position <= (-create_us, task_id)

    def _snapshot(self, watched: Watched) -> bytes:
        running = len(self._deps.live.running(watched.task.key))
        made = codec.snapshot(watched.task, watched.operation, running, self._deps.clock.now_us())
        return made + codec.token(self._token())

    async def _changes(self, changes: Sequence[Shown], upto: int) -> AsyncGenerator[bytes, None]:
        """These changes; `upto`: the number up to which they are all."""
        for shown, told in zip(changes, await self._sieve.judge(changes), strict=True):
            if shown.fresh_at:
                if told:
                    yield await self._follower.message(shown, self._token())
                continue
            if told:
                async for message in self._outcomes(shown):
                    yield message
            entry = shown.entry
            self._follower.seq = entry.seq
            if self._partly[0] == entry.task_key and self._partly[1] <= entry.next_sequence:
                self._partly = (0, 0)
            if told and not shown.silent:
                yield await self._follower.message(shown, self._token())
        self._follower.seq = max(self._follower.seq, upto)

    async def _outcomes(self, shown: Shown) -> AsyncGenerator[bytes, None]:
        """The outcomes that came with a change and were not delivered; none if its task was deleted since."""
        entry = shown.entry
        if self._view is None or entry.change is Change.DELETED:
            return
        task_key, delivered = self._partly
        first = shown.first_after(self._follower.seq)
        if task_key == entry.task_key:
            first = max(first, delivered)
        head = b""
        while first < entry.next_sequence:
            try:
                page = await self._hub.outcomes.page(entry.task_key, first, entry.next_sequence, self._view)
            except NotFound:
                return
            first = page.next_sequence
            self._partly = entry.task_key, first
            if page.message:
                head = head or codec.head(str(entry.name), entry.operation_name, entry.time_us)
                yield head + page.message + codec.token(self._token())

    def _token(self) -> str:
        task_key, delivered = self._partly
        place = _Place(
            seq=self._follower.seq,
            listing=self._listing,
            listed=self._listed,
            task_key=task_key,
            delivered=delivered,
        )
        return place.token(self._deps, self._scope)
