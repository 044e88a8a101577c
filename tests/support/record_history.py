"""A task with a past: outcomes of every kind in several generations, and how they are read without any filter."""

from __future__ import annotations

import random
from collections.abc import Sequence

from google.rpc.status_pb2 import Status

from batchyard.v1.record_pb2 import RecordInfo
from batchyard_server.codec import outcomes
from batchyard_server.model import ranges as rg
from batchyard_server.model.errors import Code
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Attempts, Flush, Task
from batchyard_server.store.protocols import Store
from tests.support import store as make

CODES = (Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.INTERNAL)


class History:
    """One task, lived at random.

    Attributes:
        task: as it is now.
        running: records whose handler runs now.
        ids: whether its records have ids.
    """

    def __init__(self, store: Store, task: Task, chance: random.Random, *, ids: bool) -> None:
        self.store = store
        self.task = task
        self.chance = chance
        self.ids = ids
        self.running: frozenset[int] = frozenset()

    @classmethod
    async def lived(cls, store: Store, name: str, chance: random.Random, total: int) -> History:
        """A task with up to three generations, the last one of which may be going on."""
        ids = chance.random() < 0.6
        task = await store.create_task(make.new_task(name, total, ids=ids), None)
        history = cls(store, task, chance, ids=ids)
        for last in [False] * chance.choice((0, 0, 1, 2)) + [True]:
            await history.live(goes_on=last and chance.random() < 0.6)
            if chance.random() < 0.3:
                while await store.merge():
                    pass
            if not last:
                await history.reactivate()
        return history

    async def live(self, *, goes_on: bool) -> None:
        """A generation, to its end or not."""
        pending = list(rg.indexes((await self.store.unfinished(self.task)).pending))
        share = self.chance.choice((0.0, 0.3, 0.8, 1.0))
        wanted = sorted(self.chance.sample(pending, int(share * len(pending))))
        lease, left = None, list[int]()
        if wanted:
            lease = await make.lease(self.store, self.task, *rg.from_indexes(wanted))
            left = wanted if self.chance.random() < 0.5 else self.chance.sample(wanted, len(wanted))
            ends = not goes_on and len(wanted) == len(pending)
            keep = 0 if ends else self.chance.randint(1, len(wanted))
            while len(left) > keep:
                some = min(self.chance.choice((1, 2, 20)), len(left) - keep)
                self.task = await self.store.record_outcomes(lease, self.flush(sorted(left[:some])))
                left = left[some:]
        if goes_on:
            self.running = frozenset(index for index in left if self.chance.random() < 0.7)
            return
        if len(wanted) < len(pending):
            self.task = await self.store.update_task(self.task.name, make.cancel, None)
        if lease is not None and left:
            begun = {index: Attempts(begun=self.chance.randint(1, 3)) for index in left[::2]}
            await self.store.release(lease, begun)
        self.task = await self.store.get_task(self.task.name)

    async def reactivate(self) -> None:
        """Begin the next generation, if there is anything to run again."""
        everything = self.chance.random() < 0.3
        if self.task.state is not TaskState.SUCCEEDED or self.task.failed or everything:
            decide = make.reactivate_all if everything else make.reactivate
            self.task = await self.store.update_task(self.task.name, decide, None)

    def flush(self, indexes: Sequence[int]) -> Flush:
        """Outcomes of these records; those of a flush often are alike."""
        bad = self.chance.choice((0.0, 0.0, 0.2, 1.0))
        records = [self.outcome(index, failed=self.chance.random() < bad) for index in indexes]
        return outcomes.of_records(rg.from_indexes(indexes), [record.SerializeToString() for record in records])

    def outcome(self, index: int, *, failed: bool) -> RecordInfo:
        """An outcome as a worker would send it."""
        record = RecordInfo(
            name=f"{self.task.name}/records/{index}",
            index=index,
            record_id=f"r{index}" if self.ids else "",
            state=RecordInfo.FAILED if failed else RecordInfo.SUCCEEDED,
            attempt=self.chance.randint(1, 3),
            generation=self.task.generation,
        )
        if failed:
            record.error.CopyFrom(Status(code=self.chance.choice(CODES), message="no"))
        else:
            record.output.text = "x" * self.chance.randrange(50)
        if self.chance.random() < 0.4:
            record.exit_code = self.chance.choice((-9, 0, 1, 7))
        return record
