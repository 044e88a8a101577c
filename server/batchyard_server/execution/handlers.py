"""Which handlers are there, and can they be loaded? What the engine shows and the executor starts from."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from batchyard_server.model.handler import HandlerSpec, HandlerStatus, Isolation

log = logging.getLogger(__name__)
FIRST_RETRY_SECONDS = 1.0
MOST_RETRY_SECONDS = 30.0


class HandlerBook:
    """The configured handlers and whether their last load worked. Implements `engine.live.Handlers`.

    Attributes:
        on_retry: called when a handler whose load failed may be tried again.
    """

    def __init__(
        self,
        specs: Mapping[str, HandlerSpec],
        isolation: Isolation,
        *,
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
    ) -> None:
        self._specs = dict(sorted(specs.items()))
        self._isolation = isolation
        self._first_retry_seconds = first_retry_seconds
        self._failures: dict[str, int] = {}
        self._pausing: dict[str, asyncio.TimerHandle] = {}
        self._broken: set[str] = set()
        self.on_retry: Callable[[], None] = lambda: None

    def get(self, handler_id: str) -> HandlerStatus | None:
        """One handler, None if it is not configured."""
        spec = self._specs.get(handler_id)
        return None if spec is None else self._status(spec)

    def list(self) -> list[HandlerStatus]:
        """All handlers, by id."""
        return [self._status(spec) for spec in self._specs.values()]

    def spec(self, handler_id: str) -> HandlerSpec:
        """The configuration of a handler that exists."""
        return self._specs[handler_id]

    def can_start(self, handler_id: str) -> bool:
        """Whether a worker may be started now: configured, and not within the pause after a failed load."""
        return handler_id in self._specs and handler_id not in self._pausing

    def _status(self, spec: HandlerSpec) -> HandlerStatus:
        return HandlerStatus(spec=spec, isolation=self._isolation, available=spec.handler_id not in self._broken)

    def loaded(self, handler_id: str) -> None:
        """A worker has loaded it."""
        if handler_id in self._broken:
            log.info("handler %s can be loaded again", handler_id)
        self._broken.discard(handler_id)
        self._failures.pop(handler_id, None)

    def failed(self, handler_id: str, error: str) -> None:
        """A worker could not load it: try again after 1 s, 2 s, … 30 s."""
        failures = self._failures[handler_id] = self._failures.get(handler_id, 0) + 1
        pause = min(self._first_retry_seconds * 2.0 ** min(failures - 1, 10), MOST_RETRY_SECONDS)
        log.error("handler %s cannot be loaded, next try in %g s: %s", handler_id, pause, error.rstrip())
        self._broken.add(handler_id)
        if handler_id not in self._pausing:
            loop = asyncio.get_running_loop()
            self._pausing[handler_id] = loop.call_later(pause, self._again, handler_id)

    def _again(self, handler_id: str) -> None:
        del self._pausing[handler_id]
        self.on_retry()
