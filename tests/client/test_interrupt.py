"""Stopping to wait leaves nothing behind: no poll goes on, no call stays open, the task runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import psutil
import pytest

from batchyard import AsyncClient, BatchTaskStatus, Client, RichProgress
from tests.client.fake_server import FakeServer
from tests.support.eventually import eventually
from tests.support.server import SECONDS

# Wait for task `t`, and once interrupted say what is left, make some calls in which a poll left behind would be seen,
# and stay until told to go.
PROGRAMS = {
    "sync": """
import sys, threading
from batchyard import Client
with Client(sys.argv[1]) as client:
    operation = client.batch.get("t")
    try:
        operation.wait(poll_interval=0.01)
    except KeyboardInterrupt:
        left = [thread.name for thread in threading.enumerate()]
        for _ in range(50):
            operation.get_status()
        print(left, flush=True)
        sys.stdin.readline()
        raise
""",
    "aio": """
import asyncio, sys, threading
from batchyard import AsyncClient
async def main():
    async with AsyncClient(sys.argv[1]) as client:
        operation = await client.batch.get("t")
        try:
            await operation.wait(poll_interval=0.01)
        except asyncio.CancelledError:
            left = [thread.name for thread in threading.enumerate() if not thread.daemon]
            left += [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for _ in range(50):
                await operation.get_status()
            print(left, flush=True)
            sys.stdin.readline()
            raise
asyncio.run(main())
""",
}


def interrupt_when(server: FakeServer, predicate: Any) -> threading.Thread:
    """Press Ctrl-C as soon as the server sees something."""

    def act() -> None:
        server.until(predicate)
        # A round trip, after which the caller waits for its answer: while grpc still begins a blocking call, in the
        # microseconds after the server has seen it, an interrupt leaves the call open until its deadline.
        with Client(server.target) as other:
            other.handlers.get("a")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_ctrl_c_ends_a_wait(server: FakeServer) -> None:
    with Client(server.target) as client:
        operation = client.batch.run("echo", [1])
        thread = interrupt_when(server, lambda: server.waiting == 1)
        with pytest.raises(KeyboardInterrupt):
            operation.wait()
        thread.join()
        server.until(lambda: server.waiting == 0)  # the long poll was cancelled, not left to its deadline
        calls = server.calls["WaitOperation"]
        assert operation.get_status() is BatchTaskStatus.PENDING
        assert server.calls["WaitOperation"] == calls == 1
        assert "CancelOperation" not in server.calls


def test_ctrl_c_ends_a_pause_between_polls(server: FakeServer) -> None:
    with Client(server.target) as client:
        operation = client.batch.run("echo", [1])
        server.early_waits = 1000
        thread = interrupt_when(server, lambda: server.calls["WaitOperation"] == 2)
        with pytest.raises(KeyboardInterrupt):
            operation.wait(poll_interval=0.3)
        thread.join()


def test_ctrl_c_in_an_upload_removes_the_draft(server: FakeServer) -> None:
    with Client(server.target) as client:
        thread = interrupt_when(server, lambda: server.calls["AppendRecords"] == 1)

        def endless() -> Any:
            while True:
                yield {"n": 1}

        with pytest.raises(KeyboardInterrupt):
            client.batch.run("echo", endless())
        thread.join()
        (task,) = server.tasks.values()
        server.until(lambda: not task.appending)
        assert task.deleted


@pytest.mark.parametrize("in_a_poll", [True, False])
@pytest.mark.parametrize("kind", PROGRAMS)
def test_ctrl_c_ends_a_program_that_waits(server: FakeServer, kind: str, in_a_poll: bool) -> None:
    server.early_waits = 0 if in_a_poll else sys.maxsize
    with Client(server.target) as client:
        client.batch.run("echo", [1], task_id="t")
    arguments = [sys.executable, "-c", PROGRAMS[kind], server.target]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as program:
        try:
            server.until(lambda: server.waiting == 1 if in_a_poll else server.calls["WaitOperation"] > 3)
            if in_a_poll:  # and the program has come to rest in it, see `interrupt_when`
                eventually(lambda: psutil.Process(program.pid).status() == psutil.STATUS_SLEEPING, SECONDS)
            program.send_signal(signal.SIGINT)
            assert program.stdout is not None
            assert program.stdout.readline() == "['MainThread']\n"
            server.until(lambda: server.waiting == 0)  # while the program lives
            calls = server.calls["WaitOperation"]
            _, errors = program.communicate("go\n", SECONDS)
        finally:
            program.kill()
    assert program.returncode == -signal.SIGINT, "of which a shell makes 130"
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert server.calls["GetOperation"] == 50
    assert calls == 1 if in_a_poll else calls > 3
    assert server.calls["WaitOperation"] == calls
    assert "CancelOperation" not in server.calls


def test_no_thread_of_ours_stays(server: FakeServer) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with Client(server.target) as client:
        client.batch.run("echo", range(5000))
        operation = client.batch.run("echo", [1])
        server.echo(operation.task_name)
        operation.wait()
    assert {thread.name for thread in threading.enumerate() if thread.is_alive() and not thread.daemon} <= before


async def test_cancelling_the_caller_ends_the_wait(server: FakeServer) -> None:
    async with AsyncClient(server.target) as client:
        operation = await client.batch.run("echo", [1])
        for number, awaited in enumerate([operation.wait(), operation], 1):
            waiting = asyncio.ensure_future(awaited)
            await asyncio.to_thread(server.until, lambda: server.waiting == 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await asyncio.to_thread(server.until, lambda: server.waiting == 0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert await operation.get_status() is BatchTaskStatus.PENDING
            assert server.calls["WaitOperation"] == number
        assert "CancelOperation" not in server.calls


async def test_many_waits_in_one_loop(server: FakeServer) -> None:
    async with AsyncClient(server.target) as client:
        operations = [await client.batch.run("echo", [n]) for n in range(20)]
        waits = [asyncio.ensure_future(operation.wait()) for operation in operations]
        await asyncio.to_thread(server.until, lambda: server.waiting == 20)
        for operation in operations:
            server.echo(operation.task_name)
        results = await asyncio.gather(*waits)
        assert [[value async for value in result.outputs()] for result in results] == [[n] for n in range(20)]


async def test_an_asynchronous_iterable_is_uploaded(server: FakeServer) -> None:
    async def source() -> Any:
        for index in range(5000):
            if index % 1000 == 0:
                await asyncio.sleep(0)
            yield {"i": index}

    async with AsyncClient(server.target) as client:
        operation = await client.batch.run("echo", source())
        server.echo(operation.task_name)
        result = await operation
        assert [value async for value in result.outputs()] == [{"i": index} for index in range(5000)]


async def test_an_error_of_an_asynchronous_iterable_passes(server: FakeServer) -> None:
    async def source() -> Any:
        for index in range(3000):
            yield index
        raise KeyError("mine")

    async with AsyncClient(server.target) as client:
        with pytest.raises(KeyError, match="mine"):
            await client.batch.run("echo", source())
    (task,) = server.tasks.values()
    assert task.deleted


async def test_leaving_a_stream_early_ends_it(server: FakeServer) -> None:
    async with AsyncClient(server.target) as client:
        operation = await client.batch.run("echo", range(1000))
        records = operation.records(page_size=10)
        async for record in records:
            if record.index == 5:
                break
        await records.aclose()
        assert await operation.get_status() is BatchTaskStatus.PENDING


def test_a_bar_is_drawn_and_taken_down(server: FakeServer) -> None:
    import io

    from rich.console import Console

    text = io.StringIO()
    with Client(server.target) as client:
        operation = client.batch.run("echo", [1, 2])
        server.echo(operation.task_name)
        with RichProgress("rows", console=Console(file=text, width=100)) as bar:
            operation.wait(progress=bar)
        operation.wait(progress="bar")
    assert "rows" in text.getvalue()
    assert "2/2" in text.getvalue()
