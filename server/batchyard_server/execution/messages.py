"""What is said to a worker and understood from it? Model values to frames of batchyard_worker.v1, and back."""

from __future__ import annotations

import struct

from batchyard_server.codec import logs
from batchyard_server.dispatch.protocols import Subtask
from batchyard_server.dispatch.sizing import BUDGET_MS
from batchyard_server.model import limits
from batchyard_server.model.handler import HandlerSpec, Kind
from batchyard_server.model.task import Flush
from batchyard_worker.v1 import worker_pb2

RUN_AHEAD_MS = 50  # finished work of a worker that is not durable yet; what a crash of the server runs again
_LENGTH = struct.Struct(">I")


def frame(message: worker_pb2.ToWorker) -> bytes:
    """One message as it goes over the socket: 4-byte big-endian length, then the message."""
    data = message.SerializeToString()
    return _LENGTH.pack(len(data)) + data


def load(spec: HandlerSpec, path: tuple[str, ...]) -> bytes:
    """The first frame: which handler to load. `path` goes before the worker's sys.path."""
    return frame(
        worker_pb2.ToWorker(
            load=worker_pb2.Load(
                handler=spec.handler_id,
                kind="python" if spec.kind is Kind.PYTHON else "command",
                callable=spec.callable,
                argv=spec.argv,
                output_type=spec.output_type,
                dash_values=spec.dash_values,
                path=path,
                max_output_bytes=limits.OUTPUT.maximum,
                max_error_bytes=limits.ERROR.maximum,
                max_log_bytes=limits.LOG.maximum,
                run_ahead_millis=RUN_AHEAD_MS,
            )
        )
    )


def run(number: int, subtask: Subtask) -> bytes:
    """A subtask, under a number that is unique on this connection."""
    return frame(
        worker_pb2.ToWorker(
            run=worker_pb2.Run(
                lease=number,
                batch_task=str(subtask.task.name),
                generation=subtask.lease.generation,
                ranges=[bound for pair in subtask.lease.ranges for bound in pair],
                inputs=subtask.inputs,
                parameters=subtask.task.parameters,
                attempts={index: attempts.begun for index, attempts in subtask.attempts.items()},
                budget_millis=BUDGET_MS,
                artifacts_dir=subtask.location,
            )
        )
    )


def ack(flush: int) -> bytes:
    """Everything up to this flush is durable."""
    return frame(worker_pb2.ToWorker(ack=worker_pb2.Ack(flush=flush)))


def drop(number: int) -> bytes:
    """Take a subtask back if it is untouched, else what has not begun of it."""
    return frame(worker_pb2.ToWorker(drop=worker_pb2.Drop(lease=number)))


def flush(outcomes: worker_pb2.Outcomes, page: bytes) -> Flush:
    """Outcomes as the store takes them; `page`, all that the flush speaks of, is parsed only if it has logs."""
    flat = outcomes.ranges
    texts: logs.Texts = ()
    if outcomes.logged:
        page, texts = logs.split(page)
    return Flush(
        ranges=list(zip(flat[::2], flat[1::2], strict=True)),
        count=outcomes.count,
        page=page,
        failed=list(outcomes.failed),
        failures=[(each.index, each.status) for each in outcomes.failures],
        logs=texts,
        staged=list(outcomes.staged),
    )


class FrameBuffer:
    """Cuts a byte stream into messages of the worker."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[worker_pb2.FromWorker]:
        """The messages that are complete now."""
        buffer = self._data
        buffer += data
        messages: list[worker_pb2.FromWorker] = []
        position = 0
        while len(buffer) - position >= 4:
            (size,) = _LENGTH.unpack_from(buffer, position)
            if len(buffer) - position - 4 < size:
                break
            with memoryview(buffer) as view:
                messages.append(worker_pb2.FromWorker.FromString(bytes(view[position + 4 : position + 4 + size])))
            position += 4 + size
        del buffer[:position]
        return messages
