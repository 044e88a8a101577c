"""No-op records per second, durable, from submit to the last outcome read back by another client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from tests.bench import machine, procs, services
from tests.bench.harness import Arm, Env, Goal, Plan, Row, RowError, Sample
from tests.bench.peers import stack as peers
from tests.bench.procs import Driver
from tests.bench.server import Server, serving, syncs_seen

FULL, QUICK = 1_000_000, 10_000
# Peers are a few hundred times slower; their rate does not depend on the number.
PEER_FULL, PEER_QUICK = 5_000, 300
VERIFIED = 10_000
METRIC = "records_per_s"


class Ours:
    """Our arms: a submitter and a reader, both connected before the clock starts."""

    def __init__(self, server: Server, submitter: Driver, reader: Driver) -> None:
        self._server = server
        self._submitter = submitter
        self._reader = reader
        for client in (submitter, reader):
            client.call("connect", address=server.address)

    def measure(self, count: int, kind: str) -> Sample:
        """One batch; the clock runs from the create to the reader's checksum.

        Raises:
            RowError: The reader got other outcomes than expected.
        """
        expected = self._submitter.call("prepare", count=count, kind=kind)["digest"]
        before = self._busy()
        created = self._submitter.call("create", handler="bench_noop")
        self._reader.send("read", operation=created["operation"], typed=kind == "value")
        uploaded = self._submitter.call("upload")
        read = self._reader.receive()
        if read["count"] != count or read["digest"] != expected:
            raise RowError(f"{read['count']} of {count} outcomes came back, checksum {read['digest']} for {expected}")
        own, workers = (now - then for now, then in zip(self._busy(), before, strict=True))
        return {
            METRIC: count / (read["read"] - created["began"]),
            "upload_s": uploaded["started"] - created["began"],
            "run_s": read["done"] - uploaded["started"],
            "read_s": read["read"] - read["done"],
            "server_cpu_us": own / count * 1e6,
            "workers_cpu_us": workers / count * 1e6,
        }

    def _busy(self) -> tuple[float, float]:
        own = procs.cpu_seconds(self._server.pid)
        return own, procs.cpu_seconds(self._server.pid, family=True) - own


def _pool(driver: Driver, digest: str) -> Sample:
    done = driver.call("run")
    if done["digest"] != digest:
        raise RowError("the pool's outputs are not the expected ones")
    return {METRIC: done["count"] / done["seconds"]}


def _peer(driver: Driver, count: int, *, marked: bool) -> Sample:
    done = driver.call("throughput", count=count, marked=marked)
    if not marked and done["digest"] != done["expected"]:
        raise RowError("the peer's outputs are not the expected ones")
    return {METRIC: count / done["seconds"]}


def _peer_arms(env: Env, celery: Driver, huey: Driver) -> list[Arm]:
    count = env.size(PEER_FULL, PEER_QUICK)
    arms = []
    for title, driver, words in (("Celery", celery, peers.CELERY_WORDS), ("Huey", huey, peers.HUEY_WORDS)):
        for marked, how in ((False, "results read back"), (True, "no results, counted by a file")):
            settings = f"{count} tasks of one record; {words.format(slots=env.slots)}; {how}"
            name = f"{title}, {'no results' if marked else 'results'}"
            arms.append(Arm(name, settings, partial(_peer, driver, count, marked=marked)))
    return arms


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Everything up and warm, and fsync seen."""
    count = env.size(FULL, QUICK)
    with contextlib.ExitStack() as stack:
        extra = stack.enter_context(peers.environment(env))
        celery, huey = stack.enter_context(peers.celery(env, extra)), stack.enter_context(peers.huey(env, extra))
        server = stack.enter_context(serving(env))
        submitter, reader, pool = stack.enter_context(services.drivers(env, "submitter", "reader", "pool"))
        digest = pool.call("prepare", count=count, slots=env.slots)["digest"]
        ours = Ours(server, submitter, reader)
        syncs = syncs_seen(server, lambda: void(ours.measure(VERIFIED, "text")))
        data = f"{count} distinct JSON records of 200 bytes"
        read = "one client submits, another reads every outcome back (SHA-256 over all outputs)"
        arms = [
            Arm("batchyard", f"{data} as `text`; {server.settings}; {read}", partial(ours.measure, count, "text")),
            Arm("batchyard, Value", f"the same as `json` Values; {read}", partial(ours.measure, count, "value")),
            Arm("mp.Pool", f"the same bytes; imap, chunksize 32, {env.slots} processes", partial(_pool, pool, digest)),
            *_peer_arms(env, celery, huey),
        ]
        goals = [
            _goal("batchyard", 0.6, "mp.Pool"),
            _goal("batchyard", 200, "Celery, results", "Celery, no results"),
            _goal("batchyard", 35, "Huey, results", "Huey, no results"),
            _goal("batchyard, Value", 0.2, "mp.Pool"),
        ]
        facts = {
            "data directory": machine.require_disk(server.data),
            "fsync": f"strace saw {syncs} fsync and fdatasync calls in a separate run of {VERIFIED} records",
            "handler": "tests/bench/handlers/noop.py, outside the package; all systems run the same function",
            "between arms": "the server is left alone until it is idle",
        }
        yield Plan(arms, goals, facts, settle=lambda: procs.settle(server.pid))


def void(_: object) -> None:
    """For a callback whose result nobody wants."""


def _goal(ours: str, bound: float, *baselines: str) -> Goal:
    return Goal(f"{ours}.{METRIC}", ">=", bound, tuple(f"{name}.{METRIC}" for name in baselines))


ROW = Row("noop", "no-op records/s, durable, submit to last outcome read back", open_row)
