"""The crash runner: clients at work, a server that is killed over and over, and what must hold after every kill.

start (armed) ─▶ nothing older lives ─▶ audit ─▶ clients go on ─▶ killed ─▶ file sound, nothing lives ─▶ start …
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pathlib
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import grpc

from batchyard_server.model.failpoints import POINTS
from tests.crash.served import KILLED, TERMINATED, WORKERS, Server, Session, Stubs, is_broken
from tests.crash.workload import Clients, check_gone, list_tasks
from tests.support import processes
from tests.support.eventually import eventually_in_loop
from tests.support.ledger import Ledger
from tests.support.sidelog import SideLog

HIT_SECONDS = 60.0
LEVELS = ("cgroup", "pid_namespace", "subreaper")


@dataclass(frozen=True, kw_only=True)
class Kill:
    """How one life of the server ends.

    Attributes:
        point, hit: by a failpoint, at its n-th hit.
        after: else by us, so many seconds after its exec; it may not even serve by then.
        how: `server`: SIGKILL to it alone; `frozen`: its supervisors are stopped first, so that only the next start can
            end what they hold; `supervisors`: they are killed too; `draining`: SIGTERM, and SIGKILL a moment later;
            `terminated`: SIGTERM, and it ends by itself.
        workers: how many of its workers and supervisors are killed before, one after the other.
    """

    point: str = ""
    hit: int = 1
    after: float = 0.0
    how: str = "server"
    workers: int = 0

    def __str__(self) -> str:
        if self.point:
            return f"{self.point}@{self.hit}"
        return f"{self.how} after {self.after:.2f} s" + (f", {self.workers} workers before" if self.workers else "")


def at_points(points: Sequence[str], chance: random.Random) -> list[Kill]:
    """Every point at its first hit and at a later one."""
    often = ("store.before_commit", "store.after_commit", "dispatch.")
    later = {point: chance.randint(5, 40) if point.startswith(often) else 2 for point in points}
    later["dispatch.before_release"] = 2
    kills = [Kill(point=point, hit=hit) for point in points for hit in (1, later[point])]
    chance.shuffle(kills)
    return kills


def at_random(count: int, chance: random.Random, *, workers: int = 0) -> list[Kill]:
    """Moments from the exec on."""
    ways = itertools.cycle(("server", "frozen", "supervisors", "draining", "terminated"))
    return [Kill(after=chance.uniform(0.1, 3.0), how=next(ways), workers=workers) for _ in range(count)]


class Runner:
    """One run on one data directory. `kills`: what was killed, counted."""

    def __init__(self, folder: pathlib.Path, seed: int, *, bulk: int) -> None:
        self.chance = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.server = Server(folder)
        self.ledger = Ledger()
        self.side = SideLog(self.server.side_log)
        self._session = Session()
        self._levels = itertools.cycle(LEVELS)
        self.clients = Clients(self._session, self.ledger, self.side, self.chance, bulk=bulk)
        print(f"seed {seed}")

    async def run(self, kills: Sequence[Kill]) -> None:
        """Everything. AssertionError if anything is wrong."""
        async with asyncio.TaskGroup() as group:
            for loop in self.clients.loops():
                group.create_task(loop)
            for number, kill in enumerate(kills, 1):
                await self._live(kill)
                print(f"{number}/{len(kills)}: {kill}; {self.clients.finished} tasks checked", flush=True)
            assert await self._start()
            await self._serve()
            self.clients.stop.set()
        await self._audit()
        await self._session.close()
        await self.server.stop()
        self.server.check_file()
        self.side.check(worker_kills=self.kills["worker"] + self.kills["supervisor"], processes=self._most_lost())

    def _most_lost(self) -> int:
        """Every kill of a server takes all its workers, a cancel those that run the task."""
        single = self.kills["worker"] + self.kills["supervisor"]
        return WORKERS * (self.kills.total() - single + self.clients.cancels) + single

    async def _start(self, failpoints: str = "") -> bool:
        serves = await self.server.start(
            failpoints=failpoints, level=next(self._levels), arguments=("--max-worker-lost", "20")
        )
        assert self.server.older() == [] or not serves, "it serves while processes of a life before it run"
        return serves

    async def _serve(self) -> None:
        """Hold the ledger against what the server has now, then let the clients go on."""
        stubs = Stubs(self.server.target)
        try:
            self.ledger.audit(await list_tasks(stubs))
            for entry in self.ledger.deleted()[-3:]:
                await check_gone(stubs, entry)
        except grpc.aio.AioRpcError as error:
            await stubs.channel.close()
            if not is_broken(error):
                raise
        else:
            self._session.open(stubs)

    async def _audit(self) -> None:
        self.ledger.audit(await self._session.call(list_tasks))

    async def _live(self, kill: Kill) -> None:
        """One life, from start to kill, and what must hold then."""
        async with self._killer(kill):
            if await self._start(f"{kill.point}=kill@{kill.hit}" if kill.point else ""):
                await self._serve()
            try:
                code = await self.server.ended(HIT_SECONDS)
            except TimeoutError:
                raise AssertionError(f"{kill} was never hit") from None
        ends = {"terminated": (0, TERMINATED), "draining": (0, KILLED, TERMINATED)}.get(kill.how, (KILLED,))
        assert code in ends, f"{kill}: exit code {code}: {self.server.tail()}"
        self.kills["failpoint" if kill.point else kill.how] += 1
        await self._session.close()
        if kill.how not in ("frozen", "supervisors"):
            await self.server.until_nothing_is_left()
        await asyncio.to_thread(self.server.check_file)

    @contextlib.asynccontextmanager
    async def _killer(self, kill: Kill) -> AsyncIterator[None]:
        """Kills at the moment, unless a failpoint does."""
        killer = None if kill.point else asyncio.create_task(self._kill_later(kill))
        try:
            yield
        finally:
            if killer is not None:
                killer.cancel()
                await asyncio.wait((killer,))
                if not killer.cancelled():
                    killer.result()

    async def _kill_later(self, kill: Kill) -> None:
        await asyncio.sleep(kill.after)  # the moment, not a wait for something
        for _ in range(kill.workers):
            await self._kill_worker()
            await asyncio.sleep(self.chance.uniform(0.0, 0.5))
        supervisors = [seen for seen in self.server.marked() if seen.is_supervisor]
        if kill.how == "frozen":
            for seen in supervisors:
                processes.send(seen, signal.SIGSTOP)
        if kill.how in ("draining", "terminated"):
            self.server.signal(signal.SIGTERM)
            await asyncio.sleep(self.chance.uniform(0.0, 0.2))
        if kill.how != "terminated":
            self.server.signal(signal.SIGKILL)
        if kill.how == "supervisors":
            for seen in supervisors:
                processes.send(seen)

    async def _kill_worker(self) -> None:
        """One worker, or now and then its supervisor."""
        is_wanted = (lambda seen: seen.is_supervisor) if self.chance.random() < 0.3 else (lambda seen: seen.is_worker)
        found = await eventually_in_loop(lambda: [seen for seen in self.server.marked() if is_wanted(seen)])
        victim = self.chance.choice(found)
        if processes.send(victim):
            self.kills["supervisor" if victim.is_supervisor else "worker"] += 1


def points() -> tuple[str, ...]:
    """Every point that a running server can pass; a new data directory alone passes `store.migrate`."""
    return tuple(point for point in POINTS if point != "store.migrate")
