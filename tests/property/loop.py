"""How does a server run 10,000 lives in minutes, the same way each time? On a loop of its own, in one thread.

The loop's time is the fake clock's, nothing in it waits for the machine, and `run_forever` returns when nothing is left
to do at this moment. What would wait for more than that, hangs: `do` says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from batchyard_server.store.sqlite import store
from batchyard_server.store.sqlite.transaction import Transaction
from batchyard_server.store.sqlite.writer import Deliver, Ended, Writer
from tests.support.clock import FakeClock

T = TypeVar("T")


class _NoInput:
    """A selector: nothing ever comes from outside."""

    def select(self, _timeout: float | None) -> list[Any]:
        return []

    def close(self) -> None: ...


class QuietLoop(asyncio.BaseEventLoop):
    """An event loop without input and output. What goes to threads is done at once instead."""

    def __init__(self, clock: FakeClock) -> None:
        self._fake = clock
        super().__init__()
        self._selector = _NoInput()
        self._clock_resolution = 1e-6  # of floats: after months a nanosecond is less than their step

    def time(self) -> float:
        """Seconds, of the fake clock."""
        return self._fake.monotonic_ns() / 1e9

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it, and all that follows from it, until nothing is left to do."""
        task = self.create_task(coroutine)
        self.run_forever()
        assert task.done(), f"hangs: {task}"
        return task.result()

    def cancel_all(self) -> None:
        """End everything that goes on here."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.run_forever()

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run it now."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - the caller awaits it
            future.set_exception(error)
        return future

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        scheduled = self._scheduled
        if not self._ready and not (scheduled and scheduled[0]._when <= self.time()):
            self.stop()

    def _process_events(self, event_list: list[Any]) -> None: ...

    def _write_to_self(self) -> None: ...


class LoopWriter(Writer):
    """The store's writer, whose groups are run and committed on the loop instead of on its thread.

    A group takes what has been queued in one turn of the loop. Nothing is patient here, for nobody would come.
    """

    def __init__(self, tx: Transaction, loop: asyncio.AbstractEventLoop, deliver: Deliver) -> None:
        super().__init__(tx, loop, deliver)
        self._closing = True
        self._gate.release()
        self._thread.join()
        self._closing = False
        self._is_due = False
        # What is durable is not the question here, and the machine does not crash.
        tx.connection.pragma("synchronous", "OFF")

    async def submit(
        self,
        call: Callable[[Transaction], Any],
        *,
        bulk: bool = False,
        direct: bool = False,
        patient: bool = False,
        size: int = 0,
    ) -> Any:
        """See Writer.submit."""
        return await super().submit(call, bulk=bulk, direct=direct, size=size)

    def _wake_if(self, waiting: int) -> None:
        if self._queue and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_due = False
        self._drain()
        while self._control or self._bulk:
            ended: list[Ended] = []
            self._group(ended)


@contextlib.contextmanager
def on_the_loop() -> Any:
    """Stores that are opened within have a LoopWriter."""
    writer = store.Writer
    store.Writer = LoopWriter  # type: ignore[misc]
    try:
        yield
    finally:
        store.Writer = writer  # type: ignore[misc]
