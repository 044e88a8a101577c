"""Brings a peer up: Redis, its workers, and a client that has already got answers from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.bench import services
from tests.bench.harness import Env
from tests.bench.peers import job
from tests.bench.procs import Driver

CELERY = ["celery", "-A", "tests.bench.peers.celery_app", "worker", "-l", "ERROR"]
CELERY += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
HUEY = ["huey.bin.huey_consumer", "-k", "process", "-q"]
REDIS_WORDS = "Redis on loopback, persistence off"
CELERY_WORDS = "prefork {slots}, prefetch 64, no events, gossip, mingle or heartbeat, early acks; " + REDIS_WORDS
HUEY_WORDS = "{slots} worker processes per queue; " + REDIS_WORDS
WARM_TASKS = 20


@contextlib.contextmanager
def environment(env: Env) -> Iterator[dict[str, str]]:
    """A Redis, and the file of marks: the environment of workers and clients."""
    services.require_peers()
    with services.redis(env) as url:
        yield {job.REDIS: url, job.MARKS: str(env.workdir / "marks")}


@contextlib.contextmanager
def celery(env: Env, extra: dict[str, str]) -> Iterator[Driver]:
    """A Celery worker and a warm client."""
    argv = [*CELERY, "-c", str(env.slots)]
    with services.worker(argv, "celery", env, extra), Driver("celery_client", env.workdir, env=extra) as client:
        _warm(client)
        yield client


@contextlib.contextmanager
def huey(env: Env, extra: dict[str, str]) -> Iterator[Driver]:
    """Two Huey consumers (one keeps results, one does not) and a warm client."""
    with contextlib.ExitStack() as stack:
        for queue in ("keeping", "marking"):
            argv = [*HUEY, "-w", str(env.slots), f"tests.bench.peers.huey_app.{queue}"]
            stack.enter_context(services.worker(argv, f"huey-{queue}", env, extra))
        client = stack.enter_context(Driver("huey_client", env.workdir, env=extra))
        _warm(client)
        yield client


def _warm(client: Driver) -> None:
    for marked in (False, True):
        client.call("throughput", count=WARM_TASKS, marked=marked)
