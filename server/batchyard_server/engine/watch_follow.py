"""Where is a watcher in the log, and what comes next for it? From its topic if it keeps up, else from the store."""

from __future__ import annotations

from batchyard_server.codec import watch as codec
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.watch_hub import QUIET_SECONDS, Hub
from batchyard_server.engine.watch_topic import Shown, Topic, joined
from batchyard_server.model.errors import TokenExpired


class Follower:
    """A place in the changes of a project, or of one task of it.

    Attributes:
        seq: everything up to this number was delivered, or was no concern of the watcher.
    """

    def __init__(self, deps: Deps, hub: Hub, project: str, task_key: int | None, seq: int) -> None:
        self._deps = deps
        self._hub = hub
        self._project = project
        self._task_key = task_key
        self.seq = seq
        self._number = 0
        self._told_ns = deps.clock.monotonic_ns()

    @property
    def is_quiet(self) -> bool:
        """Whether the watcher had no message for long."""
        return self._deps.clock.monotonic_ns() - self._told_ns >= int(QUIET_SECONDS * 1e9)

    async def check(self) -> None:
        """Raise TokenExpired if not everything after the place is kept."""
        page = await self._deps.store.events(self.seq, self.seq, self._project, self._task_key)
        if not page.kept:
            raise TokenExpired()

    async def read(self, upto: int) -> tuple[list[Shown], int]:
        """Changes after the place and up to `upto` out of the log, and the number up to which they are all."""
        page = await self._deps.store.events(self.seq, upto, self._project, self._task_key)
        if not page.kept:
            raise TokenExpired()
        return joined(page.entries), page.last

    async def take(self, topic: Topic) -> tuple[list[Shown], int] | None:
        """The next changes, and the number up to which they are all. None: it was quiet, or the server drains."""
        quiet = False
        while self.seq >= topic.since:
            changes, upto = topic.after(self.seq, self._number), max(self._hub.seen(topic), self.seq)
            self._number = topic.number
            if changes:
                return changes, upto
            self.seq = upto
            if quiet:
                return None
            quiet = not await self._hub.wait(topic, self._told_ns)
        self._number = 0
        return await self.read(topic.since)

    async def message(self, shown: Shown, token: str) -> bytes:
        """A change for the wire."""
        self._told_ns = self._deps.clock.monotonic_ns()
        entry = shown.entry
        if entry.ends and shown.ended is None:
            shown.ended = await self._deps.store.operation_of(entry.task_key, entry.generation)
        return shown.message(token, self._hub.running(shown))

    def quiet(self, token: str) -> bytes:
        """A message that has only a token."""
        self._told_ns = self._deps.clock.monotonic_ns()
        return codec.quiet(self._deps.clock.now_us()) + codec.token(token)
