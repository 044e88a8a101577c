"""Huey as a peer, on Redis; one queue that keeps results and one that does not."""

from __future__ import annotations

import os

from huey import RedisHuey

from tests.bench.peers import job

_redis = os.environ[job.REDIS]
keeping = RedisHuey("keeping", url=f"{_redis}/2")
marking = RedisHuey("marking", url=f"{_redis}/3", results=False)

run = keeping.task()(job.run)
run_marked = marking.task()(job.run_marked)
