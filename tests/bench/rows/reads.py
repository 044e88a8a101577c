"""Unary reads at 50 in flight beside a bare echo."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

from batchyard.v1 import batch_task_service_pb2
from tests.bench import api, procs, rates, services
from tests.bench.harness import Arm, Env, Plan, Row
from tests.bench.server import serving

TASKS, QUICK_TASKS = 2_000, 200
PAGE = 100
ECHO_BYTES = 200


@contextlib.contextmanager
def open_row(env: Env) -> Iterator[Plan]:
    """Our server with tasks to read, and the bare one with answers of the same sizes."""
    with contextlib.ExitStack() as stack:
        bare = stack.enter_context(services.bare(env))
        server = stack.enter_context(serving(env))
        (load,) = stack.enter_context(services.drivers(env, "load"))
        tasks = env.size(TASKS, QUICK_TASKS)
        create = api.SERVICE + "CreateBatchTask"
        load.call("run", address=server.address, method=create, in_flight=20, calls=tasks, kind="creates")
        service, _ = api.stubs(stack.enter_context(api.connect(server.address)))
        listing = batch_task_service_pb2.ListBatchTasksRequest(parent=api.PROJECT, page_size=PAGE)
        page = service.ListBatchTasks(listing)
        one, many = page.batch_tasks[0].ByteSize(), page.ByteSize()
        gets = [batch_task_service_pb2.GetBatchTaskRequest(name=task.name) for task in page.batch_tasks]
        get_bodies = rates.bodies(*[get.SerializeToString() for get in gets])
        ours = partial(rates.load, load, server.pid, server.address, seconds=rates.seconds(env))
        echo = partial(rates.load, load, bare.pid, bare.address, seconds=rates.seconds(env))
        arms = [
            Arm("Get", f"GetBatchTask, {one} bytes", partial(ours, api.SERVICE + "GetBatchTask", given=get_bodies)),
            Arm(
                "List",
                f"ListBatchTasks, page of {PAGE} of {tasks} tasks, {many} bytes",
                partial(ours, api.SERVICE + "ListBatchTasks", given=rates.bodies(listing.SerializeToString())),
            ),
            Arm(
                "echo",
                f"{rates.BARE_WORDS}: {ECHO_BYTES} bytes",
                partial(echo, "/Bare/Echo", given=rates.bodies(b"x" * ECHO_BYTES)),
            ),
            Arm(
                "echo of a page",
                f"{rates.BARE_WORDS}: answers {many} bytes",
                partial(echo, "/Bare/Reply", given=rates.bodies(b"%d" % many)),
            ),
        ]
        goals = [
            rates.at_least(rates.CALLS, "Get", 0.8, "echo"),
            rates.at_least(rates.CALLS, "List", 0.8, "echo of a page"),
        ]
        yield Plan(arms, goals, {"client": rates.LOAD_WORDS}, settle=lambda: procs.settle(server.pid))


ROW = Row("reads", "unary reads per second, 50 in flight", open_row)
