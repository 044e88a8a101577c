"""Dispatcher, executor and slots, real, on a store and workers that the test moves on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from google.rpc.error_details_pb2 import ErrorInfo

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec.requests import ChangeTask, ReactivateTask
from batchyard_server.codec.tokens import Tokens
from batchyard_server.dispatch.dispatcher import Dispatcher
from batchyard_server.engine import pause, reactivate
from batchyard_server.engine.deps import Deps
from batchyard_server.execution.handlers import HandlerBook
from batchyard_server.execution.local import LocalExecutor
from batchyard_server.model.failpoints import OFF
from batchyard_server.model.handler import HandlerSpec, Isolation, Kind
from batchyard_server.model.settings import Settings
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Task
from tests.support import store as tasks
from tests.support.artifacts import NO_FILES
from tests.support.clock import FakeClock, SeededRandomness
from tests.support.dispatch import FakeLauncher, FakeWorker
from tests.support.memory_store import Held, MemoryStore

MAX_WORKER_LOST = 2
NODE = "a-node"


def reason(record: RecordInfo) -> str:
    """The reason in its error's ErrorInfo, "" without one."""
    info = ErrorInfo()
    for detail in record.error.details:
        detail.Unpack(info)
    return info.reason


class Stage:
    """One server without processes and disk."""

    def __init__(
        self,
        *,
        slots: int = 1,
        handlers: Sequence[str] = ("echo",),
        limits: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        weights: Mapping[str, float] = MappingProxyType({}),
        automatic: bool = True,
    ) -> None:
        self.slots = slots
        self.handlers = handlers
        self.limits = limits  # by handler: fields of its HandlerSpec
        self.weights = weights  # by project; others have 1
        self.clock = FakeClock()
        self.randomness = SeededRandomness()
        self._outside = asyncio.all_tasks()  # which are no part of the server
        self.store = MemoryStore()
        self.store.automatic = automatic
        self.launcher = FakeLauncher(self.clock)
        self.assemble()

    def assemble(self) -> None:
        """Put a server together, the first or one after a restart."""
        specs = {
            name: HandlerSpec(handler_id=name, kind=Kind.PYTHON, **self.limits.get(name, {})) for name in self.handlers
        }
        self.book = HandlerBook(specs, Isolation.SUBREAPER, first_retry_seconds=0)
        self.executor = LocalExecutor(slots=self.slots, handlers=self.book, launcher=self.launcher, clock=self.clock)
        self.dispatcher = Dispatcher(
            self.store.as_store(),
            self.executor,
            slots=self.slots,
            node=NODE,
            max_worker_lost=MAX_WORKER_LOST,
            clock=self.clock,
            randomness=SeededRandomness(),
            failpoints=OFF,
            handlers=specs,
            weight_of=lambda project: self.weights.get(project, 1.0),
            look_seconds=0,
            retry_seconds=0,
        )
        self.executor.attach(self.dispatcher)
        self.deps = Deps(
            store=self.store.as_store(),
            clock=self.clock,
            randomness=self.randomness,
            live=self.dispatcher,
            handlers=self.book,
            failpoints=OFF,
            tokens=Tokens(bytes(32)),
            files=NO_FILES,
        )
        self.dispatcher.start(self.store.live())

    @property
    def workers(self) -> list[FakeWorker]:
        """Workers that are not reaped, the oldest first."""
        return self.launcher.living

    def create(
        self, records: int = 1, *, handler: str = "echo", project: str = "p", size: int = 0, **settings: Any
    ) -> Held:
        """Store a QUEUED task with these settings."""
        new = tasks.new_task(f"t{self.store.created}", records, project=project, size=size)
        task = replace(new.task, handler=handler, settings=Settings(**settings))
        return self.store.held[self.store.create(replace(new, task=task)).key]

    async def pause(self, held: Held) -> None:
        """PauseBatchTask."""
        await pause.pause_task(self.deps, ChangeTask(name=held.task.name, request=None))

    async def resume(self, held: Held) -> None:
        """ResumeBatchTask."""
        await pause.resume_task(self.deps, ChangeTask(name=held.task.name, request=None))

    async def reactivate(self, held: Held, *, everything: bool = False) -> None:
        """ReactivateBatchTask."""
        asked = ReactivateTask(name=held.task.name, everything=everything, etag="", request=None)
        await reactivate.reactivate_task(self.deps, asked)

    async def configure(self, held: Held, **settings: Any) -> None:
        """Change settings of a task."""

        def decide(task: Task) -> Task:
            return replace(task, settings=replace(task.settings, **settings), revision=task.revision + 1)

        await self.store.update_task(held.task.name, decide, None)

    async def turn(self, count: int = 10) -> None:
        """Let the loop run what is due."""
        for _ in range(count):
            await asyncio.sleep(0)

    def tick(self, seconds: float = 0.0) -> None:
        """Time passes, and all look at the clock: the executor at its slots, the retrier and the gates at who waits."""
        self.clock.advance(seconds)
        if self.executor._ticking is not None:
            self.executor._ticking.cancel()  # the machine's time is none of ours
        self.executor._tick()
        self.dispatcher._retrier._look({})
        self.dispatcher._gates.look()

    async def load(self) -> None:
        """Every worker that was started loads its handler."""
        await self.turn()
        for worker in self.workers:
            if not worker.is_loaded and not worker.killed:
                worker.load()
                worker.deliver()
        await self.turn()

    async def work(self) -> None:
        """Everything goes well until nothing is left to do."""
        idle = 0
        while idle < 3:
            idle += 1
            for worker in self.workers:
                if worker.dead or worker.killed:
                    worker.reap()
                    idle = 0
                elif not worker.is_loaded:
                    worker.load()
                    idle = 0
                elif worker.unacked <= 3 and worker.step(flush=True):
                    idle = 0
                worker.deliver()
            self.store.commit()
            await self.turn(4)
            self.clock.advance(0.001)

    async def stop(self) -> None:
        """Stop the server; its workers die when they are told to."""
        stopping = asyncio.ensure_future(self.dispatcher.stop())
        while not stopping.done():
            for worker in self.workers:
                if worker.killed or worker.dead:
                    worker.reap()
            self.store.commit()
            self.store.read()
            await asyncio.sleep(0)
        await stopping

    def die(self) -> None:
        """The server is killed, with its calls and its workers. `assemble` is to follow."""
        for task in asyncio.all_tasks() - self._outside:
            task.cancel()
        self.launcher.workers.clear()
        self.dispatcher._draining = True

    def check_books(self) -> None:
        """Nothing is left of what has ended."""
        assert self.dispatcher._queues == {}
        assert self.dispatcher._jobs.running == set()
        assert self.dispatcher._admission._leaving == {}
        assert self.dispatcher._admission._holds == {}
        assert not self.dispatcher._ready
        assert self.dispatcher._ready._shares._shares == {}
        self.check_slots()

    def check_slots(self) -> None:
        """The slots have given everything back, and nobody is charged for anything."""
        assert self.dispatcher._gates._timer is None or self.dispatcher._ready
        for gate in self.dispatcher._gates._gates.values():
            assert not gate._slots
            assert gate.bucket is None or not gate.bucket.unbegun
        assert not any(self.dispatcher._chooser._at.values())
        for slot in self.executor._slots:
            assert (slot.load, slot._work_ns, slot._unknown, slot._asked_back) == (0, 0, 0, {})
            assert slot.running() is None


async def running(stage: Stage, records: int, at: int = 0, **options: Any) -> tuple[Held, FakeWorker]:
    """A task whose record `at` runs, all of them in one subtask."""
    warm = stage.create()
    await stage.load()
    await stage.work()
    assert warm.task.state is TaskState.SUCCEEDED
    held = stage.create(records, **options)
    await stage.turn()
    worker = stage.workers[0]
    for _ in range(2 * at + 1):
        worker.step()
    assert worker.running == at
    await stage.turn()
    return held, worker


def attempts(held: Held) -> dict[int, int]:
    """The attempt of every record that ended."""
    return {index: record.attempt for index, record in held.outcomes.items()}
