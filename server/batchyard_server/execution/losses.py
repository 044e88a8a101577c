"""What does the end of a worker mean for one of its subtasks? Which record is to be blamed, and which had begun."""

from __future__ import annotations

from batchyard_server.dispatch.protocols import Cause, Loss
from batchyard_server.execution.cell import Progress
from batchyard_server.execution.worker import Exit
from batchyard_server.model import ranges as rg
from batchyard_server.model.clock import Clock


def of(end: Exit, number: int, ranges: rg.Ranges, *, cause: Cause, timed_out: Progress | None, clock: Clock) -> Loss:
    """The loss of one subtask.

    Args:
        end: of the worker.
        number: of the subtask on the worker's connection.
        ranges: with which the subtask was sent.
        cause: of the worker's end.
        timed_out: where the worker was when it was killed for a record that passed its time.
        clock: for the times of the record that was running.
    """
    index, begun_to = None, 0
    texts: dict[int, bytes] = {}
    if number == end.progress.number:
        texts.update(end.unsent)
        index, begun_to = end.progress.begun(ranges)
        if timed_out is not None and (timed_out.number, timed_out.index) != (number, index):
            cause = Cause.KILLED  # the record that was too slow ended while it was being killed
        if cause is Cause.CRASH and index is None and begun_to:
            index = rg.take(ranges, begun_to)[0][-1][1] - 1  # it may kill after its return, too
        if index is not None and end.written:
            texts[index] = texts.get(index, b"") + end.written
    now_us, ran_ns = clock.now_us(), clock.monotonic_ns() - end.progress.start_ns
    return Loss(
        cause=cause,
        index=index,
        begun_to=begun_to,
        started_us=now_us - max(ran_ns, 0) // 1000,
        ended_us=now_us,
        exit=end.exit,
        exit_code=end.exit_code,
        unreaped=end.unreaped,
        logs=texts,
    )
