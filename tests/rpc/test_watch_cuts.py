"""Two hundred connections, cut anywhere, and servers that stop: what came adds up to what was committed, each once.

What was committed is what the store told its subscribers; a token tells which change a message is about.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import random
from dataclasses import dataclass, field, replace

import grpc
import grpc.aio
import pytest

from batchyard.v1 import batch_task_service_pb2 as service
from batchyard.v1.operation_status_pb2 import OperationStatus
from batchyard_server.codec.tokens import Tokens
from batchyard_server.model import limits
from batchyard_server.model.states import TaskState
from batchyard_server.model.task import Attempts, Lease
from batchyard_server.model.watch import Change, LogEntry
from batchyard_server.store.protocols import TaskEvent
from tests.rpc.stages import info
from tests.rpc.watching import Watcher, only_token
from tests.rpc.world import create, name
from tests.support import outcomes
from tests.support.server import Served, serving

LIVES = 5
CUTS = 50  # of each of the four clients
RECORDS = 12
Outcome = tuple[str, int, int]


@dataclass
class Truth:
    """What was committed: changes by number, and the outcomes of each task in the order of their commits."""

    entries: dict[int, LogEntry] = field(default_factory=dict)
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)

    @property
    def varied(self) -> bool:
        """Whether enough of what may happen did."""
        states = {entry.state for entry in self.entries.values()}
        return bool(self.deleted) and states >= {TaskState.PAUSED, TaskState.SUCCEEDED, TaskState.CANCELLED}

    def listen(self, events: list[TaskEvent]) -> None:
        """A commit."""
        for event in events:
            if event.entry is not None:
                self.entries[event.entry.seq] = event.entry
            if event.change is Change.DELETED:
                self.deleted.add(event.task.key)


class World:
    """Plays callers and workers on a few tasks, at random."""

    def __init__(self, chance: random.Random, truth: Truth) -> None:
        self._chance = chance
        self._truth = truth
        self._leases: dict[str, tuple[Lease, list[int]]] = {}
        self._made = 0
        self.server: Served

    async def serve(self, server: Served) -> None:
        """A server has started: the leases of the one before have ended, which nobody could be told of."""
        self.server = server
        self._leases.clear()
        known = max(self._truth.entries, default=0)
        found = await server.store.events(known, server.store.last_seq, "default", None)
        self._truth.entries |= {entry.seq: entry for entry in found.entries}
        server.store.subscribe(lambda events: self._truth.listen(list(events)))

    async def step(self) -> None:
        """Something happens to one of the tasks."""
        task_id = self._chance.choice(("a", "b", "c", "only"))
        try:
            state = TaskState((await info(self.server, task_id)).state)
        except grpc.RpcError:
            await self.server.tasks.CreateBatchTask(create(task_id, records=RECORDS))
            return
        await self._happen(task_id, state)

    async def _happen(self, task_id: str, state: TaskState) -> None:
        tasks, task = self.server.tasks, name(task_id)
        roll = self._chance.random()
        if state.is_final:
            done = state is TaskState.SUCCEEDED and not (await info(self.server, task_id)).counts.failed
            if task_id != "only" and (roll < 0.3 or done):
                await tasks.DeleteBatchTask(service.DeleteBatchTaskRequest(name=task))
            else:
                every = service.ReactivateBatchTaskRequest.ALL
                await tasks.ReactivateBatchTask(service.ReactivateBatchTaskRequest(name=task, scope=every))
        elif state is TaskState.PAUSED:
            await tasks.ResumeBatchTask(service.ResumeBatchTaskRequest(name=task))
        elif state is TaskState.CANCELLING or (task_id in self._leases and roll < 0.75):
            await self._work(task_id)
        elif roll > 0.97:
            await tasks.CancelBatchTask(service.CancelBatchTaskRequest(name=task))
        elif roll > 0.9:
            await tasks.PauseBatchTask(service.PauseBatchTaskRequest(name=task))
        elif state in (TaskState.QUEUED, TaskState.RUNNING) and task_id not in self._leases:
            left = await self.server.left(task)
            taken = self._chance.sample(left, self._chance.randrange(1, len(left) + 1))
            self._leases[task_id] = await self.server.lease(task, sorted(taken)), sorted(taken)

    async def _work(self, task_id: str) -> None:
        """Outcomes of a lease, some of them tried again; or its end."""
        if task_id not in self._leases:
            return
        lease, left = self._leases[task_id]
        if self._chance.random() < 0.15:
            await self.server.store.release(lease, {})
            del self._leases[task_id]
            return
        done = sorted(self._chance.sample(left, self._chance.randrange(1, min(4, len(left)) + 1)))
        failed = [index for index in done if not index or self._chance.random() < 0.3]  # so it can be reactivated
        again = [index for index in failed if index and self._chance.random() < 0.3]
        task = await self.server.store.get_task(outcomes.TaskName(*_parts(task_id)))
        flush = outcomes.flush(
            task.name, ok=[i for i in done if i not in failed], failed=failed, generation=lease.generation
        )
        cancelling = task.state is TaskState.CANCELLING
        retries = outcomes.retries(flush, {index: Attempts(begun=1, failures=1) for index in again}) if again else None
        await self.server.store.record_outcomes(lease, flush, retries)
        kept = [index for index in done if cancelling or index not in again]
        told = self._truth.outcomes.setdefault(task.key, [])
        told += [(task_id, lease.generation, index) for index in kept]
        left = [index for index in left if index not in done]
        self._leases[task_id] = lease, left
        if not left:
            await self.server.store.release(lease, {})  # which ends a cancel
            del self._leases[task_id]


def _parts(task_id: str) -> tuple[str, str]:
    return "default", task_id


class Client:
    """Watches with ever new connections. `task_id`: None = the project; `records`: outcomes too."""

    def __init__(self, truth: Truth, task_id: str | None, *, records: bool) -> None:
        self.truth = truth
        self.task_id = task_id
        self.records = records
        self.cuts = 0
        self.token = ""
        self.seqs: list[int] = []  # of the changes that it was told of
        self.outcomes: dict[str, list[Outcome]] = {}  # by task and generation's operation
        self.begun: list[tuple[int, int]] = []  # of one task: where in the log a generation was begun, and its key
        self.ended: list[int] = []

    async def connect(self, server: Served, most: int, seconds: float) -> None:
        """Read until that many messages came or the time is over."""
        watcher = Watcher(server, self.task_id, token=self.token, include_records=self.records)
        tokens = Tokens(server.store.secret)
        self.cuts += 1
        try:
            async with asyncio.timeout(seconds):
                for _ in range(most):
                    message = await watcher.next()
                    if message is None:
                        self.ended.append(self.seqs[-1] if self.seqs else 0)
                        self.token = ""
                        return
                    self._take(tokens, message)
        except TimeoutError:
            pass
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:  # the task of a watch of one, before it is created
                raise
        finally:
            await watcher.close()

    def _take(self, tokens: Tokens, message: OperationStatus) -> None:
        fresh, self.token = not self.token, message.resume_token
        scope = "project/default" if self.task_id is None else name(self.task_id)
        found = tokens.read("watch", scope + "/records" * self.records, message.resume_token, "")
        assert found is not None
        seq = found[0]
        if message.records:
            told = self.outcomes.setdefault(message.name, [])
            told += [(record.name.split("/")[3], record.generation, record.index) for record in message.records]
        elif fresh and self.task_id is not None:
            self.begun.append((seq, int(found[1].split(".")[0])))
        elif not only_token(message):
            self._check(message, seq)

    def _check(self, message: OperationStatus, seq: int) -> None:
        """A change: it is what was committed under its number, and its outcomes came before."""
        entry = self.truth.entries[seq]
        assert not self.seqs or seq > self.seqs[-1], "repeated, or out of order"
        self.seqs.append(seq)
        assert message.batch_task == str(entry.name)
        assert message.name == entry.operation_name
        assert message.deleted == (entry.change is Change.DELETED)
        if not message.deleted:
            counts = message.counts
            assert (message.state, message.done) == (entry.state, entry.state.is_final)
            assert (counts.succeeded, counts.failed, counts.cancelled, counts.total) == entry[10:13] + entry[9:10]
        if self.records and entry.task_key not in self.truth.deleted and not message.deleted:
            before = [seen for seen in self.truth.entries.values() if seen.task_key == entry.task_key]
            first = min(each.first_sequence for each in before if each.generation == entry.generation)
            assert len(self.outcomes.get(message.name, [])) >= entry.next_sequence - first


def missed(client: Client, entries: list[LogEntry]) -> list[LogEntry]:
    """Changes that it was not told of; counts may be passed over."""
    told = set(client.seqs)
    return [entry for entry in entries if entry.seq not in told and entry.change is not Change.COUNTS]


@pytest.mark.parametrize("seed", range(2))
async def test_what_comes_over_cut_connections_is_what_was_committed(
    tmp_path: pathlib.Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed:  # cuts between the outcomes of one commit
        monkeypatch.setattr(limits, "STREAM_PAGE_SIZE", replace(limits.STREAM_PAGE_SIZE, maximum=1))
    chance = random.Random(seed)
    truth = Truth()
    world = World(chance, truth)
    project, plain = Client(truth, None, records=True), Client(truth, None, records=False)
    one, one_plain = Client(truth, "only", records=True), Client(truth, "only", records=False)
    clients = [project, plain, one, one_plain]
    for life in range(LIVES):
        async with serving(tmp_path) as server:
            await world.serve(server)
            if not life:
                for client in (project, plain):  # before there is anything
                    await client.connect(server, 1, 10)
            last = life == LIVES - 1
            while min(client.cuts for client in clients) < (life + 1) * CUTS // LIVES or (last and not truth.varied):
                await _play(world, clients, chance)
    async with serving(tmp_path) as server:
        await world.serve(server)
        for client in clients:
            with contextlib.suppress(TimeoutError):
                while True:
                    before = len(client.seqs), client.token
                    await client.connect(server, 1000, 0.5)
                    if before == (len(client.seqs), client.token):
                        break
    entries = [truth.entries[seq] for seq in sorted(truth.entries)]
    _judge_project(project, plain, entries, truth)
    for client in (one, one_plain):
        _judge_task(client, entries, truth)
    assert sum(client.cuts for client in clients) >= 200


async def _play(world: World, clients: list[Client], chance: random.Random) -> None:
    """Things happen while every client makes a connection that is cut somewhere."""
    cut = [client.connect(world.server, chance.randrange(9), chance.uniform(0.001, 0.04)) for client in clients]
    connections = asyncio.gather(*cut)
    for _ in range(chance.randrange(12)):
        await world.step()
    await connections


def _judge_project(project: Client, plain: Client, entries: list[LogEntry], truth: Truth) -> None:
    for client in (project, plain):
        assert missed(client, entries) == []
    by_task: dict[str, list[Outcome]] = {}
    for told in project.outcomes.values():
        for outcome in told:
            by_task.setdefault(outcome[0], []).append(outcome)
    kept: dict[str, list[Outcome]] = {}
    for key, committed in truth.outcomes.items():
        if key not in truth.deleted:
            kept[committed[0][0]] = committed
    assert kept
    for task_id, committed in kept.items():
        told = by_task[task_id]
        assert told[-len(committed) :] == committed  # before them may be what came of earlier tasks of that id
    all_committed = [outcome for committed in truth.outcomes.values() for outcome in committed]
    assert sum(map(len, by_task.values())) <= len(all_committed)


def _judge_task(client: Client, entries: list[LogEntry], truth: Truth) -> None:
    """Each watch of a generation told everything from where it began to the end of that generation."""
    assert client.begun
    [key] = {key for _, key in client.begun}
    of_task = [entry for entry in entries if entry.task_key == key]
    for seq, _ in client.begun:
        generation = max(entry.generation for entry in of_task if entry.seq <= seq)
        assert missed(client, [e for e in of_task if e.seq > seq and e.generation == generation]) == []
    if client.records:
        by_generation: dict[int, list[Outcome]] = {}
        for outcome in truth.outcomes[key]:
            by_generation.setdefault(outcome[1], []).append(outcome)
        watched = {max(e.generation for e in of_task if e.seq <= seq) for seq, _ in client.begun}
        told = [outcome for each in client.outcomes.values() for outcome in each]
        for generation in watched:
            of_generation = [outcome for outcome in told if outcome[1] == generation]
            times = sum(max(e.generation for e in of_task if e.seq <= seq) == generation for seq, _ in client.begun)
            assert of_generation == by_generation.get(generation, []) * times
