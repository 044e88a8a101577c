"""Celery as a peer: prefork on Redis."""

from __future__ import annotations

import os

from celery import Celery

from tests.bench.peers import job

_redis = os.environ[job.REDIS]
app = Celery("bench", broker=f"{_redis}/0", backend=f"{_redis}/1")
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_serializer="json",
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
)

run = app.task(job.run, name="run")
run_marked = app.task(job.run_marked, name="run_marked", ignore_result=True)
