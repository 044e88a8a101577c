"""How many run, and why does one wait? What the server shows is what its handlers say."""

from __future__ import annotations

import pathlib

import grpc
import pytest
from google.longrunning import operations_pb2 as lro

from batchyard.v1.batch_task_pb2 import BatchTaskInfo, RecordCounts
from batchyard.v1.batch_task_service_pb2 import GetHandlerRequest
from batchyard.v1.record_pb2 import RecordInfo
from tests.live.served import PARENT, Live, living
from tests.support.eventually import eventually
from tests.support.server import SECONDS

WORKERS = 2
MENDED = """\
[handlers.mended]
kind = "python"
callable = "mended:mended"
path = ["{path}"]
"""


def check(counts: RecordCounts, before: RecordCounts) -> None:
    """What holds at any moment of a run."""
    assert counts.running <= WORKERS
    parts = (counts.pending, counts.running, counts.succeeded, counts.failed, counts.cancelled)
    assert min(parts) >= 0
    assert sum(parts) == counts.total, counts
    assert counts.succeeded >= before.succeeded


def test_running_is_what_handlers_say(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=WORKERS) as live:
        name = live.submit([{"gate": f"g{index}"} for index in range(10)])

        def shows(many: int) -> set[int]:
            said = live.running()
            counts = live.counts(name)
            shown = {each.index for each in live.records(name) if each.state == RecordInfo.RUNNING}
            assert live.running() == said, "not at rest"
            assert shown == said
            assert counts.running == len(said) == many
            assert live.listed(f"counts.running = {many} AND counts.pending = {counts.pending}") == [name]
            assert live.listed(f"counts.running != {many}") == []
            return said

        for left in range(10, 0, -1):
            first = min(eventually(lambda left=left: shows(min(WORKERS, left))))
            live.open(f"g{first}")
            eventually(lambda index=first: index not in live.running())
        assert live.finish(name).counts == RecordCounts(total=10, succeeded=10)


@pytest.mark.parametrize("seconds", [0.0, 0.001])
def test_counts_while_it_runs(tmp_path: pathlib.Path, seconds: float) -> None:
    with living(tmp_path, workers=WORKERS) as live:
        name = live.submit([{"sleep": seconds} if seconds else {}] * 3000)
        seen = [RecordCounts()]

        def is_done() -> bool:
            info = live.info(name)
            check(info.counts, seen[-1])
            seen.append(info.counts)
            status = live.operations.GetOperation(lro.GetOperationRequest(name=info.operation), timeout=SECONDS)
            return status.done

        eventually(is_done, SECONDS)
        if seconds:  # else it may be over between two looks
            assert max(each.running for each in seen) > 0
        assert live.counts(name) == RecordCounts(total=3000, succeeded=3000)
        done = [index for index, _, _ in live.ended()]
        assert sorted(done) == list(range(3000))


def test_no_slot(tmp_path: pathlib.Path) -> None:
    with living(tmp_path, workers=1, toml=MENDED.format(path=tmp_path)) as live:
        (tmp_path / "mended.py").write_text("def mended(record, context):\n    return record\n")
        first = live.submit([{"gate": "a"}, {}])
        eventually(live.running)
        assert live.info(first).waiting_reason == BatchTaskInfo.WAITING_REASON_UNSPECIFIED
        waiting = [live.submit([{}]), live.submit([{}], "mended")]
        for name in waiting:
            info = live.info(name)
            assert (info.state, info.waiting_reason) == (BatchTaskInfo.QUEUED, BatchTaskInfo.NO_SLOT)
        live.open("a")
        for name in (first, *waiting):
            info = live.finish(name)
            assert (info.state, info.waiting_reason) == (
                BatchTaskInfo.SUCCEEDED,
                BatchTaskInfo.WAITING_REASON_UNSPECIFIED,
            )


def is_available(live: Live, handler: str) -> bool:
    request = GetHandlerRequest(name=f"{PARENT}/handlers/{handler}")
    return live.tasks.GetHandler(request, timeout=SECONDS).available


def test_a_handler_that_cannot_be_loaded_until_it_is_mended(tmp_path: pathlib.Path) -> None:
    code = tmp_path / "mended.py"
    code.write_text("raise ImportError('it is broken')\n")
    with living(tmp_path, workers=1, toml=MENDED.format(path=tmp_path)) as live:
        name = live.submit([{"n": n} for n in range(20)], "mended")

        def waits() -> bool:
            assert live.info(name).waiting_reason == BatchTaskInfo.HANDLER_UNAVAILABLE
            assert not is_available(live, "mended")
            return True

        eventually(waits)
        other = live.submit([{}] * 50)  # nothing else is held up
        assert live.finish(other).counts.succeeded == 50
        assert live.info(other).waiting_reason == BatchTaskInfo.WAITING_REASON_UNSPECIFIED
        eventually(waits)
        code.write_text("def mended(record, context):\n    return record['n']\n")
        info = live.finish(name)
        assert (info.state, info.counts.succeeded) == (BatchTaskInfo.SUCCEEDED, 20)
        assert [(each.output.text, each.attempt) for each in live.records(name)] == [(str(n), 1) for n in range(20)]
        assert is_available(live, "mended")


def test_a_handler_that_is_taken_out_and_put_back(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mended.py").write_text("def mended(record, context):\n    return record\n")
    with living(tmp_path, workers=1, toml=MENDED.format(path=tmp_path)) as live:
        first = live.submit([{"gate": "a"}])
        eventually(live.running)
        name = live.submit([{}] * 20, "mended")
        live.server.signal(15)
        live.open("a")
        assert live.server.wait() == 0
    with living(tmp_path, workers=1) as live:
        assert live.info(first).state == BatchTaskInfo.SUCCEEDED
        info = live.info(name)
        assert (info.state, info.waiting_reason) == (BatchTaskInfo.QUEUED, BatchTaskInfo.HANDLER_UNAVAILABLE)
        with pytest.raises(grpc.RpcError) as caught:
            live.submit([{}], "mended")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    with living(tmp_path, workers=1, toml=MENDED.format(path=tmp_path)) as live:
        assert live.finish(name).counts == RecordCounts(total=20, succeeded=20)
        assert {each.attempt for each in live.records(name)} == {1}
